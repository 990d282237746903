"""Bundles of a model with a prior: its own shortlist, another one, none, and what the runtime makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export import on_device, runners
from export.build import BuildSettings, build
from export.samples import load_samples
from export.source import read_source
from export.verify import verify
from puvae_rt import Purifier
from puvae_rt.contract import EMULATED, Score
from puvae_rt.errors import BuildError, ContractError, PuvaeError
from puvae_rt.graph.onnx_file import read_puvae
from puvae_rt.runtime.arguments import Choice
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.results import Purified
from tests.export.shipped import CLASSES, NAME, SCORE, weights_with_prior
from tests.export.toy import GRAY, save_weights
from tests.tolerances import EXACT_ATOL, FP16_ATOL

pytestmark = pytest.mark.usefixtures("with_prior")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSettings:
    """Images of noise, of which a shortlist is right by chance: the gate's accuracy is not what is tested here."""
    monkeypatch.setattr("export.quality.SHORTLIST_LIMITS", {"accuracy_drop": 1.0, "agreement": 0.99})
    return BuildSettings(model=NAME, out=tmp_path / "out")


def images(packed: Path) -> np.ndarray:
    return load_samples(packed / "samples.npz", GRAY, CLASSES).sets["clean"]


def purified(source: str | Path, shown: np.ndarray, **choice: object) -> Purified:
    with Purifier.load(source, threads=1, **choice) as purifier:  # type: ignore[arg-type]
        return purifier.purify(shown)


def test_a_bundle_decodes_what_the_model_says(settings: BuildSettings, with_prior: Path) -> None:
    folder, manifest = build(settings)
    assert Manifest.read(folder) == manifest
    assert (manifest.shortlist, manifest.score) == (2, Score(SCORE.tau, prior_weight=1.0))
    assert "shortlist" in manifest.passes
    assert manifest.quality is not None and manifest.quality.limits["agreement"] == 0.99
    assert json.loads((with_prior / "model.json").read_text())["shortlist"] == 2
    reference, described = read_puvae(folder / "reference.onnx")
    assert described.shortlist == 2 and "shortlist" not in described.passes
    assert reference.of_type("LogSoftmax") and not reference.of_type("TopK")
    got, want = purified(folder, images(with_prior)), purified(NAME, images(with_prior))
    np.testing.assert_array_equal(got.projected, want.projected)
    np.testing.assert_array_equal(got.decoded, want.decoded)
    np.testing.assert_allclose(got.images, want.images, rtol=0, atol=EXACT_ATOL)
    assert got.decoded.sum(axis=1).tolist() == [2] * len(got)


CHOICES = {
    "all-classes": ({"shortlist": CLASSES}, None, 1.0),
    "without-its-prior": ({"prior": "none"}, None, 0.0),
    "without-its-prior-all-told": ({"prior": "none", "shortlist": CLASSES}, None, 0.0),
    "without-passes": ({"passes": "none"}, None, 1.0),
}


@pytest.mark.parametrize("changes, shortlist, weight", CHOICES.values(), ids=CHOICES)
def test_another_choice(
    settings: BuildSettings, with_prior: Path, changes: dict[str, object], shortlist: int | None, weight: float
) -> None:
    folder, manifest = build(replace(settings, **changes))  # type: ignore[arg-type]
    assert (manifest.shortlist, manifest.score.prior_weight) == (shortlist, weight)
    assert manifest.quality is not None and manifest.quality.built["agreement/clean"] == 1
    got = purified(folder, images(with_prior))
    assert got.decoded.all()
    told = {key: value for key, value in changes.items() if key != "passes"}
    told = told or {"shortlist": CLASSES}
    np.testing.assert_array_equal(got.projected, purified(NAME, images(with_prior), **told).projected)


