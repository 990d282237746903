"""The shipped folder: complete, verified by the runtime's own reader, usable, and whole or absent."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export import assets
from export.assets import Parts
from export.attacked_samples import choose, random_targets
from export.samples import load_samples
from puvae_rt import Purifier
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.data import load_dataset
from puvae_rt.errors import BuildError, DataError
from puvae_rt.runtime.assets import read_model
from tests.export.shipped import (
    CLASSES,
    NAME,
    SCORE,
    checkpoints,
    clean_samples,
    dataset,
    save_classifier,
    toy_weights,
)
from tests.export.toy import COLOR, GRAY, random_weights, save_weights
from tests.tolerances import ONE_LEVEL


def test_every_file_is_there_and_hashed(packed: Path) -> None:
    model = read_model(packed)
    assert (model.model, len(model.classes), model.contract, model.score) == (NAME, CLASSES, GRAY, SCORE)
    expected = {"weights.safetensors", "classifier_source.onnx", "classifier_a.onnx", "samples.npz"}
    assert model.sha256.keys() == expected
    for file in expected:
        assert model.path(file).stat().st_size < 8_000_000
    assert model.classifier().name == "classifier_a.onnx"


def test_stored_attacks_are_what_the_attacker_makes(packed: Path) -> None:
    samples = load_samples(packed / "samples.npz", GRAY, CLASSES)
    assert samples.sets.keys() == {"clean", "fgsm", "ifgsm"}
    clean = samples.sets["clean"] / np.float32(255)
    model = OnnxGradient(packed / "classifier_a.onnx")
    targets = random_targets(samples.labels, CLASSES)
    assert (targets != samples.labels).all()
    for name in ("fgsm", "ifgsm"):
        attacked = samples.sets[name] / np.float32(255)
        assert np.abs(attacked - clean).max() <= 0.3 + ONE_LEVEL
        before, after = model(clean, targets)[0], model(attacked, targets)[0]
        rows = np.arange(len(targets))
        assert (after[rows, targets] - after.mean(1)).mean() > (before[rows, targets] - before.mean(1)).mean()


def test_the_runtime_takes_it(toy_assets: Path) -> None:
    with Purifier.load(NAME, threads=1) as purifier:
        assert purifier.classifier is not None
        assert len(purifier.purify(load_samples(toy_assets / "samples.npz", GRAY, CLASSES).sets["fgsm"])) == 6


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    puvae, source, target = checkpoints(tmp_path)
    out = tmp_path / "assets" / NAME
    data = dataset(tmp_path / "toy.npz")
    command = ["--puvae", puvae, "--source", source, "--target", target, "--data", data, "--out", out]
    assert assets.main([*map(str, command), "--samples", "4", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 4
    for name in ("classifier_a", "classifier_source"):
        assert summary[f"accuracy_{name}"].keys() == {"clean", "fgsm", "ifgsm"}
    first = (out / "samples.npz").read_bytes()
    assert assets.main([*map(str, command), "--samples", "4"]) == 0  # again, in place, the same
    assert (out / "samples.npz").read_bytes() == first
    assert [path.name for path in out.parent.iterdir()] == [NAME]
    assert "4 test images\n" in capsys.readouterr().out
    thin = (out / "classifier_a.onnx").stat().st_size
    assert assets.main([*map(str, command), "--samples", "4", "--no-images", "--half"]) == 0
    printed = capsys.readouterr().out
    assert "4 test images, not shipped" in printed and "accuracy of classifier_a without a purifier: clean" in printed
    assert (out / "classifier_a.onnx").stat().st_size < 0.51 * thin
    assert assets.main([*map(str, command), "--samples", "4", "--half", "--classifier-rank", "4", "--no-images"]) == 0
    assert "classifier A: layer 6, 128 x 12544, to rank 4 with " in capsys.readouterr().err
    assert (out / "classifier_a.onnx").stat().st_size < 0.2 * thin
    assert "samples.npz" not in read_model(out).sha256 and not (out / "samples.npz").exists()


def test_a_folder_without_images_is_complete(packed_without_images: Path, packed: Path) -> None:
    model = read_model(packed_without_images)
    assert model.sha256.keys() == read_model(packed).sha256.keys() - {"samples.npz"}
    assert {path.name for path in packed_without_images.iterdir()} == {*model.sha256, "model.json"}


def test_only_the_purifier_is_replaced(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = save_weights(tmp_path / "puvae.safetensors", toy_weights(seed=1))
    out = tmp_path / "assets" / NAME
    assert assets.main(["--puvae", str(other), "--keep", str(packed), "--out", str(out)]) == 0
    assert "kept classifier_a.onnx, classifier_source.onnx, samples.npz" in capsys.readouterr().out
    old, new = read_model(packed), read_model(out)
    changed = {name for name in old.sha256 if new.path(name).read_bytes() != old.path(name).read_bytes()}
    assert changed == {"weights.safetensors"}
    assert replace(new, folder=packed, sha256=old.sha256) == old


def test_what_is_kept_has_to_fit(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    color = save_weights(tmp_path / "color.safetensors", random_weights(COLOR, CLASSES))
    out = tmp_path / "assets" / NAME
    with pytest.raises(
        BuildError, match=r"color.safetensors: trained on toy \(3, 32, 32\), --keep .* is toy \(1, 28, 28\)"
    ):
        assets.repack(color, packed, out)
    both = ["--puvae", str(color), "--keep", str(packed), "--source", str(color), "--out", str(out)]
    for command in (both, [*both[:2], *both[4:]]):
        assert assets.main(command) == 2
        assert "give the classifiers once" in capsys.readouterr().err
    assert not out.parent.exists()


def test_another_dataset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    puvae, source, target = checkpoints(tmp_path)
    data = dataset(tmp_path / "toy.npz", classes=4)
    command = ["--puvae", puvae, "--source", source, "--target", target, "--data", data, "--out", tmp_path / NAME]
    assert assets.main([*map(str, command)]) == 2
    assert "got 4 classes (class 0 to class 3) of 1x28x28 images, expected those of the model, 3" in (
        capsys.readouterr().err
    )


def test_weights_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    puvae, source, target = checkpoints(tmp_path)
    color = save_classifier(tmp_path / "color.safetensors", random_weights(COLOR, CLASSES), "A")
    with pytest.raises(BuildError, match=r"color.safetensors: trained on toy \(3, 32, 32\).* weights of one dataset"):
        Parts.load(puvae, source, [color])
    with pytest.raises(BuildError, match=r"two classifiers of one architecture"):
        Parts.load(puvae, source, [target, target])


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    puvae, source, target = checkpoints(tmp_path)
    parts = Parts.load(puvae, source, [target])

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assets.pack(parts, puvae, clean_samples(2), tmp_path / "assets" / NAME, interrupt)
    assert not (tmp_path / "assets").exists()
    with pytest.raises(BuildError, match=r"expected a folder called 'toy'"):
        assets.pack(parts, puvae, clean_samples(2), tmp_path / "assets" / "other", interrupt)


def test_a_file_too_large_for_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puvae, source, target = checkpoints(tmp_path)
    monkeypatch.setattr(assets, "MAX_ASSET_BYTES", 10_000)
    with pytest.raises(BuildError, match=r"bytes, expected less than 10,000 .*`puvae low-rank`"):
        assets.pack(Parts.load(puvae, source, [target]), puvae, clean_samples(2), tmp_path / NAME, lambda line: None)
    assert not (tmp_path / NAME).exists()


def test_other_peoples_folders_are_not_replaced(tmp_path: Path) -> None:
    puvae, source, target = checkpoints(tmp_path)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.tex").write_text("precious")
    with pytest.raises(BuildError, match=r"holds no model.json, so it is not ours to replace"):
        assets.pack(Parts.load(puvae, source, [target]), puvae, clean_samples(2), tmp_path / NAME, lambda line: None)
    assert (tmp_path / NAME / "thesis.tex").read_text() == "precious"


BAD_SAMPLES = {
    "other-size": ({"images": np.zeros((2, 1, 30, 30), np.uint8)}, r"clean is uint8 \(2, 1, 30, 30\), expected uint8"),
    "float": ({"images": np.zeros((2, 1, 28, 28), np.float32)}, r"clean is float32"),
    "count": ({"attacked_fgsm": np.zeros((1, 1, 28, 28), np.uint8)}, r"fgsm is uint8 \(1, 1, 28, 28\)"),
    "label": ({"labels": np.array([0, CLASSES])}, r"labels .*, expected classes from 0 to 2"),
    "objects": ({"labels": np.array([0, None])}, r"not readable as test images"),
    "other-array": (
        {"attackedXfgsm": np.zeros((2, 1, 28, 28), np.uint8)},
        r"holds attackedXfgsm, expected images, labels",
    ),
}


@pytest.mark.parametrize("changes, message", BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "samples.npz"
    good = {"images": np.zeros((2, *GRAY.shape), np.uint8), "labels": np.array([0, 1])}
    np.savez(path, **(good | changes))
    with pytest.raises(DataError, match=message):
        load_samples(path, GRAY, CLASSES)


def test_damaged_samples_are_refused(packed: Path, tmp_path: Path) -> None:
    whole = (packed / "samples.npz").read_bytes()
    for content in (b"", b"text", whole[:-100], whole[:500] + b"x" * 100 + whole[600:]):
        (tmp_path / "s.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"s.npz: not readable as test images"):
            load_samples(tmp_path / "s.npz", GRAY, CLASSES)
    os.mkfifo(tmp_path / "fifo.npz")  # nobody writes into it: it must not be waited for
    with pytest.raises(DataError, match=r"fifo.npz: .*is a FIFO, expected a regular file"):
        load_samples(tmp_path / "fifo.npz", GRAY, CLASSES)


def test_the_toy_weights_are_those_packed(packed: Path, tmp_path: Path) -> None:
    again = save_weights(tmp_path / "w.safetensors", toy_weights())
    assert (packed / "weights.safetensors").read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    "changes, message",
    [
        (["--out", "assets/other"], r"--out assets/other: expected a folder called 'toy'"),
        (["--out", f"taken/{NAME}"], r"exists and holds no model.json"),
        (["--classifier-rank", "0"], r"rank 0 of a classifier's layer: expected 1 to 127"),
    ],
    ids=["name", "taken", "rank"],
)
def test_what_can_be_refused_is_refused_before_images_are_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: list[str],
    message: str,
) -> None:
    puvae, source, target = checkpoints(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken" / NAME).mkdir(parents=True)
    line = ["--puvae", puvae, "--source", source, "--target", target, "--data", "absent.npz", "--out", f"assets/{NAME}"]
    assert assets.main([*map(str, line), *changes]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_file_too_large_is_refused_before_the_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puvae, source, target = checkpoints(tmp_path)
    parts = assets.Parts.load(puvae, source, [target])
    images = choose(load_dataset(NAME, dataset(tmp_path / "toy.npz")).test, 4)
    monkeypatch.setattr(assets, "MAX_ASSET_BYTES", 10_000)
    monkeypatch.setattr(assets, "attack", lambda *a: pytest.fail("attacked"))
    with pytest.raises(BuildError, match=r"bytes, expected less than 10,000 to be kept in git"):
        assets.pack(parts, puvae, images, tmp_path / "assets" / NAME, lambda line: None)
