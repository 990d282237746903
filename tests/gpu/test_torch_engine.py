"""PyTorch in TensorRT's place, tried on the emulated device: the shipped models' engines, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export import build
from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE, REFERENCE_FILE
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.session import open_session
from tests import tolerances
from tests.cuda import uncompiled

pytest.importorskip("tensorrt_rtx", reason="the engine is built by TensorRT-RTX: pip install '.[rtx]'")
torch_engine = pytest.importorskip("tests.cuda.torch_engine", exc_type=ImportError)


@pytest.fixture(scope="module", params=["mnist", "traffic_signs", "cifar10"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    return build.build(build.BuildSettings(request.param, out, "rtx", "fp16", verify=False, batch=(1, 4)))[0]


def test_a_bundle_that_nothing_compiled_is_the_same_model(bundle: Path, tmp_path: Path) -> None:
    built = Manifest.read(bundle)
    made = uncompiled.write(built.model, tmp_path / "made", (1, 4))
    for file in (ENGINE_ONNX_FILE, CLASSIFIER_FILE):
        assert (tmp_path / "made" / file).read_bytes() == (bundle / file).read_bytes()
    same = ("contract", "classes", "score", "shortlist", "passes", "precision", "source_sha256")
    assert all(getattr(made, name) == getattr(built, name) for name in same)
    assert made == Manifest.read(tmp_path / "made")


def test_it_computes_what_onnx_runtime_does(bundle: Path) -> None:
    with EmulatedDevice() as device:
        engine = torch_engine.TorchEngine(bundle / ENGINE_ONNX_FILE, (1, 4), device)
        contract = Manifest.read(bundle).contract
        images = np.random.default_rng(0).random((3, *contract.shape), np.float32)
        session = open_session(bundle / ENGINE_ONNX_FILE, 1)
        want = dict(zip(session.outputs, session.run(list(session.outputs), {"image": images}), strict=True))
        with torch_engine.torch.inference_mode():
            got = engine.run({"image": torch_engine.torch.from_numpy(images)})
    assert got.keys() == want.keys() == engine.signature.outputs.keys()
    for name, value in got.items():
        assert value.numpy().dtype == want[name].dtype == engine.signature.dtype(name)
        # Differences of logits: a class that is nearly certain has a bias near 0, with an error of the others' size.
        size = np.abs(want[name]).max(axis=1, keepdims=True) if name == "bias" else 1
        limit = tolerances.HALF_BIAS_RELATIVE if name == "bias" else tolerances.HALF_NETWORK
        np.testing.assert_allclose(value.numpy() / size, want[name] / size, rtol=0, atol=limit)


def test_the_whole_pipeline_runs_on_it(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    images = np.random.default_rng(1).random((4, *manifest.contract.shape), np.float32)
    reference = open_session(bundle / REFERENCE_FILE, 1)
    with EmulatedDevice() as device, torch_engine.pipeline(bundle, device, (1, 4)) as pipeline:
        outcomes = [pipeline.run(images) for _ in range(3)]
        assert [outcome.replayed for outcome in outcomes] == [False, True, True]
        (rmse,) = reference.run(["rmse"], {"image": images})
        for outcome in outcomes:
            decoded = outcome.purified.decoded
            assert decoded.sum(axis=1).tolist() == [manifest.shortlist or len(manifest.classes)] * 4
            np.testing.assert_allclose(outcome.purified.rmse[decoded], rmse[decoded], atol=tolerances.HALF_NETWORK)
            assert outcome.logits is not None
