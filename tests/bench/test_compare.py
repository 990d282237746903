from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from puvae_rt.bench.compare import TOLERANCE, compare, table
from puvae_rt.bench.results import Bench, Result, read_bench, this_machine
from puvae_rt.bench.results import table as results_table
from puvae_rt.errors import BenchmarkError
from puvae_rt.files import write_json

RESULT = Result(
    name="a", target="cpu", precision="fp32", passes=("hoist",), batch=1, p50_ms=2.0, p90_ms=3.0, p99_ms=4.0,
    p99_9_ms=5.0, images_per_second=500.0, rss_mb=100.0, evidence="measured", runs=1000, first_result_s=0.5,
)  # fmt: skip
BENCH = Bench(this_machine(), 2, (RESULT, replace(RESULT, name="slow", p50_ms=20.0), replace(RESULT, batch=8)))


def scaled(bench: Bench, factor: float, *names: str) -> Bench:
    """The same run with the latencies of these engines (all without names) times `factor`."""
    results = [replace(r, p50_ms=r.p50_ms * factor) if not names or r.name in names else r for r in bench.results]
    return replace(bench, results=tuple(results))


def verdicts(now: Bench, then: Bench, yardstick: str | None = None) -> list[bool]:
    return [change.worse(TOLERANCE) for change in compare(now, then, yardstick)]


def test_the_same_run_is_no_worse() -> None:
    assert verdicts(BENCH, BENCH) == [False, False, False]


def test_a_slower_engine_is_worse() -> None:
    assert verdicts(scaled(BENCH, 1.2, "slow"), BENCH) == [False, True, False]
    assert verdicts(scaled(BENCH, 1.1, "slow"), BENCH) == [False, False, False]
    assert verdicts(scaled(BENCH, 0.5), BENCH) == [False, False, False]


def test_more_memory_is_worse() -> None:
    fat = replace(BENCH, results=(replace(RESULT, rss_mb=130.0),))
    assert verdicts(fat, BENCH) == [True]


def test_a_busy_machine_makes_no_difference_with_a_yardstick() -> None:
    now = replace(scaled(BENCH, 3.0), results=scaled(BENCH, 3.0).results[:2])
    assert verdicts(now, BENCH) == [True, True]
    assert verdicts(now, BENCH, "slow") == [False, False]
    assert verdicts(scaled(now, 1.5, "a"), BENCH, "slow") == [True, False]


def test_the_yardstick_must_be_in_both() -> None:
    with pytest.raises(BenchmarkError, match="expected one of a, slow in both runs"):
        compare(BENCH, BENCH, "b")
    with pytest.raises(BenchmarkError, match="at batch 8"):
        compare(BENCH, BENCH, "slow")


@pytest.mark.parametrize("key", ["cpu", "flags", "processors", "system"])
def test_other_machines_are_refused(key: str) -> None:
    other = replace(BENCH, machine={**BENCH.machine, key: "other"})
    with pytest.raises(BenchmarkError, match="cannot be compared"):
        compare(BENCH, other)


def test_other_threads_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="got results of 4 threads, this run has 2"):
        compare(BENCH, replace(BENCH, threads=4))


def test_nothing_in_common() -> None:
    with pytest.raises(BenchmarkError, match="the other file has b at batch 1"):
        compare(BENCH, replace(BENCH, results=(replace(RESULT, name="b"),)))


def test_json_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_json(path, BENCH.document({"seconds": 5}))
    assert read_bench(path) == BENCH


def damaged() -> dict[str, str]:
    document = BENCH.document({})
    first = document["results"][0]

    def with_result(**changes: object) -> str:
        return json.dumps({**document, "results": [{**first, **changes}]})

    return {
        "empty": "",
        "list": "[]",
        "deep": "[" * 100_000,
        "no machine": json.dumps({**document, "machine": None}),
        "no results": json.dumps({**document, "results": 3}),
        "threads": json.dumps({**document, "threads": "2"}),
        "zero": with_result(p50_ms=0),
        "negative": with_result(p50_ms=-1.0),
        "infinite": with_result(rss_mb=float("inf")),
        "NaN": with_result(p99_ms=float("nan")),
        "text": with_result(batch="1"),
        "missing": json.dumps({**document, "results": [{"name": "a"}]}),
    }


@pytest.mark.parametrize("case", damaged())
def test_damaged_results(tmp_path: Path, case: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(damaged()[case])
    with pytest.raises(BenchmarkError, match=r"bench\.json.*puvae bench --json"):
        read_bench(path)


def test_tables() -> None:
    text = table(compare(scaled(BENCH, 1.5, "slow"), BENCH), TOLERANCE)
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["ok", "WORSE", "ok"]
    assert "10.0x" in results_table(tuple(reversed(BENCH.results[:2])))
