"""Where downloads are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch
import pytest

from puvae_rt.data import download as module
from puvae_rt.errors import DataError


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("PUVAE_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no place to keep the download; set PUVAE_CACHE .*--data PATH"):
        module.download("mnist")
    assert not list(tmp_path.iterdir())


def test_what_was_converted_is_kept_whole_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def convert(files: list[Path]) -> module.Arrays:
        assert [file.read_bytes() for file in files] == [b"1"]
        return {"x": np.arange(3)}

    def retrieve(url: str, known_hash: str, fname: str, path: Path, downloader: object) -> str:
        (path / fname).parent.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(b"1")
        return str(path / fname)

    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setitem(module.SOURCES, "tiny", module.Source("http://x/", {"file": "0"}, convert))
    path = module.download("tiny")
    assert path == tmp_path / "data" / "tiny.npz"
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["x"], np.arange(3))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["tiny-file", "tiny.npz"]
