"""What came back becomes results and pages; what is none of ours is refused; nothing emulated is called measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from puvae_rt.errors import DataError
from tests.gpu_day import fold, page
from tests.gpu_day.plan import DONE_FILE, FAILED, PASSED, RESULTS_FILE, ROOT, SKIPPED

MS = {"p50": 0.1, "p99": 0.2, "p99_9": 0.3}
FACTS = {"gpu": {"name": "NVIDIA H200", "driver_cuda": "13.0"}, "packages": {"torch": "2.11.0"}}
PIPELINE = {
    "called": "PyTorch in TensorRT's place",
    "mnist": {
        "agreement": {"images": 1000, "projected": 0.999, "labels": 0.998},
        "graph_equals_plain": True,
        "memory": {"frames": 10000, "lost_bytes": 0, "host_lost_bytes": 0},
        "batch": {"1": {"call": MS, "gpu": MS}},
        "frame": {"1": {"host_frame": MS, "device_frame": MS}},
    },
}
KERNELS = {
    "oracles": {"built": {"origin": "cubin sm_90", "cases": 39, "agree": 39}},
    "times": [{"kernel": "select_projection_f32", "case": "1 x 10", "microseconds": 2.5, "share_of_copy": 0.25}],
}
RACE = {
    "settings": {"steps": 200, "restarts": 20, "images": 128},
    "defense_gan": {"eager FP32": 9.0, "graph TF32": 3.0},
    "ours": {"before": {"p50": 0.9}, "after": {"p50": 1.0}},
    "ratio": 3000.0,
}
PLAIN = {"ours": {"1": {"p50": 0.1}}, "FP16 graph": {"1": {"p50": 0.4}}, "FP32 eager": {"1": {"p50": 0.9}}}
TENSORRT8 = {
    "mnist": {
        "engines": {"engine.onnx": {"tensorrt": "8.5.3.1", "attested": "fp16"}},
        "batch": {"1": {"call": MS}},
    }
}


def row(found: dict[str, Any], status: str = PASSED, device: str = "cuda") -> dict[str, Any]:
    return {"status": status, "seconds": 1.0, "device": device, "commit": "abc", "found": found}


def returned(folder: Path, **stages: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / RESULTS_FILE).write_text(json.dumps({"prepared": {}, "stages": stages}))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout's pages and results."""
    root = tmp_path / "root"
    for name in (*fold.PAGES, "results/gpu_model.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


def test_the_stored_pages_are_made_of_the_stored_results(root: Path) -> None:
    shutil.copy(ROOT / "results/gpu.json", root / "results/gpu.json")
    fold.fold([], root)
    for name in (*fold.PAGES, "results/gpu.md", "results/gpu_short.md", "results/gpu_model.md", "results/gpu.json"):
        assert (root / name).read_text() == (ROOT / name).read_text(), f"{name}: run `python -m tests.gpu_day fold`"


def test_what_was_measured_is_told_with_its_card_and_its_aims(root: Path, tmp_path: Path) -> None:
    stages = {"facts": row(FACTS), "pipeline": row(PIPELINE), "kernels": row(KERNELS), "race": row(RACE)}
    stages |= {
        "straightforward": row(PLAIN),
        "tensorrt8": row(TENSORRT8),
        "memcheck": row({}),
        "arrays": row({}, FAILED),
    }
    stages["training"] = row({"skipped": "no data set"}, SKIPPED)
    assert not fold.fold([returned(tmp_path / "back", **stages)], root), "a stage failed"
    document = json.loads((root / "results/gpu.json").read_text())
    assert document["evidence"] == "measured" and set(document["stages"]) == set(stages)
    whole, readme = (root / "results/gpu.md").read_text(), (root / "README.md").read_text()
    for text in (whole, readme):
        assert "Measured on NVIDIA H200 (driver of CUDA 13.0, PyTorch 2.11.0, abc), PyTorch in TensorRT's place" in text
        assert "Defense-GAN (graph TF32, 200 steps, 20 restarts) 3.000 s" in text
        assert "3,000 times faster (aim 2,000: reached)" in text
        assert "without passes (FP16 graph) 0.400 ms, ours 0.100 ms: 4.0 times faster (aim 5: MISSED)" in text
        assert page.NOTHING not in text
    for text in (
        "39 of 39 cases equal their oracle",
        "1 of 4 tools clean (memcheck)",
        "| select_projection_f32 | 1 x 10 | 2.50 | 25% |",
        "99.90% of 1000 images, label for 99.80%; a graph equals plain calls: yes; 0 bytes lost over 10,000 frames",
        "| mnist | 1 | 0.100 / 0.200 / 0.300 |",
        "modelled for 1 regions of a frame",
        "- TensorRT 8.5.3.1, mnist, attested: fp16; batch 1: 0.100 / 0.200 / 0.300 ms",
        "- **arrays: failed**",
        "- training: not run, no data set",
    ):
        assert text in whole


def test_nothing_emulated_is_called_measured(root: Path, tmp_path: Path) -> None:
    folder = returned(tmp_path / "back", facts=row(FACTS, device="emulated"), race=row(RACE, device="emulated"))
    assert fold.fold([folder], root)
    assert json.loads((root / "results/gpu.json").read_text()) == {"evidence": "not measured", "stages": {}}
    assert page.NOTHING in (root / "README.md").read_text()


def test_a_failure_replaces_no_success_and_the_next_call_knows_both(root: Path, tmp_path: Path) -> None:
    first = returned(tmp_path / "first", facts=row(FACTS), race=row({}, FAILED))
    second = returned(tmp_path / "second", facts=row({}, FAILED), race=row(RACE))
    (second / "trained.tar.gz.0").write_bytes(b"weights")
    fold.fold([first, second], root)
    stages = json.loads((root / "results/gpu.json").read_text())["stages"]
    assert (stages["facts"]["found"], stages["race"]["found"]) == (FACTS, RACE)
    done = json.loads((root / ".gpu" / DONE_FILE).read_text())["stages"]
    assert {name: each["status"] for name, each in done.items()} == {"facts": PASSED, "race": PASSED}
    assert (root / ".gpu" / "trained.tar.gz.0").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not JSON|JSON"),
        ('{"stages": {"facts": {"status": "splendid", "seconds": 1, "device": "cuda", "found": {}}}}', "one of passed"),
        ('{"stages": {"lunch": {"status": "passed", "seconds": 1, "device": "cuda", "found": {}}}}', "stages lunch"),
        ('{"stages": {"facts": {"status": "passed", "seconds": -1, "device": "cuda", "found": {}}}}', ">= 0"),
    ],
)
def test_what_is_no_result_is_refused(root: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / RESULTS_FILE).write_text(text)
    with pytest.raises(DataError, match=message):
        fold.fold([tmp_path], root)
    with pytest.raises(DataError, match="no such file"):
        fold.fold([tmp_path / "nowhere"], root)