def test_every_choice_of_a_shipped_model_is_an_engine_of_its_own(with_prior: Path) -> None:
    shown = images(with_prior)
    own, all_, paper = (purified(NAME, shown, **choice) for choice in ({}, {"shortlist": CLASSES}, {"prior": "none"}))
    assert own.decoded.sum(axis=1).tolist() == [2] * len(own) and all_.decoded.all() and paper.decoded.all()
    np.testing.assert_allclose(own.rmse[own.decoded], all_.rmse[own.decoded], rtol=0, atol=EXACT_ATOL)
    assert np.abs(all_.score - paper.score).max() > 0.01
    again = purified(NAME, shown)  # out of the cache
    np.testing.assert_array_equal(again.decoded, own.decoded)


REFUSED = {
    "too-many": ({"shortlist": CLASSES + 1}, ContractError, r"shortlist=4: expected 2 to 3 classes \(--shortlist\)"),
    "one": ({"shortlist": 1}, ContractError, r"shortlist: got 1, expected a number of classes from 2 up"),
    "no-number": ({"shortlist": True}, ContractError, r"shortlist: got True, expected a number of classes"),
    "ranked-by-nothing": ({"prior": "none", "shortlist": 2}, ContractError, r"shortlist=2 without a prior"),
    "unknown-prior": ({"prior": "flat"}, ContractError, r"prior: got 'flat', expected one of model, none"),
}


@pytest.mark.parametrize("choice, error, message", REFUSED.values(), ids=REFUSED)
def test_refusals(settings: BuildSettings, choice: dict[str, object], error: type[PuvaeError], message: str) -> None:
    with pytest.raises(error, match=message):
        Purifier.load(NAME, **choice)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        build(replace(settings, **choice))  # type: ignore[arg-type]
    assert not settings.out.exists() or not list(settings.out.iterdir())


def test_a_bundle_keeps_what_it_was_built_with(settings: BuildSettings) -> None:
    folder, _ = build(replace(settings, verify=False))
    Purifier.load(folder, prior="model", shortlist=2).close()
    for choice, message in (
        ({"shortlist": 3}, r"built to decode 2 of 3 classes, asked for shortlist=3; .*`puvae build --shortlist 3`"),
        ({"prior": "none"}, r"built with its prior, asked for prior='none'; .*`puvae build --prior none`"),
    ):
        with pytest.raises(ContractError, match=message):
            Purifier.load(folder, **choice)  # type: ignore[arg-type]
    plain, _ = build(replace(settings, verify=False, prior="none", out=settings.out / "plain"))
    Purifier.load(plain, prior="none", shortlist=CLASSES).close()
    with pytest.raises(ContractError, match=r"built to decode 3 of 3 classes, asked for shortlist=2"):
        Purifier.load(plain, shortlist=2)


def test_without_passes_a_shortlist_is_refused(settings: BuildSettings) -> None:
    with pytest.raises(ContractError, match=r"--shortlist 2 with --passes none, which decodes every class"):
        replace(settings, passes="none", shortlist=2)


def test_a_reference_can_be_built_with_another_shortlist_and_never_without_its_prior(settings: BuildSettings) -> None:
    folder, _ = build(replace(settings, verify=False))
    reference, engine = str(folder / "reference.onnx"), str(folder / "engine.onnx")
    assert read_source(reference, 0.0).description.shortlist == 2
    assert read_source(reference, 0.0, Choice(shortlist=CLASSES)).description.shortlist is None
    assert read_source(engine, 0.0, Choice(shortlist=2)).description.shortlist == 2
    with pytest.raises(BuildError, match=r"made with its prior, asked for --prior none; give the checkpoint"):
        read_source(reference, 0.0, Choice("none"))
    with pytest.raises(BuildError, match=r"made to decode 2 classes, asked for --shortlist 3; give the checkpoint"):
        read_source(engine, 0.0, Choice(shortlist=CLASSES))
    with pytest.raises(ContractError, match=r"shortlist=9: expected 2 to 3"):
        read_source(reference, 0.0, Choice(shortlist=9))


