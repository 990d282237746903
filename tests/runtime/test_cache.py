from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier, user_cache
from puvae_rt.contract import ENGINE_ONNX_FILE
from puvae_rt.errors import BundleError
from puvae_rt.files import sha256_of
from puvae_rt.runtime import cache, machine
from puvae_rt.runtime.cache import IDENTITY_FILE, obtain, open_cached
from puvae_rt.runtime.session import write_optimized
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


def rename_in_identity(name: str) -> Callable[[Path], None]:
    def change(slot: Path) -> None:
        document = json.loads((slot / IDENTITY_FILE).read_text())
        document["files"] = dict.fromkeys([name], *document["files"].values())
        (slot / IDENTITY_FILE).write_text(json.dumps(document))

    return change


def replaced_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_link(slot: Path, target: str) -> None:
    (slot / ENGINE_ONNX_FILE).unlink()
    (slot / ENGINE_ONNX_FILE).symlink_to(target)


TAMPERINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one bit of the engine": (flip_a_byte, "engine.onnx was changed"),
    "truncated engine": (lambda slot: os.truncate(slot / ENGINE_ONNX_FILE, 100), "engine.onnx was changed"),
    "no engine": (lambda slot: (slot / ENGINE_ONNX_FILE).unlink(), "engine.onnx is unreadable"),
    "no identity": (lambda slot: (slot / IDENTITY_FILE).unlink(), "none yet"),
    "identity is no JSON": (lambda slot: (slot / IDENTITY_FILE).write_text("{"), "identity.json is damaged"),
    "identity is a list": (lambda slot: (slot / IDENTITY_FILE).write_text("[]"), "identity.json is damaged"),
    "identity is huge": (lambda slot: (slot / IDENTITY_FILE).write_bytes(b" " * (2 << 20)), "expected at most"),
    "identity is a FIFO": (lambda slot: replaced_by_fifo(slot / IDENTITY_FILE), "identity.json is damaged (is a FIFO"),
    "engine is a FIFO": (lambda slot: replaced_by_fifo(slot / ENGINE_ONNX_FILE), "engine.onnx is a FIFO"),
    "engine is a device": (lambda slot: replaced_by_link(slot, "/dev/zero"), "engine.onnx leads to /dev/zero"),
    "engine is elsewhere": (lambda slot: replaced_by_link(slot, __file__), "engine.onnx leads to "),
    "engine is sparse": (lambda slot: os.truncate(slot / ENGINE_ONNX_FILE, 10 << 30), "bytes, expected at most"),
    "a file's name is half a surrogate pair": (rename_in_identity("\ud800"), "identity.json is damaged"),
    "a file's name holds NUL": (rename_in_identity("a\0b"), "identity.json is damaged"),
    "a file is in another folder": (rename_in_identity("../engine.onnx"), "identity.json is damaged"),
    "a file's name is bytes": (lambda slot: (slot / "\udcff").write_bytes(b""), "does not belong"),
    "a value is half a surrogate pair": (change_identity("cpu", "\ud800"), "identity.json is damaged"),
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


