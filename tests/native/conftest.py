from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from puvae_rt.errors import TargetUnavailableError
from puvae_rt.native import library
from puvae_rt.native.binding import Library
from tests.native import compiler
from tests.once import shared_folder


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A compiler for every build of the library, which compiles each of its files once (tests/native/compiler.py)."""
    named = os.environ.get("CXX", "c++")
    if (found := shutil.which(named)) is None:
        yield
        return
    folder = shared_folder(tmp_path_factory) / "objects"
    folder.mkdir(exist_ok=True)
    program = tmp_path_factory.mktemp("compiler") / "c++"
    command = shlex.join([sys.executable, "-I", compiler.__file__, found, str(folder)])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(program))
        yield


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
def native(library_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Library]:
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
