"""Puts libpuvae into the wheel, which is py3-none-manylinux then: one for every Python. pyproject.toml has the rest.

Without a C++ compiler the wheel goes without, for any platform, and ONNX Runtime stands in for the library.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
LIBRARY = Path("puvae_rt/native/libpuvae.so")


def module(path: str):
    """A file of the package, without the package, whose imports are not there yet."""
    spec = spec_from_file_location(Path(path).stem, ROOT / path)
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def compiler() -> str | None:
    """The C++ compiler, on the systems that the library is for."""
    return shutil.which(os.environ.get("CXX", "c++")) if sys.platform == "linux" else None


class BuildWithLibrary(build_py):
    """Compiles the library beside the package's modules; an editable installation does so on first use."""

    def run(self) -> None:
        super().run()
        if self.editable_mode or compiler() is None:
            return
        output = Path(self.build_lib).resolve() / LIBRARY
        version = module("puvae_rt/version.py").__version__
        module("puvae_rt/native/compiling.py").compile_library(ROOT / "native", output, compiler(), version)


class WithLibrary(Distribution):
    """What goes where a platform's own files go."""

    def has_ext_modules(self) -> bool:
        return compiler() is not None


class PlatformWheel(bdist_wheel):
    """A wheel with a library of this machine's libc, for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        if self.root_is_pure:
            return super().get_tag()
        name, version = platform.libc_ver()
        libc = "manylinux" if name == "glibc" else "linux"
        numbers = f"_{version.replace('.', '_')}" if name == "glibc" else ""
        return "py3", "none", f"{libc}{numbers}_{platform.machine()}"


setup(distclass=WithLibrary, cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
