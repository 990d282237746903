from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from puvae_rt import Purifier
from puvae_rt.bench import command as bench
from puvae_rt.bench import measure as measuring
from puvae_rt.bench.measure import LEAST_RUNS, SLICES, Subject, measure
from puvae_rt.bench.results import read_bench
from puvae_rt.errors import BenchmarkError, UnknownModelError
from puvae_rt.graph.cpu import cpu_model
from puvae_rt.models.weights import load_weights
from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped
from tests.runtime import toy


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measuring, "WARM_UP_SECONDS", 0.01)


def test_a_shipped_model_names_the_passes_of_its_graph() -> None:
    metadata = onnx.load_model_from_string(cpu_model(load_weights(shipped("mnist").path(WEIGHTS_FILE)))).metadata_props
    described = json.loads({entry.key: entry.value for entry in metadata}["puvae"])
    assert Subject.of("mnist").passes == tuple(described["passes"])


@pytest.fixture
def bundles(tmp_path: Path) -> list[str]:
    names = [toy.save_bundle(tmp_path / name) for name in ("one", "two")]
    toy.edit_manifest(names[1], passes=["hoist"])
    return [str(name) for name in names]


def test_two_engines_side_by_side(bundles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "bench.json"
    command = ["--bundle", *bundles, "--batch", "3,1", "--seconds", "0.05", "--threads", "1", "--json", str(path)]
    assert bench.main(command) == 0
    document = json.loads(path.read_text())
    assert document["threads"] == 1 and document["machine"]["processors"] >= 1
    results = document["results"]
    assert [(r["name"], r["batch"]) for r in results] == [(name, batch) for name in bundles for batch in (1, 3)]
    assert [r["passes"] for r in results] == [[], [], ["hoist"], ["hoist"]]
    for r in results:
        assert 0 < r["p50_ms"] <= r["p90_ms"] <= r["p99_ms"] <= r["p99_9_ms"]
        assert r["runs"] >= LEAST_RUNS and r["evidence"] == "measured"
        assert r["images_per_second"] > 0 and 20 < r["rss_mb"] < 1000 and r["first_result_s"] > 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in bundles) and "p99.9" in printed

    assert bench.main([*command[:-2], "--compare", str(path), "--tolerance", "1000"]) == 0
    assert "ok" in capsys.readouterr().out
    fast = {**document, "results": [{**r, "p50_ms": r["p50_ms"] / 1e4} for r in results]}
    path.write_text(json.dumps(fast))
    assert bench.main([*command[:-2], "--compare", str(path)]) == 1
    assert "WORSE" in capsys.readouterr().out


def test_threads_that_are_measured_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    path, bundle = tmp_path / "bench.json", str(toy.save_bundle(tmp_path / "one"))
    command = ["--bundle", bundle, "--batch", "1", "--seconds", "0.05", "--threads", "auto", "--json", str(path)]
    assert bench.main(command) == 0
    document = json.loads(path.read_text())
    (result,) = document["results"]
    with Purifier.load(bundle, threads="auto", classifier=False) as purifier:
        assert (document["threads"], result["threads"]) == ("auto", purifier.threads)
    assert f"auto threads ({bundle}: {purifier.threads}), measured" in capsys.readouterr().out
    assert read_bench(path).threads == "auto"


def test_results_of_another_machine_are_refused_before_anything_is_measured(
    bundles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"cpu": "abacus", "flags": "", "processors": 1, "system": "wood"}
    (tmp_path / "other.json").write_text(json.dumps({"machine": machine, "threads": 1, "results": []}))
    monkeypatch.setattr(measuring, "measure", None)
    assert bench.main(["--bundle", *bundles, "--threads", "1", "--compare", str(tmp_path / "other.json")]) == 2
    assert "abacus" in capsys.readouterr().err


def test_engines_take_turns(bundles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines alternate, a slow one gets its least number of runs, a fast one its time."""
    log: list[str] = []

    class Engine:
        def __init__(self, subject: Subject, threads: int) -> None:
            self.subject, self.first_result_s, self.threads = subject, 0.1, threads
            self.slow = subject.name == bundles[0]

        def run(self, batch: int, seconds: float, warm_up: bool = False) -> dict[str, object]:
            log.append("warm" if warm_up else self.subject.name)
            runs = [3000.0] if self.slow else [1e3 * seconds / 4] * 4
            return {"ms": runs, "rss_mb": 50.0}

        def __enter__(self) -> Engine:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(measuring, "_Engine", Engine)
    monkeypatch.setattr(measuring, "_REST_SECONDS", 0)
    shares: list[float] = []
    slow, fast = measure(bundles, [1], 1, 2.0, shares.append).results
    assert log[:2] == ["warm", "warm"]
    assert log[2 : 2 + 2 * LEAST_RUNS] == bundles * LEAST_RUNS
    assert log[2 + 2 * LEAST_RUNS :] == [bundles[1]] * (SLICES - LEAST_RUNS)
    assert (slow.runs, fast.runs) == (LEAST_RUNS, 4 * SLICES)
    assert slow.p50_ms == 3000 and fast.images_per_second == pytest.approx(20)
    assert shares == sorted(shares) and shares[-1] == 1


def test_an_engine_that_fails_says_why(bundles: list[str], tmp_path: Path) -> None:
    other = toy.save_bundle(tmp_path / "gpu", target="rtx")
    with pytest.raises(BenchmarkError, match=r"gpu: .*(NVIDIA|GPU|CUDA)"):
        measure([str(other)], [1], 1, 0.1, lambda _: None)


def test_a_process_that_dies(bundles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BenchmarkError, match="ended with code 1"):
        measure(bundles[:1], [1], 1, 0.1, lambda _: None)


def test_what_a_library_prints_disturbs_nothing(
    bundles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python runs sitecustomize in every process it starts; this one prints to standard output, C's way too."""
    lines = ("import atexit, os", "print('{\"ms\": [1]}', flush=True)", "os.write(1, b'loaded a plugin\\n')")
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(measuring.__file__).parents[2]}")
    (result,) = measure(bundles[:1], [1], 1, 0.05, lambda _: None).results
    assert result.runs >= LEAST_RUNS
    printed = capfd.readouterr()
    assert "loaded a plugin" in printed.err and not printed.out


def test_unknown_engines_are_refused_before_any_process_starts() -> None:
    with pytest.raises(UnknownModelError, match="minst"):
        measure(["minst"], [1], 1, 0.1, lambda _: None)


@pytest.mark.parametrize(
    "arguments",
    [["--batch", "0"], ["--batch", "1,x"], ["--batch", "70000"], ["--seconds", "0"], ["--seconds", "nan"]],
    ids=" ".join,
)
def test_bad_options(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(arguments)
    assert stopped.value.code == 2


def test_images_have_the_models_shape(tmp_path: Path) -> None:
    from puvae_rt.bench.worker import images, run

    with Purifier.load(toy.save_bundle(tmp_path / "color", toy.COLOR), threads=1) as purifier:
        assert images(purifier, 5).shape == (5, 3, 32, 32) and images(purifier, 5).dtype == np.float32
        assert len(run(purifier, 2, seconds=0, least=4)) == 4
