from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from demos import arguments, driving
from puvae_rt.cli.commands.demo_driving import Options
from puvae_rt.driving.annotations import MARGIN, SCENES, Sign, boxes_file, read_signs, widened
from puvae_rt.driving.attack import ATTACKS, EPSILON, PATCH_SIDE, SignAttack
from puvae_rt.driving.clip import SIZE, DriveBy
from puvae_rt.driving.duplicates import NEAR, nearest
from puvae_rt.driving.locating import PROPOSALS, REGIONS, Locator
from puvae_rt.driving.proposals import overlap, propose
from puvae_rt.driving.reading import SignReader
from puvae_rt.driving.tracks import MISSING, Tracker
from puvae_rt.errors import ContractError, EngineError, VideoError
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.video.folder import FolderSource, read_picture


@pytest.fixture(scope="module")
def purifier() -> Purifier:
    return Purifier.load("traffic_signs")


@pytest.fixture(scope="module")
def attacks() -> dict[str, SignAttack]:
    file = resolve("traffic_signs", None, True).classifier
    assert file is not None
    return {name: SignAttack(name, file) for name in ATTACKS}


@pytest.fixture(scope="module")
def scenes() -> dict[str, tuple[Sign, ...]]:
    file = boxes_file(SCENES)
    assert file is not None
    return read_signs(file)


def test_the_command_lines_names_are_the_packages() -> None:
    assert arguments.SIGN_ATTACKS == ATTACKS
    assert arguments.REGIONS == REGIONS
    assert (Options().margin, Options().epsilon) == (MARGIN, EPSILON)


def test_a_frames_signs_are_one_batch_and_read_as_alone(
    purifier: Purifier, scenes: dict[str, tuple[Sign, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = max(scenes, key=lambda each: len(scenes[each]))
    image, signs = read_picture(SCENES / name), scenes[name]
    assert len(signs) == 5
    alone = [purifier(image, widened(sign.box)).label for sign in signs]
    calls, purify = [], purifier.purify
    monkeypatch.setattr(purifier, "purify", lambda images: calls.append(len(images)) or purify(images))
    reading = SignReader(purifier)(image, signs)
    assert calls == [5]
    assert [seen.purified for seen in reading.signs] == alone == [sign.label for sign in signs]


def test_a_failing_engine_gives_no_label(
    purifier: Purifier, scenes: dict[str, tuple[Sign, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: object) -> None:
        raise EngineError("broken")

    monkeypatch.setattr(purifier, "purify", fail)
    name, signs = next(iter(scenes.items()))
    reading = SignReader(purifier)(read_picture(SCENES / name), signs)
    assert reading.reason == "error"
    assert {seen.purified for seen in reading.signs} == {-1}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_stay_in_their_bounds(
    name: str, attacks: dict[str, SignAttack], purifier: Purifier, scenes: dict[str, tuple[Sign, ...]]
) -> None:
    scene, signs = next(iter(scenes.items()))
    image = read_picture(SCENES / scene)
    images = np.concatenate([as_input(image, widened(sign.box), purifier.contract) for sign in signs])
    attacked = attacks[name](images, np.array([sign.label for sign in signs]))
    assert attacked.dtype == np.float32
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    levels = 255 * attacked
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    changed = (attacked != images).any(axis=1)  # [N,H,W]
    if name == "patch":
        assert changed.reshape(len(images), -1).sum(axis=1).max() <= PATCH_SIDE**2
    else:
        assert np.abs(attacked - images).max() <= EPSILON + 1e-6
    assert changed.any(axis=(1, 2)).all()


def test_tracks_keep_their_number_and_vote() -> None:
    tracker = Tracker()
    (first,) = tracker([(100, 100, 40, 40)])
    for step, label in enumerate([7, 7, 3, -1, 7]):
        near, other = tracker([(102 + step, 100, 41, 41), (400, 100, 40, 40)])
        assert near is first
        assert near.vote(label) == 7
        assert other is not first
    assert not first.steady  # four votes
    for _ in range(MISSING + 1):
        tracker([])
    assert tracker.tracks == []
    assert tracker([(106, 100, 41, 41)])[0] is not first
    assert tracker.started == 3


def test_boxes_of_a_frame_never_share_a_track() -> None:
    tracker = Tracker()
    tracker([(0, 0, 40, 40)])
    one, two = tracker([(2, 0, 40, 40), (0, 2, 40, 40)])
    assert one is not two


def test_proposals_find_signs_that_ship(scenes: dict[str, tuple[Sign, ...]]) -> None:
    locate = Locator(PROPOSALS, scenes)
    for frame in FolderSource(SCENES):
        signs = locate(frame)
        assert len(signs) <= 24
    found = locate.document()
    assert found is not None
    assert found["annotated"] == 13
    assert found["recall"] >= 0.6


def test_nothing_is_proposed_on_gray() -> None:
    assert propose(np.full((200, 300, 3), 120, np.uint8)) == []


def test_overlap() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 0, 10, 10)) == 0


def test_near_duplicates_are_found_whatever_the_light() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8)
    crops = (0.3 * images[[5, 17]] / 255 + 0.1).astype(np.float32)
    value, place = nearest(crops, images)
    assert place.tolist() == [5, 17]
    assert value.min() > NEAR
    assert nearest(crops, images[:5])[0].max() < NEAR
    with pytest.raises(ContractError, match="M above 0"):
        nearest(crops, images[:0])


def test_a_drive_keeps_its_truth() -> None:
    clip = DriveBy(frames=2)
    widths = [[sign.box[2] for sign in clip.signs_on(frame)] for frame in clip]
    assert len(widths) == len(clip) == 6
    assert max(widths[1]) > 1.5 * max(widths[0])
    for frame in clip:
        assert frame.image.shape == (SIZE[1], SIZE[0], 3)
        assert all(x >= 0 and x + w <= SIZE[0] for x, _, w, _ in (sign.box for sign in clip.signs_on(frame)))


@pytest.mark.parametrize("box", ([10, 10, 10, 20], [-1, 0, 5, 5], [0, 0, 5], "box"))
def test_damaged_annotations(box: object, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [{"class": 1, "box": box}]}))
    with pytest.raises(VideoError, match=r"boxes\.json"):
        read_signs(tmp_path / "boxes.json")


def test_two_annotations(tmp_path: Path) -> None:
    for name in ("a_boxes.json", "b_boxes.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(VideoError, match="expected one file"):
        boxes_file(tmp_path)


def test_the_demo_reports_three_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, found = tmp_path / "a.mp4", tmp_path / "a.json"
    command = ["--source", "scenes", "--attack", "fgsm", "--headless", "--out", str(out), "--json", str(found)]
    assert driving.main(command) == 0
    document = json.loads(found.read_text())
    accuracy = document["accuracy"]
    assert document["frames"] == 3
    assert document["judged"] == 13
    assert accuracy["clean"] > 0.9
    assert accuracy["attacked"] < 0.5 < accuracy["purified"]
    assert set(document["latency_by_signs_ms"]) == {"4", "5"}
    assert out.stat().st_size > 10_000
    assert "13 signs with ground truth" in capsys.readouterr().out


def test_the_demo_proposes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--no-video", "--headless", "--regions", "proposals", "--max-frames", "2", "--json", "-"]
    assert driving.main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proposals"]["per_frame"] > 0
    assert document["accuracy"]["attacked"] is None
    assert driving.main(["--repeat", "2", "--rate", "30", "--no-video", "--headless"]) == 2
    assert "expected a folder or the clip, unpaced" in capsys.readouterr().err
