"""The kernels' binary for one GPU: built beforehand by CMake where one fits, else compiled here by NVRTC.

What CMake leaves in `cubin/` says in its name what it is: `sm_87.cuda13.0.<digest of the sources>.cubin`. A binary
of other sources than the installed ones is not used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from puvae_rt.errors import TargetUnavailableError
from puvae_rt.files import sha256_of
from puvae_rt.kernels import nvrtc
from puvae_rt.kernels.launch import ENTRIES

Version: TypeAlias = tuple[int, int]  # major, minor: of a GPU's compute capability, or of CUDA

KERNELS = Path(__file__).parent
CUBINS = KERNELS / "cubin"
SOURCE = KERNELS / "kernels.cu"
SOURCES = (SOURCE, *(KERNELS / f"{name}.cu" for name in sorted(ENTRIES)), KERNELS / "device.cuh")  # as CMakeLists.txt
# Compute capabilities that CMake compiles for, ascending, without the dot.
ARCHITECTURES = tuple(int(line) for line in (KERNELS / "architectures.txt").read_text().split())

# Jetson and DRIVE: their cubins run on that very capability alone (CUDA C++ Programming Guide, "Binary Compatibility").
TEGRA = frozenset({(8, 7), (11, 0)})


class Binary(NamedTuple):
    """A module for cuModuleLoadData with every kernel in it, and in words where it comes from."""

    image: bytes
    origin: str


@dataclass(frozen=True)
class Built:
    """A file of `cubin/`."""

    path: Path
    machine_code: bool  # a cubin; else PTX, which the driver compiles
    capability: Version
    toolkit: Version
    digest: str

    def runs_on(self, capability: Version, driver: Version) -> bool:
        """Whether a GPU of this capability and a driver of this CUDA version can load it."""
        if not self.machine_code:
            return self.capability <= capability and self.toolkit <= driver
        same = self.capability == capability
        minor = self.capability[0] == capability[0] and self.capability[1] <= capability[1]
        return (same or (minor and not TEGRA & {self.capability, capability})) and self.toolkit[0] <= driver[0]

    def __str__(self) -> str:
        kind = "cubin sm" if self.machine_code else "PTX compute"
        return f"{kind}_{_joined(self.capability)} of CUDA {_dotted(self.toolkit)}"


_NAME = re.compile(r"(sm|compute)_(\d+)(\d)\.cuda(\d+)\.(\d+)\.([0-9a-f]+)\.(cubin|ptx)")


def find(capability: Version, driver: Version, folder: Path = CUBINS) -> Binary:
    """The best binary for a GPU: a cubin, else PTX, else what NVRTC makes of the sources.

    Args:
        capability: the GPU's compute capability.
        driver: the CUDA version that its driver supports.
        folder: of built binaries; may be absent.
    Raises:
        TargetUnavailableError: none fits, and NVRTC is absent or cannot serve this GPU.
        BuildError: NVRTC refused the sources.
    """
    built = listed(folder)
    chosen = choose(built, capability, driver)
    if chosen:
        end = b"" if chosen.machine_code else b"\0"  # the driver takes PTX as a C string
        return Binary(chosen.path.read_bytes() + end, str(chosen))
    try:
        return Binary(*nvrtc.compile_for(SOURCE, capability, driver, source_digest()))
    except TargetUnavailableError as error:
        there = ", ".join(map(str, built)) or "none"
        raise TargetUnavailableError(
            f"no kernels for compute capability {_dotted(capability)} under a driver of CUDA {_dotted(driver)}. "
            f"Built ones of these sources in {folder}: {there}. And they cannot be compiled now: {error}"
        ) from error


def choose(built: Iterable[Built], capability: Version, driver: Version) -> Built | None:
    """The closest of those that run there: machine code before PTX, then the highest capability and toolkit."""
    usable = [b for b in built if b.runs_on(capability, driver)]
    return max(usable, key=lambda b: (b.machine_code, b.capability, b.toolkit), default=None)


def listed(folder: Path = CUBINS) -> list[Built]:
    """The folder's binaries of the installed sources, in order of their names."""
    digest = source_digest()
    parsed = [_parsed(path) for path in sorted(folder.glob("*"))] if folder.is_dir() else []
    return [built for built in parsed if built and built.digest == digest]


def source_digest() -> str:
    """Of all that is compiled: CMakeLists.txt computes the same."""
    hashes = "".join(sha256_of(path) for path in SOURCES)
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def _parsed(path: Path) -> Built | None:
    match = _NAME.fullmatch(path.name)
    if not match:
        return None
    kind, major, minor, cuda, release, digest, _ = match.groups()
    return Built(path, kind == "sm", (int(major), int(minor)), (int(cuda), int(release)), digest)


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _joined(version: Version) -> str:
    return f"{version[0]}{version[1]}"
