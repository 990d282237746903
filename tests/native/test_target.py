"""Target native: built, verified, loaded, and what happens where the library is not to be had."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.build import build
from export.classifier import classifier_model
from export.quality import ACCURACY_DROP, AGREEMENT, MAX_ERROR, limits_of
from export.settings import BuildSettings
from puvae_rt import Purifier
from puvae_rt.contract import ENGINE_ONNX_FILE, ENGINE_PUVAE_FILE, REFERENCE_FILE
from puvae_rt.errors import BuildError, BundleError, ClosedError, ContractError, TargetUnavailableError
from puvae_rt.native import library
from puvae_rt.native.binding import Library, NativeModel
from puvae_rt.native.classifier import ForeignClassifierError, native_classifier
from puvae_rt.runtime import native as runtime_native
from puvae_rt.runtime.native import NativeEngine
from tests.export import shipped
from tests.export.toy import GRAY
from tests.native.models import random_images
from tests.tolerances import NATIVE_PIXEL, NATIVE_RMSE


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A purifier with a prior, which decodes two of three classes, and a classifier A."""
    folder = tmp_path_factory.mktemp("checkpoints")
    puvae, _, target = shipped.checkpoints(folder, shipped.weights_with_prior())
    return puvae, target


def settings(checkpoints: tuple[Path, Path], out: Path, **changes: object) -> BuildSettings:
    puvae, target = checkpoints
    asked = BuildSettings(str(puvae), out, target="native", verify=False, classifier=str(target))
    return replace(asked, **changes)


@pytest.fixture
def bundle(native: Library, checkpoints: tuple[Path, Path], tmp_path: Path) -> Path:
    return build(settings(checkpoints, tmp_path / "out"))[0]


def frames(count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(count)]


def test_a_bundle_is_built_and_loaded(bundle: Path) -> None:
    names = {path.name for path in bundle.iterdir()}
    assert {ENGINE_PUVAE_FILE, ENGINE_ONNX_FILE, REFERENCE_FILE} <= names
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["target"], manifest["precision"]) == ("native", "fp32")
    assert {layer["precision"] for layer in manifest["engine"]["layers"]} == {"fp32"}
    with Purifier.load(bundle) as purifier:
        assert isinstance(purifier._engine, NativeEngine)
        assert purifier._engine.classifies


def test_it_answers_as_onnx_runtime_does(bundle: Path, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    twin, _ = build(settings(checkpoints, tmp_path / "cpu", target="cpu"))
    images = random_images(GRAY, 20)
    with Purifier.load(bundle) as purifier, Purifier.load(twin) as other:
        got, want = purifier.purify(images), other.purify(images)
        np.testing.assert_array_equal(got.projected, want.projected)
        np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=NATIVE_RMSE)
        np.testing.assert_array_equal(np.isinf(got.score), np.isinf(want.score))
        for frame in frames():
            one, two = purifier(frame, (10, 5, 40, 70)), other(frame, (10, 5, 40, 70))
            assert one.projected == two.projected and one.label == two.label
            assert np.abs(one.image - two.image).max() < 0.05  # the resize may differ by a level
            assert set(one.timings_ms) == {"preprocess", "purify", "classify", "total"}


def test_the_gate_has_its_own_limits_and_holds(native: Library, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    limits = limits_of("native", None)
    assert (limits[ACCURACY_DROP], limits[AGREEMENT], limits[MAX_ERROR]) == (0.002, 0.998, 1e-4)
    samples = tmp_path / "samples.npz"
    images = np.rint(random_images(GRAY, 30) * 255).astype(np.uint8)
    np.savez(samples, images=images, labels=np.zeros(30, np.int64))
    _, manifest = build(settings(checkpoints, tmp_path / "out", verify=True, samples=samples))
    assert manifest.quality is not None and manifest.quality.passed
    assert manifest.quality.evidence == "measured"
    assert manifest.quality.limits[MAX_ERROR] == 1e-4
    assert manifest.quality.built["max_error/clean"] <= 1e-4


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sigma": 0.1}, "deterministic"),
        ({"precision": "fp16"}, "computes in FP32"),
        ({"passes": "none"}, "is the exact passes"),
    ],
)
def test_what_it_does_not_do(
    checkpoints: tuple[Path, Path], tmp_path: Path, changes: dict[str, object], match: str
) -> None:
    with pytest.raises(BuildError, match=match):
        build(settings(checkpoints, tmp_path / "out", **changes))


def test_an_onnx_file_is_no_source(bundle: Path, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="give the checkpoint"):
        build(settings(checkpoints, tmp_path / "out", model=str(bundle / REFERENCE_FILE)))


