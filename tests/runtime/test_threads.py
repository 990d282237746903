from __future__ import annotations

import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.errors import ContractError
from puvae_rt.runtime import machine, threads
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.cpu import CHUNK, OrtEngine, side_by_side
from puvae_rt.runtime.machine import Threads, available_cpus, cpu_quota
from tests.runtime import toy

V2 = "0::/a/b\n"
V1 = "11:memory:/a/b\n4:cpu,cpuacct:/a/b\n0::/elsewhere\n"
QUOTAS: dict[str, tuple[str, dict[str, str], float]] = {
    "no control groups": ("", {}, math.inf),
    "unlimited": (V2, {"a/b/cpu.max": "max 100000"}, math.inf),
    "one and a half": (V2, {"a/b/cpu.max": "150000 100000\n"}, 1.5),
    "of the group above": (V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
    "the tightest of several": (V2, {"a/b/cpu.max": "300000 100000", "cpu.max": "50000 100000"}, 0.5),
    "the container's own root": (V2, {"cpu.max": "400000 100000"}, 4),
    "version 1": (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000"}, 3),
    "version 1, another mount": (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "50000"}, 5),
    "version 1, unlimited": (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "100000"}, math.inf),
    "version 1, half of it": (V1, {"cpu/a/b/cpu.cfs_quota_us": "100000"}, math.inf),
    "both versions": ("4:cpu:/\n0::/\n", {"unified/cpu.max": "100000 100000"}, 1),
    "another controller's": ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, math.inf),
    "damaged": ("4\n:\n\n0::/\n", {"cpu.max": "much 0"}, math.inf),
    "no period": (V2, {"cpu.max": "100000 0"}, math.inf),
}


@pytest.mark.parametrize("groups, files, want", QUOTAS.values(), ids=QUOTAS)
def test_quotas_of_containers(tmp_path: Path, groups: str, files: dict[str, str], want: float) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    if groups:
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path) == want


