from __future__ import annotations

from pathlib import Path

import pytest

from puvae_rt.errors import TargetUnavailableError
from puvae_rt.native import library
from puvae_rt.native.binding import Library


@pytest.fixture(scope="session")
def library_file() -> Path:
    """libpuvae as the checkout has it, in the user's cache."""
    return _built()


@pytest.fixture(scope="session")
def libpuvae(library_file: Path) -> Library:
    return Library(library_file)


@pytest.fixture(scope="session")
def wide(library_file: Path) -> Library:
    """The kernels of AVX-512 made of AVX2's instructions, where the processor has no more."""
    return Library(_built("-DPUVAE_WIDE_WITHOUT_AVX512", "-Werror"))


@pytest.fixture
def native(library_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """libpuvae as the runtime finds it, beside an engine cache of the test's own."""
    monkeypatch.setenv(library.VARIABLE, str(library_file))
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    library.load.cache_clear()
    yield library.load()
    library.load.cache_clear()


def _built(*flags: str) -> Path:
    try:
        return library.build(flags=flags)
    except TargetUnavailableError as error:
        pytest.skip(str(error))
