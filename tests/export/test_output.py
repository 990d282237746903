from __future__ import annotations

import errno
from pathlib import Path

import pytest

from export.output import output_folder
from puvae_rt import scratch
from puvae_rt.errors import BuildError, FileError
from puvae_rt.files import sha256_of


def write(folder: Path, content: str) -> None:
    with output_folder(folder, "marker") as new:
        (new / "marker").write_text(content)


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "bundle"
    with output_folder(folder, "marker") as new:
        (new / "marker").write_text("1")
        assert not folder.exists()
    assert (folder / "marker").read_text() == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("exchange", [True, False], ids=["in-one-step", "by-two-renames"])
def test_an_old_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(scratch, "_exchange", lambda a, b: False)
    folder = tmp_path / "bundle"
    write(folder, "old")
    (folder / "extra").write_text("of the old one")
    write(folder, "new")
    assert {path.name for path in folder.iterdir()} == {"marker"}
    assert (folder / "marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    folder = tmp_path / "bundle"
    write(folder, "old")
    with pytest.raises(error), output_folder(folder, "marker") as new:
        (new / "marker").write_text("half")
        raise error
    assert (folder / "marker").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_not_ours_is_refused_first(tmp_path: Path) -> None:
    for name in ("folder", "file", "link"):
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        elif name == "file":
            path.write_text("text")
        else:
            write(tmp_path / "ours", "1")
            path.symlink_to(tmp_path / "ours")
        with pytest.raises(BuildError, match=r"not ours to replace"):
            write(path, "2")
    assert (tmp_path / "ours" / "marker").read_text() == "1"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(BuildError, match=r"cannot be written .*choose another --out"):
        write(tmp_path / "file" / "bundle", "1")


def test_an_error_of_the_block_is_not_blamed_on_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "bundle", "marker"):
        (tmp_path / "samples.npz").read_bytes()
    with pytest.raises(FileError) as other, output_folder(tmp_path / "bundle", "marker"):
        sha256_of(tmp_path / "samples.npz")
    assert "--out" not in str(other.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_a_full_disk_is_told_with_the_place_and_leaves_no_folder(tmp_path: Path, named: bool) -> None:
    folder = tmp_path / "new" / "deep" / "bundle"
    message = r"deep/bundle: cannot be written \(No space left.*choose another --out"
    with pytest.raises(BuildError, match=message), output_folder(folder, "marker") as new:
        raise OSError(errno.ENOSPC, "No space left on device", *([str(new / "engine.onnx")] if named else []))
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "there" / "bundle", "marker"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_old_name_goes_on_working(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="whole_folder is now output_folder"):
        from export.output import whole_folder
    with whole_folder(tmp_path / "bundle", "marker"):
        pass
    assert (tmp_path / "bundle").is_dir()
    with pytest.warns(DeprecationWarning, match="whole is now atomic_weights"):
        from puvae_rt.weights_file import whole
    with whole(tmp_path / "w.safetensors") as part:
        part.write_bytes(b"1")
    assert (tmp_path / "w.safetensors").read_bytes() == b"1"
