from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from puvae_rt import files, scratch
from puvae_rt.errors import ContractError, FileError, PuvaeError

SOON = 10.0  # seconds within which another process answers


@pytest.fixture(autouse=True)
def never_waits() -> Iterator[None]:
    """A read that waits for a FIFO's writer ends the test instead of the run."""

    def ring(*_: object) -> None:
        raise TimeoutError("it waited")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has 108 bytes
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_sparse_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def a_link_outside(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def a_chain_of_links_outside(path: Path) -> None:
    path.with_name("first").symlink_to("/etc")
    path.symlink_to(path.with_name("first") / "hostname")


def nothing(path: Path) -> None:
    pass


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (a_fifo, "is a FIFO, expected a regular file"),
    "device": (a_device, "leads to /dev/zero, expected a file inside"),
    "socket": (a_socket, "is a socket, expected a regular file"),
    "folder": (a_folder, "is a folder, expected a regular file"),
    "sparse": (a_sparse_file, "10737418240 bytes, expected at most 100"),
    "link": (a_link_outside, "leads to /etc/hostname, expected a file inside"),
    "links": (a_chain_of_links_outside, "leads to /etc/hostname, expected a file inside"),
    "absent": (nothing, "No such file"),
}


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED)
def test_only_small_regular_files_of_the_folder_are_read(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "member"
    make(path)
    start = time.perf_counter()
    for read in (files.open_regular, files.read_bytes, files.sha256_of):
        with pytest.raises(FileError, match=message) as caught:
            read(path, 100, tmp_path)
        assert isinstance(caught.value, OSError) and caught.value.errno and caught.value.filename == str(path)
        assert str(caught.value).startswith(f"{path}: ")
    assert message.split(",")[0] in str(files.difference(path, "0" * 64, limit=100, within=tmp_path))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"], ids=["NUL", "half a surrogate pair"])
def test_a_name_that_no_file_can_have_is_a_typed_error(tmp_path: Path, name: str) -> None:
    for use in (files.sha256_of, lambda path: files.read_bytes(path, 1), lambda path: files.write_text(path, "")):
        with pytest.raises(FileError, match="no file can have this name") as caught:
            use(tmp_path / name)
        assert str(caught.value).isprintable()
    assert "no file can have this name" in str(files.difference(tmp_path / name, "0"))
    assert not list(tmp_path.iterdir())


def test_what_is_read_is_what_is_there(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"abc")
    link.symlink_to(path)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    for name in (path, link):
        assert files.read_bytes(name, 3, tmp_path) == b"abc"
        assert files.sha256_of(name, 3, tmp_path) == digest
        assert files.difference(name, digest, 3, within=tmp_path) is None
    assert files.difference(path, digest[::-1]) == (
        f"was changed: its sha256 is {digest[:12]}..., expected {digest[::-1][:12]}..."
    )


def test_the_recorded_size_is_compared_before_anything_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_sparse_file(path := tmp_path / "member")
    monkeypatch.setattr(files, "_sha256", lambda file: pytest.fail("it was hashed"))
    assert files.difference(path, "0" * 64, 10) == f"has {10 << 30} bytes, expected 10"


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    with files.atomic_file(path) as part:
        assert part.name == "file.bin" and part.parent != path.parent
        part.write_bytes(b"1")
        part.chmod(0o600)  # as safetensors writes
        assert not path.exists()
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    assert path.read_bytes() == b"1"
    assert path.stat().st_mode == usual.stat().st_mode
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    (path := tmp_path / "file").write_text("old")
    with pytest.raises(error), files.atomic_file(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_symbolic_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (target := tmp_path / "target").write_text("old")
    (link := tmp_path / "link").symlink_to(target)
    files.write_text(link, "new")
    assert not link.is_symlink() and link.read_text() == "new" and target.read_text() == "old"


@pytest.mark.parametrize("make", [a_fifo, a_device, a_socket, a_folder])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(path := tmp_path / "file")
    before = path.lstat()
    with pytest.raises(FileError, match="expected a regular file"), files.atomic_file(path) as part:
        part.write_text("new")
    assert path.lstat() == before and len(list(tmp_path.iterdir())) == 1


def test_an_error_names_the_file_and_not_the_scratch(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileError, match=r"cannot be written \(No space left") as caught, files.atomic_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
    with pytest.raises(FileError, match="cannot be written") as caught, files.atomic_file(path):
        pass  # the block wrote nothing
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as other, files.atomic_file(path):
        (tmp_path / "another").read_bytes()
    assert other.value.filename == str(tmp_path / "another")
    (tmp_path / "regular").write_text("")
    with pytest.raises(FileError, match="cannot be written") as caught:
        files.write_text(tmp_path / "regular" / "file", "")
    assert caught.value.filename == str(tmp_path / "regular" / "file") and isinstance(caught.value, PuvaeError)


def test_files_and_folders_are_on_the_disk_before_they_take_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (order.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink()}"), sync(fd))
    )
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("replace"), replace(self, to))[1])
    files.write_text(tmp_path / "file", "1")
    assert [entry.split("/")[-1] for entry in order] == ["file", "replace", tmp_path.name]
    order.clear()
    with files.atomic_folder(tmp_path / "folder", "marker") as new:
        (new / "marker").write_text("")
    assert [entry.split("/")[-1] for entry in order] == ["marker", "new", tmp_path.name]


