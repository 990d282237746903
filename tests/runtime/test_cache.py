from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.contract import ENGINE_ONNX_FILE
from puvae_rt.runtime import cache, machine
from puvae_rt.runtime.cache import IDENTITY_FILE
from tests.runtime import toy

BATCH = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)


def answer(bundle: Path) -> np.ndarray:
    with Purifier.load(bundle, threads=1) as purifier:
        return purifier.purify(BATCH).images


def only_slot(root: Path) -> Path:
    (slot,) = root.iterdir()  # and nothing unfinished beside it
    return slot


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("puvae_rt")]


def test_first_use_builds_and_the_next_one_reads(bundle: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = answer(bundle)
    slot = only_slot(cache)
    assert [m for m in messages(caplog) if "none yet" in m]
    written = {path: path.stat().st_mtime_ns for path in slot.iterdir()}
    caplog.clear()
    np.testing.assert_array_equal(answer(bundle), first)
    assert not messages(caplog)
    assert {path: path.stat().st_mtime_ns for path in slot.iterdir()} == written


def test_the_identity_is_complete(bundle: Path, cache: Path) -> None:
    answer(bundle)
    slot = only_slot(cache)
    document = json.loads((slot / IDENTITY_FILE).read_text())
    assert set(document["identity"]) == {
        "source_sha256", "target", "onnxruntime", "puvae_rt", "cpu", "cpu_flags", "threads", "options",
    }  # fmt: skip
    assert set(document["files"]) == {ENGINE_ONNX_FILE}


def flip_a_byte(slot: Path) -> None:
    engine = slot / ENGINE_ONNX_FILE
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)


def change_identity(key: str, value: object) -> Callable[[Path], None]:
    def change(slot: Path) -> None:
        document = json.loads((slot / IDENTITY_FILE).read_text())
        document["identity"][key] = value
        (slot / IDENTITY_FILE).write_text(json.dumps(document))

    return change


TAMPERINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one bit of the engine": (flip_a_byte, "engine.onnx was changed"),
    "truncated engine": (lambda slot: os.truncate(slot / ENGINE_ONNX_FILE, 100), "engine.onnx was changed"),
    "no engine": (lambda slot: (slot / ENGINE_ONNX_FILE).unlink(), "engine.onnx is unreadable"),
    "no identity": (lambda slot: (slot / IDENTITY_FILE).unlink(), "none yet"),
    "identity is no JSON": (lambda slot: (slot / IDENTITY_FILE).write_text("{"), "identity.json is damaged"),
    "identity is a list": (lambda slot: (slot / IDENTITY_FILE).write_text("[]"), "identity.json is damaged"),
    "identity is huge": (lambda slot: (slot / IDENTITY_FILE).write_bytes(b" " * (2 << 20)), "larger than"),
    "foreign file": (lambda slot: (slot / "extra.bin").write_bytes(b"x"), "extra.bin does not belong"),
    "another ONNX Runtime": (change_identity("onnxruntime", "1.0.0"), "onnxruntime was 1.0.0, is 1."),
    "another processor": (change_identity("cpu_flags", "0"), "cpu_flags was 0, is "),
    "another package": (change_identity("puvae_rt", "0.0.0"), "puvae_rt was 0.0.0, is 0."),
    "another source": (change_identity("source_sha256", "0"), "source_sha256 was 0, is "),
    "unknown key": (change_identity("colour", "red"), "colour was red, is None"),
}


@pytest.mark.parametrize("tamper, reason", TAMPERINGS.values(), ids=TAMPERINGS)
def test_what_differs_is_rebuilt_and_said(
    bundle: Path, cache: Path, caplog: pytest.LogCaptureFixture, tamper: Callable[[Path], None], reason: str
) -> None:
    first = answer(bundle)
    slot = only_slot(cache)
    tamper(slot)
    caplog.set_level(logging.INFO)
    np.testing.assert_array_equal(answer(bundle), first)
    assert [m for m in messages(caplog) if m.startswith("building") and reason in m], messages(caplog)
    assert only_slot(cache) == slot
    caplog.clear()
    np.testing.assert_array_equal(answer(bundle), first)
    assert not messages(caplog)


def test_threads_and_sources_have_their_own_slots(tmp_path: Path, bundle: Path, cache: Path) -> None:
    other = toy.save_bundle(tmp_path / "other", sampling=True)
    for folder, threads in ((bundle, 1), (bundle, 2), (other, 1)):
        Purifier.load(folder, threads=threads).close()
    assert len(list(cache.iterdir())) == 3


def test_an_unwritable_cache_is_said_and_done_without(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    want = answer(bundle)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "file"))  # no folder can be made in it, even by root
    np.testing.assert_array_equal(answer(bundle), want)
    assert [m for m in messages(caplog) if "cannot be written" in m and "PUVAE_CACHE" in m]


def test_a_cache_that_fills_up_is_said_and_done_without(
    bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("puvae_rt.runtime.engine._optimize", full)
    assert answer(bundle).shape == BATCH.shape
    assert [m for m in messages(caplog) if "No space left" in m]
    assert not list(cache.iterdir())


def test_the_loser_of_a_race_takes_the_winners_slot(tmp_path: Path, cache: Path) -> None:
    from puvae_rt.runtime.cache import obtain

    def build(folder: Path) -> None:
        (folder / "engine").write_text("mine")
        if not cache.joinpath("slot").exists():  # meanwhile, another process finishes the same slot
            obtain("slot", {"version": 1}, lambda other: (other / "engine").write_text("theirs"))

    slot = obtain("slot", {"version": 1}, build)
    assert slot is not None and (slot / "engine").read_text() == "theirs"
    assert only_slot(cache) == slot


def _load_many(bundle: Path, queue: multiprocessing.Queue[object], seed: int) -> None:
    try:
        for turn in range(6):
            if turn % 3 == seed % 3:  # force rebuilds while the others read
                for path in cache.cache_root().glob("*/" + IDENTITY_FILE):
                    path.write_text("{}")
            queue.put(float(answer(bundle).sum()))
    except Exception as error:
        queue.put(repr(error))


def test_processes_that_build_at_once_do_not_disturb_each_other(bundle: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_load_many, args=(bundle, queue, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    got = [queue.get(timeout=60) for _ in range(18)]
    for process in processes:
        process.join(10)
    assert got == [float(answer(bundle).sum())] * 18


def test_the_default_place_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUVAE_CACHE")
    assert "puvae_rt" in cache.cache_root().parts


def test_the_processor_is_identified() -> None:
    assert machine.cpu_model() != ""
    assert len(machine.cpu_flags_digest()) == 16
    assert 1 <= machine.available_cpus() <= (os.cpu_count() or 1)
    assert 5 < machine.rss_mb() < 1e5
