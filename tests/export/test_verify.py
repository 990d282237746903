from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import verify as command
from export.build import BuildSettings, build
from puvae_rt.files import sha256_of
from puvae_rt.runtime.manifest import Manifest
from tests.export.shipped import NAME, dataset

pytestmark = pytest.mark.usefixtures("toy_assets")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build(BuildSettings(model=NAME, out=tmp_path / "out", verify=False))[0]


def spoil(bundle: Path) -> None:
    """Another bias in the decoder's last layer, and a manifest that vouches for it."""
    path = bundle / "engine.onnx"
    model = onnx.load(str(path))
    assert "decoder.2.deconv.blocks.bias" in {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name == "decoder.2.deconv.blocks.bias":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5), tensor.name))
    onnx.save(model, str(path))
    manifest = Manifest.read(bundle)
    files = {**manifest.files, path.name: sha256_of(path)}
    replace(manifest, files=files, sizes={**manifest.sizes, path.name: path.stat().st_size}).write(bundle)


def test_a_good_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(bundle)]) == 0
    told = capsys.readouterr()
    printed = told.out
    assert "quality passed (6 images a set, measured" in printed
    assert "ifgsm" in printed
    assert "clean, set 1 of " in told.err, "each image set is told of before it is run"
    assert command.main([str(bundle), "--json", "--images", "2"]) == 0
    report = json.loads(capsys.readouterr().out)["quality"]
    assert report["passed"] and report["images"] == 2
    assert report["built"]["agreement/fgsm"] == 1


def test_a_bundle_of_a_model_that_ships_no_images(
    without_images: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(bundle)]) == 2
    assert "no test images to verify 'toy' with" in capsys.readouterr().err
    assert command.main([str(bundle), "--data", str(dataset(tmp_path / "toy.npz")), "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)["quality"]
    assert report["passed"] and report["images"] == 12 and "agreement/ifgsm" in report["built"]
    assert "fgsm on classifier_a" in printed.err


def test_an_engine_that_computes_something_else(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(bundle)
    assert command.main([str(bundle), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)["quality"]
    assert not report["passed"]
    assert any("psnr_db/clean" in failure for failure in report["failures"])
    assert command.main([str(bundle)]) == 1
    assert "quality FAILED: " in capsys.readouterr().out


def test_an_rtx_engine_is_emulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx")
    settings = BuildSettings(model=NAME, out=tmp_path, target="rtx", precision="fp16", verify=False, sigma=0.1)
    folder, _ = build(settings)
    assert command.main([str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["quality"]
    assert report["evidence"] == "emulated"
    assert 45 < report["built"]["psnr_db/clean"] < 200  # close to FP32, and not FP32 in disguise


def test_what_cannot_be_compared(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = bundle / "engine.onnx"
    sound = engine.read_bytes()
    for damaged, told in ((sound[:-1] + b"x", "sha256"), (sound + b"x", f"{len(sound) + 1} bytes")):
        engine.write_bytes(damaged)
        assert command.main([str(bundle)]) == 2
        assert told in capsys.readouterr().err
    assert command.main([str(tmp_path / "absent")]) == 2
    told = capsys.readouterr().err
    assert "manifest.json: is unreadable" in told and "give one that `puvae build` wrote" in told
    assert command.main([str(bundle), "--images", "0"]) == 2
    assert "--images 0" in capsys.readouterr().err


def test_a_device_that_cannot_run_it_is_refused_before_images_are_attacked(
    without_images: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_samples", lambda *a: pytest.fail("images were looked for"))
    assert command.main([str(bundle), "--device", "emulated"]) == 2
    assert "is built for the CPU" in capsys.readouterr().err