def test_json_is_strict(tmp_path: Path) -> None:
    files.write_json(tmp_path / "file", {"a": [1, "ä\ud800"]})
    assert json.loads((tmp_path / "file").read_bytes()) == {"a": [1, "ä\ud800"]}
    for number in (float("nan"), float("inf")):
        with pytest.raises(FileError, match="cannot be written as JSON"):
            files.write_json(tmp_path / "file", number)
    assert json.loads((tmp_path / "file").read_bytes())["a"][0] == 1


def test_a_stream_is_written_as_it_is(tmp_path: Path) -> None:
    a_fifo(path := tmp_path / "fifo")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    files.write_text(path, "text")
    reader.join(SOON)
    assert got == ["text"] and stat.S_ISFIFO(path.stat().st_mode)
    command = "from puvae_rt import files; print('before', flush=True); files.write_json('/dev/stdout', 1)"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", command], stdout=out, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == "before\n1\n"
    assert Path("/dev/stdout").is_symlink()
    files.write_text("/dev/null", "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


WRITE_AND_WAIT = """
import sys, time
from puvae_rt import files
kind, place = sys.argv[1:]
with files.atomic_file(place) if kind == "file" else files.atomic_folder(place, "marker") as new:
    (new if kind == "file" else new / "marker").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def writer(kind: str, place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE_AND_WAIT, kind, str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".puvae-")]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_what_a_killed_process_left_is_removed_at_the_next_start(
    tmp_path: Path, kind: str, how: signal.Signals
) -> None:
    for place in ("a", "b"):
        process = writer(kind, tmp_path / place)
        process.send_signal(how)
        process.communicate(timeout=SOON)
    assert len(hidden(tmp_path)) == 1  # the second one's: it removed the first one's
    files.write_text(tmp_path / "c", "")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_process_uses_is_never_removed(tmp_path: Path, kind: str) -> None:
    process = writer(kind, tmp_path / "a")
    try:
        (one,) = hidden(tmp_path)
        os.utime(tmp_path / one, (0, 0))
        files.write_text(tmp_path / "b", "")
        with files.atomic_file(tmp_path / "c") as part:
            part.write_text("")
            files.remove_leftovers(tmp_path)
            assert len(hidden(tmp_path)) == 2
        assert hidden(tmp_path) == [one]
    finally:
        process.kill()
        process.communicate(timeout=SOON)


def test_without_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    process = writer("file", tmp_path / "a")
    process.kill()
    process.communicate(timeout=SOON)
    (locked,) = hidden(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(scratch.fcntl, "flock", no_locks)
        with files.atomic_file(tmp_path / "b") as part:
            part.write_text("1")
            (unlocked,) = {*hidden(tmp_path)} - {locked}
        assert hidden(tmp_path) == [locked]  # who cannot lock does not know whether it lives
    (old := tmp_path / unlocked).mkdir()
    (old / "file").write_text("")
    files.remove_leftovers(tmp_path)  # here folders can be locked; the one who made this could not
    assert hidden(tmp_path) == [unlocked]
    for path in (old / "file", old):
        os.utime(path, (time.time() - 2 * scratch.UNLOCKED_SECONDS,) * 2)
    files.remove_leftovers(tmp_path)
    assert not hidden(tmp_path)


def test_what_another_machine_may_be_using_on_a_shared_drive_is_left_for_a_day(tmp_path: Path) -> None:
    (theirs := tmp_path / ".puvae-00000000-abcdefgh.tmp").mkdir()
    (theirs / "file").write_text("")
    files.write_text(tmp_path / "a", "")
    assert theirs.exists()
    for path in (theirs / "file", theirs):
        os.utime(path, (time.time() - 2 * scratch.UNLOCKED_SECONDS,) * 2)
    files.write_text(tmp_path / "a", "")
    assert not theirs.exists()


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (precious := tmp_path / "precious").mkdir()
    (precious / "file").write_text("")
    (tmp_path / ".puvae-abc.tmp").symlink_to(precious)
    files.remove_leftovers(tmp_path)
    assert (precious / "file").exists()


def test_many_writers_at_once_all_write(tmp_path: Path) -> None:
    code = "import sys; from puvae_rt import files\nfor i in range(60): files.write_text(sys.argv[1], str(i) * 1000)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file")]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "file").read_text() == "59" * 1000
    assert not hidden(tmp_path)


ADD = """
import sys
from pathlib import Path
from puvae_rt import files
path = Path(sys.argv[1])
for _ in range(100):
    with files.locked(path):
        files.write_text(path, str(int(path.read_text()) + 1))
"""


def test_under_a_lock_nothing_is_lost(tmp_path: Path) -> None:
    (path := tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", ADD, str(path)]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert path.read_text() == "200"


def test_a_lock_that_is_held_too_long_is_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with (
        files.locked(path),
        pytest.raises(FileError, match=r"another process has kept it locked for 0\.1 s"),
        files.locked(path, 0.1),
    ):
        pytest.fail("both hold it")
    with files.locked(path, 0.1):
        pass


def test_a_file_system_without_locks_is_said_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import filelock

    def refuse(self: object, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    ran = False
    with files.locked(tmp_path / "file"):
        ran = True
    assert ran and "cannot be locked" in caplog.text and "one process at a time" in caplog.text
    caplog.clear()
    monkeypatch.setattr(os, "access", lambda *_: False)  # a folder in which nobody writes
    with files.locked(tmp_path / "file"):
        pass
    assert not caplog.text


def test_a_folder_blames_itself_for_its_own_steps_only(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as other, files.atomic_folder(tmp_path / "folder", "marker"):
        (tmp_path / "another").read_bytes()
    assert not isinstance(other.value, FileError)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"), files.atomic_folder(tmp_path / "file" / "x", "marker"):
        pass


def overwriting(folder: Path) -> dict[str, tuple[Path, Path | str]]:
    """Outputs, each with the input that it would destroy."""
    source, bundle = folder / "clip.mp4", folder / "bundle"
    source.write_bytes(b"frames")
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    (folder / "soft.mp4").symlink_to("clip.mp4")
    (folder / "hard.mp4").hardlink_to(source)
    (folder / "elsewhere").symlink_to(folder, target_is_directory=True)
    return {
        "itself": (source, source),
        "as text": (source, str(source)),
        "another spelling": (folder / "bundle" / ".." / "clip.mp4", source),
        "symbolic link to it": (folder / "soft.mp4", source),
        "it is the link": (source, folder / "soft.mp4"),
        "hard link": (folder / "hard.mp4", source),
        "folder by another way": (folder / "elsewhere" / "clip.mp4", source),
        "case": (folder / "CLIP.MP4", source),
        "the folder around it": (bundle, bundle / "manifest.json"),
        "not there yet": (folder / "clip.json", folder / "elsewhere" / "clip.json"),
    }


@pytest.mark.parametrize("case", range(10))
def test_an_output_that_would_destroy_an_input_is_refused(tmp_path: Path, case: int) -> None:
    output, known = list(overwriting(tmp_path).values())[case]
    with pytest.raises(ContractError, match=r"--out: got .* --source .* expected another path"):
        files.refuse_overwrite({"--out": output}, {"--source": known})
    with pytest.raises(ContractError, match=r"--json: got .* --out .* expected another path"):
        files.refuse_overwrite({"--out": Path(known), "--json": output}, {"--source": None})


def test_other_outputs_are_not_refused(tmp_path: Path) -> None:
    known = overwriting(tmp_path)
    (tmp_path / "Manifest.json").write_text("{}")
    (tmp_path / "manifest.json").write_text("{}")
    if not (tmp_path / "Manifest.json").samefile(tmp_path / "manifest.json"):  # a disk that tells cases apart
        files.refuse_overwrite({"--json": tmp_path / "Manifest.json"}, {"--compare": tmp_path / "manifest.json"})
    null = Path("/dev/null")
    files.refuse_overwrite({"--out": None, "--json": null, "--report": null}, {"--compare": null, "--data": None})
    files.refuse_overwrite({"--out": tmp_path / "new" / "a.mp4"}, {"--source": "synthetic", "--model": "mnist"})
    files.refuse_overwrite({"--out": tmp_path / "out"}, {"--data": tmp_path})  # a folder of images around the results
    assert len(known) == 10


@pytest.mark.parametrize("name", ["manifest.json", "report.json", "deep/report.json", "."])
def test_nothing_is_written_into_a_sealed_folder(tmp_path: Path, name: str) -> None:
    overwriting(tmp_path)
    for bundle in (tmp_path / "bundle", tmp_path / "elsewhere" / "bundle"):
        with pytest.raises(ContractError, match=r"--report: got .* BUNDLE"):
            files.refuse_overwrite({"--report": tmp_path / "bundle" / name}, {}, {"BUNDLE": bundle})
    files.refuse_overwrite({"--report": tmp_path / "bundle.json"}, {}, {"BUNDLE": tmp_path / "bundle"})


def test_a_temporary_folder_of_a_killed_process_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal\nfrom puvae_rt import files\n"
    code += "with files.temporary_folder(): os.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with files.temporary_folder() as folder:
        assert folder.is_relative_to(tmp_path) and not list(folder.iterdir())
    assert not hidden(tmp_path)


def test_publishing_replaces_a_link_to_nothing(tmp_path: Path) -> None:
    place = tmp_path / "slot"
    for target in (tmp_path / "absent", place):
        place.symlink_to(target)
        with scratch.scratch_folder(tmp_path) as new:
            (new / "file").write_text("new")
            scratch.publish(new, place)
        assert [path.name for path in tmp_path.iterdir()] == ["slot"]
        assert not place.is_symlink() and (place / "file").read_text() == "new"
        (place / "file").unlink()
        place.rmdir()