def test_an_engine_that_decodes_fewer_than_its_manifest_says_fails_the_gate(
    settings: BuildSettings, with_prior: Path
) -> None:
    folder, manifest = build(settings)
    samples = load_samples(with_prior / "samples.npz", GRAY, CLASSES)
    assert verify(folder, manifest, samples).passed
    quality = verify(folder, replace(manifest, shortlist=None), samples)
    assert not quality.passed and quality.built["agreement/clean"] == 0


GPU_CHOICES = {
    "its-own": ({}, 2),
    "all-classes": ({"shortlist": CLASSES}, None),
    "without-its-prior": ({"prior": "none"}, None),
    "without-passes": ({"passes": "none"}, None),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("choice, shortlist", GPU_CHOICES.values(), ids=GPU_CHOICES)
def test_an_rtx_engine_decodes_what_a_cpus_does(
    settings: BuildSettings, with_prior: Path, choice: dict[str, object], shortlist: int | None, precision: str
) -> None:
    pytest.importorskip("tensorrt_rtx")
    asked = replace(settings, target="rtx", precision=precision, compute_capabilities=("8.6",), **choice)  # type: ignore[arg-type]
    folder, manifest = build(asked)
    assert manifest.shortlist == shortlist
    outputs = {output.name: (output.dtype, output.shape) for output in manifest.engine.outputs}
    count, half = shortlist or CLASSES, {"fp32": "float32", "fp16": "float16"}[precision]
    expected = {"candidates": (half, (-1, count, *GRAY.shape))}
    if choice.get("prior") != "none":
        expected["bias"] = ("float32", (-1, count))
    if shortlist is not None:
        expected["classes"] = ("int32", (-1, count))
    assert outputs == expected
    assert manifest.quality is not None and manifest.quality.evidence == "emulated"
    want = purified(NAME, images(with_prior), **{"shortlist": CLASSES} if "passes" in choice else choice)
    atol = EXACT_ATOL if precision == "fp32" else FP16_ATOL
    shown = np.divide(images(with_prior), 255, dtype=np.float32)
    with Purifier.load(folder, device="emulated") as purifier:
        for got in (purifier.purify(shown), runners.on_cpu(folder, manifest).runner(shown, None)):
            np.testing.assert_array_equal(got.decoded, want.decoded)
            np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=atol)
            np.testing.assert_array_equal(got.projected, want.projected)
            np.testing.assert_allclose(got.images, want.images, rtol=0, atol=atol)


def test_the_gate_on_a_device_compares_what_both_decoded(settings: BuildSettings, with_prior: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    folder, manifest = build(replace(settings, target="rtx", precision="fp16", verify=False))
    samples = load_samples(with_prior / "samples.npz", GRAY, CLASSES)
    with on_device.opened(folder, manifest, EMULATED) as (device, engine):
        built = runners.Built(engine.run, device.evidence)
        quality = verify(folder, manifest, samples, built)
        assert quality.passed and quality.evidence == EMULATED and quality.built["agreement/clean"] == 1
        assert quality.built["max_error/clean"] < FP16_ATOL
        quality = verify(folder, replace(manifest, shortlist=None), samples, built)
    assert not quality.passed and quality.built["agreement/clean"] == 0


def test_an_rtx_engine_lists_the_layers_of_its_shortlist(settings: BuildSettings) -> None:
    pytest.importorskip("tensorrt_rtx")
    asked = replace(settings, target="rtx", verify=False, compute_capabilities=("8.6",))
    few, all_ = (build(replace(asked, shortlist=count))[1].engine.layers for count in (None, CLASSES))
    assert any("Topk" in layer.name for layer in few) and any("Gath" in layer.name for layer in few)  # as it shortens
    assert not any("Topk" in layer.name for layer in all_)


def test_a_file_of_weights_says_its_own_shortlist(settings: BuildSettings, tmp_path: Path) -> None:
    path = save_weights(tmp_path / "own.safetensors", weights_with_prior(shortlist=None))
    _, manifest = build(replace(settings, model=str(path), verify=False))
    assert manifest.shortlist is None and manifest.score.prior_weight == 1.0
