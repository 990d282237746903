from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from export.source import read_source
from puvae_rt.bench import command as bench
from puvae_rt.bench import gpu_model
from puvae_rt.bench.gpus import GPUS
from puvae_rt.errors import BenchmarkError
from puvae_rt.files import sha256_of
from puvae_rt.graph import plan
from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped
from puvae_rt.runtime.manifest import Layer, Manifest
from tests.gpu.bundles import save_gpu_bundle

ROOT = Path(__file__).parents[2]
LAYERS = (
    Layer("heavy", "gemm", "fp16", ("image",), ("h",), macs=10**9, tensor_bytes=10**4, weight_bytes=10**6),
    Layer("wide", "gemm", "fp16", ("h",), ("w",), macs=10**6, tensor_bytes=10**4, weight_bytes=10**8),
    Layer("small", "kgen", "fp16", ("w",), ("candidates",), tensor_bytes=10**3),
    Layer("shapes", "shape_call", "none", (), ()),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = save_gpu_bundle(tmp_path / "bundle")
    write(folder, LAYERS)
    return folder


def write(folder: Path, layers: tuple[Layer, ...]) -> None:
    manifest = Manifest.read(folder)
    dataclasses.replace(manifest, engine=dataclasses.replace(manifest.engine, layers=layers)).write(folder)


def test_each_kernel_is_bound_by_what_it_has_most_of(bundle: Path) -> None:
    (modelled,) = gpu_model.model([Manifest.read(bundle)], ["rtx4090"], [1])
    gpu = GPUS["rtx4090"]
    compute = 2e9 / (gpu.fp16 * gpu_model.COMPUTE_SHARE) * 1e3
    memory = (1e8 + 1e4) / (gpu.bandwidth * gpu_model.BANDWIDTH_SHARE) * 1e3
    assert modelled.compute_ms == pytest.approx(compute)
    assert modelled.memory_ms == pytest.approx(memory)
    # The small layer, preprocess and select_projection; the shape call launches nothing.
    assert modelled.start_ms == pytest.approx(3 * gpu_model.KERNEL_US[False] * 1e-3)
    assert modelled.kernels == 5
    parts = modelled.compute_ms + modelled.memory_ms + modelled.start_ms + modelled.other_ms
    assert modelled.milliseconds == pytest.approx(parts)


def test_a_shortlist_leaves_less_to_choose_among(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    every, few = (
        gpu_model._selection(dataclasses.replace(manifest, shortlist=count), batch=1)[0] for count in (None, 2)
    )
    left_out, pixels = len(manifest.classes) - 2, manifest.contract.pixels
    assert every.macs - few.macs == left_out * pixels
    assert every.bytes - few.bytes == left_out * pixels * 2  # FP16


def test_weights_are_read_once_a_batch_and_a_board_copies_nothing(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    one, eight = gpu_model.model([manifest], ["orin-nano"], [1, 8])
    assert eight.milliseconds < 8 * one.milliseconds
    assert eight.compute_ms == pytest.approx(8 * one.compute_ms)
    assert one.other_ms == pytest.approx(gpu_model.CALL_US[True] * 1e-3)


def test_the_command_writes_json_and_a_picture(bundle: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out" / "gpu_model.json"
    arguments = ["--bundle", str(bundle), "--batch", "1,8,64", "--model-gpu", "orin-nano,h100", "--json", str(out)]
    assert bench.main(arguments) == 0
    document = json.loads(out.read_text())
    assert {r["evidence"] for r in document["results"]} == {"modelled"}
    assert [(r["gpu"], r["batch"]) for r in document["results"]] == [
        (g, b) for g in ("orin-nano", "h100") for b in (1, 8)
    ]
    assert all(document["gpus"][gpu]["source"] for gpu in ("orin-nano", "h100"))
    assert out.with_suffix(".png").stat().st_size > 1000
    assert "modelled, not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model-gpu", "gtx480"], "expected some of orin-nano"),
        (["--model-gpu", "h100", "--batch", "64"], "built for batches up to 8"),
    ],
)
def test_refusals(bundle: Path, capsys, arguments: list[str], message: str) -> None:
    assert bench.main(["--bundle", str(bundle), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_engines_without_costs_are_refused(bundle: Path, capsys) -> None:
    write(bundle, (LAYERS[-1],))
    assert bench.main(["--bundle", str(bundle), "--model-gpu", "h100"]) == 2
    assert "no costs" in capsys.readouterr().err
    with pytest.raises(BenchmarkError):
        gpu_model.model([Manifest.read(bundle)], ["h100"], [1])


def test_without_a_bundle_the_recorded_engines_are_modelled(capsys) -> None:
    assert bench.main(["--model-gpu", "orin-nano"]) == 0
    shown = capsys.readouterr().out
    assert "fp16 exact" in shown and "fp32 none" in shown and "modelled, not measured" in shown


def test_the_recorded_engines_and_what_is_stored_of_them_are_todays() -> None:
    """Else: build them as their `options` say, copy their manifests, and run docs/howto/gpu.md's `puvae bench`."""
    manifests = [Manifest.read(path.parent) for path in sorted(gpu_model.RECORDED.glob("*/manifest.json"))]
    weights = shipped("mnist").path(WEIGHTS_FILE)
    for manifest in manifests:
        assert manifest.source_sha256 == sha256_of(weights)
        today = read_source("mnist", sigma=0.0)
        _, described = plan.for_target(*today.graph("exact" if manifest.passes else "none"), manifest.target)
        assert (manifest.passes, manifest.shortlist, manifest.score) == (
            described.passes,
            described.shortlist,
            described.score,
        )
    stored = json.loads((ROOT / "results/gpu_model.json").read_text())
    batches = sorted({result["batch"] for result in stored["results"]})
    made = gpu_model.document(gpu_model.model(manifests, list(GPUS), batches))
    assert stored == json.loads(json.dumps(made))