def test_what_onnx_runtime_refuses_heals_once_though_its_hash_agrees(
    bundle: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = answer(bundle)
    slot = only_slot(cache)
    (slot / ENGINE_ONNX_FILE).write_bytes(b"no graph")
    change_files = json.loads((slot / IDENTITY_FILE).read_text())
    change_files["files"][ENGINE_ONNX_FILE] = sha256_of(slot / ENGINE_ONNX_FILE)
    (slot / IDENTITY_FILE).write_text(json.dumps(change_files))
    np.testing.assert_array_equal(answer(bundle), first)
    assert [m for m in messages(caplog) if m.startswith("building") and "cannot be used" in m]
    caplog.clear()
    np.testing.assert_array_equal(answer(bundle), first)
    assert not messages(caplog)


def test_what_is_built_and_cannot_be_used_is_built_once_and_done_without(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builds: list[Path] = []

    def opened(folder: Path) -> None:
        raise BundleError("it is bad")

    for wanted in (1, 2):  # once for each start
        assert open_cached("slot", {}, builds.append, opened) is None
        assert len(builds) == wanted
    assert [m for m in messages(caplog) if "what was just built in it cannot be used" in m]


def test_a_slot_that_another_process_removes_is_built_again(cache: Path) -> None:
    calls: list[Path] = []

    def removed_at_the_second(folder: Path) -> str:
        calls.append(folder)
        if len(calls) == 2:
            shutil.rmtree(folder)
        return (folder / "engine").read_text()

    for _ in range(2):
        assert open_cached("slot", {}, lambda new: (new / "engine").write_text("1"), removed_at_the_second) == "1"
    assert len(calls) == 3


def test_two_environments_keep_their_slots(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    builds: list[Path] = []
    for _ in range(2):
        for version in ("1.18", "1.32"):
            assert obtain("mnist-cpu", {"onnxruntime": version, "threads": 1}, builds.append)
    assert len(builds) == 2 and len(list(cache.iterdir())) == 2
    assert not messages(caplog)


def test_the_least_recently_used_slots_go_when_the_cache_is_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slot(number: int) -> Path:
        folder = obtain("slot", {"number": number}, lambda new: (new / "engine").write_bytes(bytes(10_000)))
        assert folder is not None
        return folder

    slots = [slot(number) for number in range(4)]
    for number, folder in enumerate(slots):
        os.utime(folder, (1e9 + number, 1e9 + number))
    slot(0)  # used again
    monkeypatch.setattr("puvae_rt.runtime.cache.MAX_BYTES", 35_000)
    newest = slot(4)
    assert {*cache.iterdir()} == {slots[0], slots[3], newest}
    monkeypatch.setattr("puvae_rt.runtime.cache.MAX_BYTES", 0)
    os.utime(slots[3], (1e9, 1e9))
    last = slot(5)
    assert {*cache.iterdir()} == {slots[0], newest, last}  # in use a moment ago: they may be open


KILLED = """
import os, signal, sys
from puvae_rt.runtime.cache import obtain
def build(folder):
    (folder / "engine").write_bytes(bytes(1 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
obtain("slot", {"version": int(sys.argv[1])}, build)
"""


def test_what_a_killed_build_left_goes_at_the_next_start(cache: Path) -> None:
    here = obtain("slot", {"version": 1}, lambda new: (new / "engine").write_text("1"))
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", KILLED, "2"], timeout=60).returncode == -signal.SIGKILL
    assert len(list(cache.iterdir())) == 2
    obtain("slot", {"version": 1}, lambda new: pytest.fail("it is there"))
    assert only_slot(cache) == here


FULL = """
import logging, resource, signal, sys
import numpy as np
from puvae_rt import Purifier
logging.basicConfig(format="%(message)s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with Purifier.load(sys.argv[1], threads=1) as purifier:
    print(purifier.purify(np.zeros((1, 1, 28, 28), np.uint8)).images.shape)
"""


def test_a_disk_that_is_full_for_onnx_runtime_is_the_caches_fault(bundle: Path, cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(bundle)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "(1, 1, 28, 28)\n", done.stderr
    assert f"engine cache {cache} cannot be written" in done.stderr and "set PUVAE_CACHE" in done.stderr
    assert not list(cache.iterdir())


@pytest.mark.parametrize("platformdirs_answers", [None, "~/.cache/puvae_rt"], ids=["newest", "oldest"])
def test_without_a_home_one_warning_names_the_variable(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    platformdirs_answers: str | None,
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("PUVAE_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    if platformdirs_answers:
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: platformdirs_answers)
    user_cache._warn_once.cache_clear()
    before = sorted(tmp_path.iterdir())
    for _ in range(2):
        assert answer(bundle).shape == BATCH.shape
    (said,) = messages(caplog)
    assert "PUVAE_CACHE" in said and "nothing is cached" in said
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_that_is_no_utf8_is_said_and_done_without(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PUVAE_CACHE", os.fsdecode(bytes(tmp_path / "cache") + b"\xff"))
    user_cache._warn_once.cache_clear()
    assert answer(bundle).shape == BATCH.shape
    assert [m for m in messages(caplog) if "no UTF-8" in m and "set PUVAE_CACHE" in m]


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

    monkeypatch.setattr("puvae_rt.runtime.engine.write_optimized", full)
    assert answer(bundle).shape == BATCH.shape
    assert [m for m in messages(caplog) if "No space left" in m]
    assert not list(cache.iterdir())


def test_a_graph_that_finds_no_room_is_said_and_done_without(
    bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(model: Path | bytes, threads: int, target: Path) -> None:
        target.symlink_to("/dev/full")
        write_optimized(model, threads, target)

    monkeypatch.setattr("puvae_rt.runtime.engine.write_optimized", full)
    assert answer(bundle).shape == BATCH.shape
    (said,) = [m for m in messages(caplog) if "could not be written" in m]
    assert "is the disk full?" in said and str(cache) in said and "INVALID_PROTOBUF" not in said
    assert not cache.exists() or not list(cache.iterdir())


def test_what_a_build_cannot_read_is_not_blamed_on_the_cache(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        obtain("slot", {}, lambda new: (tmp_path / "samples.npz").read_bytes())
    assert not list(cache.iterdir())

    def disk_is_full(new: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "from"), None, str(new / "to"))

    assert obtain("slot", {}, disk_is_full) is None


def test_the_loser_of_a_race_takes_the_winners_slot(tmp_path: Path, cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "engine").write_text("mine")
        if not list(cache.glob("slot-*")):  # meanwhile, another process finishes the same slot
            obtain("slot", {"version": 1}, lambda other: (other / "engine").write_text("theirs"))

    slot = obtain("slot", {"version": 1}, build)
    assert slot is not None and (slot / "engine").read_text() == "theirs"
    assert only_slot(cache) == slot


def _load_many(bundle: Path, queue: multiprocessing.Queue[object], seed: int) -> None:
    try:
        for turn in range(6):
            if turn % 3 == seed % 3:  # force rebuilds while the others read
                root = cache.cache_root()
                assert root is not None
                for path in root.glob("*/" + IDENTITY_FILE):
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
    root = cache.cache_root()
    assert root is not None and "puvae_rt" in root.parts


def test_the_processor_is_identified() -> None:
    assert machine.cpu_model() != ""
    assert len(machine.cpu_flags_digest()) == 16
    assert 1 <= machine.available_cpus() <= (os.cpu_count() or 1)
    assert 5 < machine.rss_mb() < 1e5