@pytest.mark.parametrize("quota, want", [(math.inf, 4), (2.9, 2), (0.5, 1), (64, 4)])
def test_processors_are_those_of_affinity_and_quota(monkeypatch: pytest.MonkeyPatch, quota: float, want: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert available_cpus() == want


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of six."""
    monkeypatch.setattr(threads, "available_cpus", lambda: 6)


def test_a_batch_on_a_large_machine_keeps_to_its_memory(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 256)
    assert threads.plan_threads(None, resolve(bundle, None, True)) == Threads(1, 16)


@pytest.mark.parametrize("asked, want", [(None, Threads(1, 6)), (1, Threads(1)), (4, Threads(4))], ids=str)
def test_threads_of_a_frame_and_of_a_batch(bundle: Path, processors: None, asked: int | None, want: Threads) -> None:
    assert threads.plan_threads(asked, resolve(bundle, None, True)) == want


def test_auto_measures_once_and_keeps_what_it_found(
    bundle: Path, cache: Path, processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, measured = resolve(bundle, None, True), []

    def measure(asked: Any) -> threads.Measured:
        measured.append(asked)
        return threads.Measured(2, {"1": 1.8, "2": 0.9})

    monkeypatch.setattr(threads, "_measure", measure)
    assert threads.plan_threads("auto", source) == threads.plan_threads("auto", source) == Threads(2, 3)
    assert measured == [source]
    (kept,) = cache.glob("*/threads.json")
    assert json.loads(kept.read_text()) == {"threads": 2, "p90_ms": {"1": 1.8, "2": 0.9}}
    kept.write_text(kept.read_text().replace("2,", "4096,"))
    assert threads.plan_threads("auto", source) == Threads(2, 3)
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)  # another quota is another machine
    assert threads.plan_threads("auto", source) == Threads(2, 4)
    assert len(measured) == 3


@pytest.mark.parametrize("sampling", [False, True], ids=["deterministic", "sampling"])
def test_auto_loads_and_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: bool) -> None:
    monkeypatch.setattr(threads, "_SECONDS", 0.05)
    monkeypatch.setattr(threads, "available_cpus", lambda: 3)
    bundle = toy.save_bundle(tmp_path / "auto", sampling=sampling)
    images = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32)
    with Purifier.load(bundle, threads="auto", seed=1) as auto, Purifier.load(bundle, threads=1, seed=1) as one:
        np.testing.assert_allclose(auto.purify(images).images, one.purify(images).images, atol=1e-6)
    found = threads._measure(resolve(bundle, None, True))
    assert found.threads in (1, 2, 3) and set(found.p90_ms) == {"1", "2", "3"}
    assert all(value > 0 for value in found.p90_ms.values())


@pytest.mark.parametrize(
    "milliseconds, want",
    [({1: 1.8, 2: 0.96}, 2), ({1: 1.6, 2: 5.4}, 1), ({1: 1.0, 2: 0.95, 4: 0.93}, 1), ({1: 2.0, 2: 1.0, 4: 0.95}, 2),
     ({1: 2.0, 2: 1.9, 4: 1.0}, 4), ({1: 1.0}, 1)],
    ids=str,
)  # fmt: skip
def test_more_threads_have_to_pay(milliseconds: dict[int, float], want: int) -> None:
    assert threads.fewest(milliseconds) == want


@pytest.mark.parametrize("value", ["AUTO", "all", "", b"auto", np.array(["auto", "auto"])], ids=str)
def test_other_words_are_no_number_of_threads(bundle: Path, value: Any) -> None:
    with pytest.raises(ContractError, match=r"threads: got .* 'auto' where a purifier is loaded"):
        Purifier.load(bundle, threads=value)


def test_runs_of_a_batch_go_on_side_by_side_and_come_back_in_order() -> None:
    meeting = threading.Barrier(3, timeout=30)

    def work(i: int) -> int:
        meeting.wait()  # passes only if three are under way at once
        return i

    assert side_by_side(work, [(i,) for i in range(6)], at_once=3) == list(range(6))


def test_without_threads_to_be_had_the_runs_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    assert side_by_side(lambda i: i + 1, [(i,) for i in range(6)], at_once=3) == list(range(1, 7))


def test_an_error_of_one_run_is_the_batchs() -> None:
    def work(i: int) -> int:
        if i == 4:
            raise ContractError("the fifth")
        return i

    with pytest.raises(ContractError, match="the fifth"):
        side_by_side(work, [(i,) for i in range(6)], at_once=2)


def test_an_interrupted_batch_does_not_go_on_to_its_end() -> None:
    done = []

    def work(i: int) -> None:
        if i == 0:
            raise KeyboardInterrupt
        time.sleep(0.01)
        done.append(i)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, [(i,) for i in range(500)], at_once=2)
    assert len(done) < 100


@pytest.mark.parametrize("sampling", [False, True], ids=["deterministic", "sampling"])
def test_a_batch_is_the_same_however_many_run_at_once(tmp_path: Path, sampling: bool) -> None:
    bundle = toy.save_bundle(tmp_path / "batch", sampling=sampling)
    model, n = bundle / "engine.onnx", 3 * CHUNK + 5
    images = np.random.default_rng(0).random((n, 1, 28, 28), dtype=np.float32)
    noise = np.random.default_rng(1).standard_normal((n, toy.CLASSES, 32), dtype=np.float32) if sampling else None
    one, four = (OrtEngine(model, toy.GRAY, toy.CLASSES, 1, at_once=k).run(images, noise) for k in (1, 4))
    for got, want in zip(vars(four).values(), vars(one).values(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_threads_without_work_take_no_processor(bundle: Path) -> None:
    with Purifier.load(bundle, threads=2) as purifier:
        purifier.purify(np.zeros((20, 28, 28), np.uint8))
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1
