"""The node's core, without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from puvae_rt.errors import ContractError, InputError
from puvae_rt.ros.core import Core, CoreSettings, Pairing, rois_of
from puvae_rt.ros.pictures import ENCODINGS, Raw, crop_of, decoded, pixels_of
from puvae_rt.runtime.results import Result

RANDOM = np.random.default_rng(0)


class Fake:
    """A purifier that answers with the region's mean, and refuses what lies outside."""

    classes = ("zero", "one")

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[int, ...], Any]] = []

    def __call__(self, frame: np.ndarray, roi: Any = None) -> Result:
        self.seen.append((frame.shape, roi))
        if roi is not None and roi[0] >= frame.shape[1]:
            raise InputError("region: got one outside, expected one that touches the frame")
        bad = roi is not None and roi[0] == 7
        numbers = np.array([np.nan, 0.25], np.float32)
        return Result(np.zeros((1, 28, 28), np.float32), -1 if bad else 1, numbers, {}, bad, -1 if bad else 1, numbers)


def raw(encoding: str, gap: int = 0, height: int = 4, width: int = 6) -> Raw:
    step = width * ENCODINGS[encoding][0] + gap
    return Raw(height, width, encoding, step, RANDOM.integers(0, 256, height * step, np.uint8).tobytes())


@pytest.mark.parametrize("gap", (0, 5))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_becomes_bgr_or_gray(encoding: str, gap: int) -> None:
    picture = raw(encoding, gap)
    pixel = ENCODINGS[encoding][0]
    rows = np.frombuffer(picture.data, np.uint8).reshape(4, -1)[:, : 6 * pixel].reshape(4, 6, pixel)
    expected = rows[..., 2::-1] if encoding.startswith("rgb") else rows[..., :3]
    np.testing.assert_array_equal(pixels_of(picture), expected[..., 0] if pixel == 1 else expected)


@pytest.mark.parametrize(
    "change",
    (
        {"encoding": "mono16"},
        {"encoding": "bayer_rggb8"},
        {"width": 0},
        {"height": -1},
        {"step": 17},
        {"data": b"short"},
        {"height": 2**31, "step": 2**31},
    ),
    ids=str,
)
def test_broken_pictures(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        pixels_of(raw("bgr8")._replace(**change))


def test_compressed_pictures() -> None:
    pixels = np.full((40, 50, 3), 90, np.uint8)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    assert np.abs(decoded(data).astype(int) - 90).max() < 4
    for wrong in (data[: len(data) // 2], b"", b"png", data[:20] + data[-2:]):
        with pytest.raises(InputError, match="expected a whole JPEG"):
            decoded(wrong)


@pytest.mark.parametrize(("channels", "encoding"), ((1, "mono8"), (3, "rgb8")))
def test_a_crop_comes_back_as_it_was(channels: int, encoding: str) -> None:
    image = RANDOM.integers(0, 256, (channels, 8, 9)).astype(np.float32) / 255
    crop = crop_of(image)
    assert (crop.encoding, crop.step, crop.height, crop.width) == (encoding, 9 * channels, 8, 9)
    back = pixels_of(crop)
    back = back[None] if channels == 1 else np.moveaxis(back[..., ::-1], -1, 0)
    np.testing.assert_array_equal(back, np.rint(image * 255))


def test_regions_one_by_one_and_a_refused_one() -> None:
    fake = Fake()
    core = Core(fake, CoreSettings((1, 2, 3, 4, 99, 0, 5, 5, 7, 0, 5, 5)))
    answer = core(lambda: np.zeros((40, 50, 3), np.uint8), 3.0)
    assert [seen[1] for seen in fake.seen] == [(1, 2, 3, 4), (99, 0, 5, 5), (7, 0, 5, 5)]
    told = answer.told(fake.classes)["regions"]
    assert told[0] | {"label": 1, "name": "one", "rmse": 0.25, "score": 0.25, "degraded": False} == told[0]
    assert told[1]["label"] == told[2]["label"] == -1 and "expected" in told[1]["error"] and "error" not in told[2]
    assert core.counts == {"purified": 1, "refused": 1, "degraded": 1}
    assert answer.age_ms >= 3.0 and not answer.late


def test_a_late_picture_is_not_even_decoded() -> None:
    core = Core(Fake(), CoreSettings(deadline_ms=50))
    answer = core(lambda: pytest.fail("decoded"), 51.0)
    assert answer.late and answer.regions == () and core.counts == {"late": 1}
    assert not core(lambda: np.zeros((9, 9), np.uint8), 1.0).late


def test_a_broken_picture_is_counted() -> None:
    core = Core(Fake())
    with pytest.raises(InputError):
        core(lambda: pixels_of(raw("bgr8")._replace(data=b"")), 0.0)
    assert core.counts == {"broken": 1}


@pytest.mark.parametrize(
    "changes",
    ({"regions": (1, 2, 3)}, {"regions": (1, 2, 0, 4)}, {"deadline_ms": -1.0}, {"deadline_ms": float("nan")}),
    ids=str,
)
def test_wrong_settings_change_nothing(changes: dict[str, Any]) -> None:
    core = Core(Fake(), CoreSettings((0, 0, 5, 5), 10.0))
    with pytest.raises(ContractError, match="expected"):
        core.change(**changes)
    assert core.settings == CoreSettings((0, 0, 5, 5), 10.0)


def test_pictures_and_detections_meet_by_their_stamps() -> None:
    pairing = Pairing()
    assert pairing.add("image", 1, "a", "detections") is None
    assert pairing.add("detections", 2, "d2", "image") is None
    assert pairing.add("image", 2, "b", "detections") == "d2"
    assert pairing.add("detections", 2, "again", "image") is None
    assert pairing.add("image", 3, "c", "detections") is None
    assert pairing.add("detections", 3, "d3", "image") == "c"


def test_boxes_of_detections() -> None:
    def box(x: float, y: float, width: float, height: float) -> SimpleNamespace:
        center = SimpleNamespace(position=SimpleNamespace(x=x, y=y))
        return SimpleNamespace(bbox=SimpleNamespace(center=center, size_x=width, size_y=height))

    boxes = [box(10, 20, 4, 6), box(10.4, 20, 5, 5), box(np.nan, 0, 5, 5), box(5, 5, 0, 5), box(1e9, 5, 5, 5)]
    assert rois_of(SimpleNamespace(detections=boxes)) == [(8, 17, 4, 6), (7, 17, 6, 6)]