def test_a_shipped_model_is_made_on_first_use(native: Library, tmp_path: Path) -> None:
    image = random_images(GRAY, 2)
    for _ in range(2):  # written, and read back
        with Purifier.load("mnist", target="native") as purifier, Purifier.load("mnist") as other:
            got, want = purifier.purify(image), other.purify(image)
            np.testing.assert_allclose(got.images, want.images, rtol=0, atol=NATIVE_PIXEL)
            assert purifier._engine.classifies
    assert [path.name for path in (tmp_path / "cache" / "engines").glob("mnist-native-*/*.puvae")] == ["engine.puvae"]


def test_another_classifier_runs_behind_it(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(classifier_model(shipped.classifier_weights(shipped.weights_with_prior(), "B", 7)))
    with Purifier.load(bundle, classifier=other) as purifier:
        assert not purifier._engine.classifies
        result = purifier(frames()[0])
        assert result.label == int(purifier.classifier.labels(result.image[None])[0])
    with Purifier.load(bundle, classifier=False) as purifier:
        result = purifier(frames()[0])
        assert result.label == result.projected


def test_a_foreign_classifier_stays_with_onnx_runtime(
    native: Library, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    model = onnx.load_model_from_string(
        classifier_model(shipped.classifier_weights(shipped.weights_with_prior(), "A", 3))
    )
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    with pytest.raises(ForeignClassifierError, match=r"Sigmoid.*ends at the purified image"):
        native_classifier(model)
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    lines: list[str] = []
    folder, _ = build(settings(checkpoints, tmp_path / "out", classifier=str(path)), lines.append)
    assert any("ends at the purified image" in line for line in lines)
    assert not NativeModel(native, folder / ENGINE_PUVAE_FILE).info.has_classifier
    with Purifier.load(folder) as purifier:
        result = purifier(frames()[0])
        assert result.label == int(purifier.classifier.labels(result.image[None])[0])


def test_without_the_library_onnx_runtime_runs_and_says_so_once(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Purifier.load(bundle) as purifier:
        want = purifier.purify(random_images(GRAY, 2))
    monkeypatch.delenv(library.VARIABLE)
    monkeypatch.setattr(library, "SHIPPED", bundle / "absent.so")
    monkeypatch.setenv("CXX", "no-such-compiler")
    library.load.cache_clear()
    runtime_native._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for source in (bundle, bundle):
            with Purifier.load(source) as purifier:
                got = purifier.purify(random_images(GRAY, 2))
    np.testing.assert_array_equal(got.projected, want.projected)
    told = [record.getMessage() for record in caplog.records if "target native" in record.getMessage()]
    assert len(told) == 1 and "runs in ONNX Runtime" in told[0] and "install it" in told[0]


def test_a_library_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = tmp_path / "libpuvae.so"
    stranger.write_bytes(b"not a library")
    monkeypatch.setenv(library.VARIABLE, str(stranger))
    library.load.cache_clear()
    with pytest.raises(TargetUnavailableError, match="expected a libpuvae"):
        library.load()
    library.load.cache_clear()


def test_a_compiler_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="did not compile"):
        library.build(cache=tmp_path, flags=("-fno-such-flag",))
    assert not list(tmp_path.glob("*.so"))


def test_a_file_of_another_model(bundle: Path, native: Library) -> None:
    model = NativeModel(native, bundle / ENGINE_PUVAE_FILE)
    with pytest.raises(BundleError, match="expected"):
        NativeEngine(model, GRAY, 10)


def test_a_device_is_refused(bundle: Path) -> None:
    with pytest.raises(ContractError, match="target 'native'"):
        Purifier.load(bundle, device="cuda")


def test_many_threads_on_one_purifier(bundle: Path) -> None:
    images = random_images(GRAY, 24)
    with Purifier.load(bundle) as purifier:
        want = purifier.purify(images)
        with ThreadPoolExecutor(6) as pool:
            parts = list(pool.map(lambda image: purifier.purify(image[None]), images))
    np.testing.assert_array_equal(np.concatenate([part.rmse for part in parts]), want.rmse)


def test_closed(bundle: Path) -> None:
    purifier = Purifier.load(bundle)
    engine = purifier._engine
    purifier.close()
    engine.close()
    with pytest.raises(ClosedError):
        purifier.purify(random_images(GRAY, 1))
    with pytest.raises(ClosedError):
        engine.run(random_images(GRAY, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_in_a_forked_child(bundle: Path) -> None:
    image = random_images(GRAY, 1)
    with Purifier.load(bundle) as purifier:
        want = purifier.purify(image)
        child = os.fork()
        if child == 0:  # no pytest in the child
            same = np.array_equal(purifier.purify(image).rmse, want.rmse, equal_nan=True)
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
