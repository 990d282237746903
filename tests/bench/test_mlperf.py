from __future__ import annotations

import json
from pathlib import Path

import pytest

from puvae_rt.bench import command, mlperf
from puvae_rt.errors import BenchmarkError
from puvae_rt.runtime.purifier import Purifier
from tests.runtime import toy


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """MLPerf's bounds made small; a bundle to measure."""
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mlperf, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(mlperf, "LEAST_FRAMES", {mlperf.SINGLE: 50, mlperf.CONSTANT: 30})
    return toy.save_bundle(tmp_path / "bundle")


def test_the_bounds_are_mlperfs() -> None:
    assert mlperf.LEAST_FRAMES == {"single stream": 6636, "constant stream": 100_000}
    assert mlperf.LEAST_SECONDS == 600 and mlperf.PERCENTILE == "p99_9"


def test_both_bounds_are_reached(brief: Path) -> None:
    with Purifier.load(brief, threads=1) as purifier:
        single = mlperf.measure(purifier, None)
        assert single.frames >= 50 and single.seconds >= 0.2 and single.scenario == "single stream"
        constant = mlperf.measure(purifier, 100)
        assert constant.seconds >= 0.28 and 30 <= constant.frames <= 60


def test_what_waits_is_in_the_latency(brief: Path) -> None:
    """At a rate that the machine cannot keep, latencies grow from frame to frame."""
    with Purifier.load(brief, threads=1) as purifier:
        run = mlperf.measure(purifier, 90_000, slo_ms=1)
        assert run.latency_ms["max"] > 5 * run.latency_ms["p50"] / 4 and run.late > 0
        for wrong in (0, -1, float("nan")):
            with pytest.raises(BenchmarkError, match="expected frames a second"):
                mlperf.measure(purifier, wrong)


def test_the_command(brief: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "run.json"
    options = ["--mlperf", "--bundle", str(brief), "--json", str(result)]
    assert command.main([*options, "--slo", "10s"]) == 0
    document = json.loads(result.read_text())
    assert document["scenario"] == "single stream" and document["frames"] >= 50 and document["slo"]["kept"]
    assert "MLPerf's single stream" in capsys.readouterr().out
    assert command.main([*options, "--rate", "200", "--slo", "0.0001ms"]) == 1
    document = json.loads(result.read_text())
    assert document["scenario"] == "constant stream" and document["slo"]["missed"] == document["frames"]
    assert command.main(["--mlperf", "--bundle", str(brief), "--model", "mnist"]) == 2
    assert "expected one engine" in capsys.readouterr().err
