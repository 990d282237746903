from __future__ import annotations

from pathlib import Path

import pytest

from export import atomic
from export.atomic import whole_folder
from puvae_rt.errors import BuildError


def write(folder: Path, content: str) -> None:
    with whole_folder(folder, "marker") as new:
        (new / "marker").write_text(content)


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "bundle"
    with whole_folder(folder, "marker") as new:
        (new / "marker").write_text("1")
        assert not folder.exists()
    assert (folder / "marker").read_text() == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("exchange", [True, False], ids=["in-one-step", "by-two-renames"])
def test_an_old_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
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
    with pytest.raises(error), whole_folder(folder, "marker") as new:
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
