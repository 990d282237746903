"""Registers, shared memory, spills and occupancy of every kernel on every architecture, as nvcc's assembler says.

Needs nvcc and no GPU: the numbers' evidence is "compiled".
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "kernel-report")  # first: --help needs none of what follows

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.files import temporary_folder
from puvae_rt.kernels.binary import ARCHITECTURES, SOURCE, source_digest
from puvae_rt.kernels.launch import ENTRIES, Launch, preprocess, select_projection
from puvae_rt.kernels.occupancy import occupancy

EVIDENCE = "compiled"
COMPILE_SECONDS = 1800

# The launch that a source's occupancy is given for; every other one of it has as many threads or fewer.
_TYPICAL: dict[str, Launch] = {
    "select_projection": select_projection(1, 10, 784, np.float32, np.float16, np.float32),
    "preprocess": preprocess(1, "nv12", 1, 28, 28),
}


@dataclass(frozen=True)
class Resources:
    """What one kernel takes on one architecture."""

    kernel: str  # entry point
    arch: str  # "sm_87"
    registers: int  # of a thread
    shared_bytes: int  # of a block, static and dynamic
    spill_bytes: int  # stores and loads of a thread
    occupancy: float  # 0 to 1


def report(architectures: Sequence[int] = ARCHITECTURES) -> dict[str, Any]:
    """Compiles the kernels for each architecture; the JSON of `python -m puvae_rt.kernels.report`.

    Raises:
        TargetUnavailableError: no nvcc, or one that does not know an architecture.
        BuildError: nvcc failed, or left out a kernel.
    """
    known = _known()
    if unknown := [arch for arch in architectures if arch not in known]:
        rest = ",".join(str(arch) for arch in architectures if arch in known) or known[-1]
        raise TargetUnavailableError(
            f"{_compiler_version()} knows no sm_{', sm_'.join(map(str, unknown))}; install a newer CUDA toolkit, or "
            f"give --architectures {rest}"
        )
    kernels = [resources for arch in architectures for resources in compiled(arch)]
    return {
        "evidence": EVIDENCE,
        "compiler": _compiler_version(),
        "sources": source_digest(),
        "kernels": [asdict(resources) for resources in kernels],
    }


def compiled(arch: int) -> list[Resources]:
    """Of every entry point, in the order of ENTRIES."""
    with temporary_folder() as folder:
        options = ("-std=c++17", "-O3", "-cubin", f"-arch=sm_{arch}", "-Xptxas=-v", "-o", f"{folder}/kernels.cubin")
        return parsed(_nvcc(*options, str(SOURCE)), arch)


def parsed(log: str, arch: int) -> list[Resources]:
    """The assembler's log (`-Xptxas=-v`) of one architecture -> its kernels."""
    found = dict(_KERNEL.findall(log))
    names = [(source, name) for source, entries in ENTRIES.items() for name in entries]
    missing = [name for _, name in names if name not in found]
    if missing:
        raise BuildError(f"sm_{arch}: the compiler's log has no {missing[0]} ({len(missing)} missing); got:\n{log}")
    return [_resources(name, _TYPICAL[source], arch, found[name]) for source, name in names]


# One kernel's lines: from its name to the next kernel's, or the end.
_KERNEL = re.compile(r"Compiling entry function '(\w+)' for '\w+'\n(.*?)(?=^ptxas info +: Compiling|\Z)", re.S | re.M)


def _resources(name: str, launch: Launch, arch: int, text: str) -> Resources:
    registers, static = _number(text, r"Used (\d+) registers"), _number(text, r"(\d+) bytes smem", absent=0)
    spills = _number(text, r"(\d+) bytes spill stores") + _number(text, r"(\d+) bytes spill loads")
    shared, threads = static + launch.shared_bytes, int(np.prod(launch.block))
    share = round(occupancy(arch, threads, registers, shared), 4)
    return Resources(name, f"sm_{arch}", registers, shared, spills, share)


def _number(text: str, pattern: str, absent: int | None = None) -> int:
    match = re.search(pattern, text)
    if match:
        return int(match[1])
    if absent is None:
        raise BuildError(f"the compiler's log has no {pattern!r}; its form has changed. Got:\n{text}")
    return absent


def _known() -> tuple[int, ...]:
    """Architectures that this nvcc compiles for, ascending."""
    return tuple(sorted({int(number) for number in re.findall(r"sm_(\d+)", _nvcc("--list-gpu-code"))}))


def _compiler_version() -> str:
    told = _nvcc("--version")
    match = re.search(r"release ([\d.]+), V([\d.]+)", told)
    return f"nvcc {match[2]} of CUDA {match[1]}" if match else told.strip()


def _nvcc(*options: str) -> str:
    """Standard output and error of nvcc."""
    nvcc = shutil.which(os.environ.get("NVCC", "nvcc"))
    if nvcc is None:
        raise TargetUnavailableError(
            "the kernels' report needs nvcc, which is not on the PATH; install the CUDA toolkit, or name nvcc in NVCC"
        )
    done = subprocess.run([nvcc, *options], capture_output=True, text=True, timeout=COMPILE_SECONDS)
    if done.returncode:
        raise BuildError(f"nvcc {' '.join(options)} failed; mend the source:\n{done.stderr}")
    return done.stdout + done.stderr


def worse(now: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    """Where `now` spills, or fills a multiprocessor less than recorded; one line each."""
    before = {(k["kernel"], k["arch"]): k["occupancy"] for k in recorded["kernels"]}
    lines = []
    for k in now["kernels"]:
        where, least = f"{k['kernel']} on {k['arch']}", before.get((k["kernel"], k["arch"]), 0.0)
        if k["spill_bytes"]:
            lines.append(f"{where} spills {k['spill_bytes']} bytes; use fewer registers")
        if k["occupancy"] < least:
            lines.append(f"{where}: occupancy {k['occupancy']:.0%} fell below the recorded {least:.0%}")
    return lines


def table(result: dict[str, Any]) -> str:
    """Markdown: one row for each source and architecture, over its entry points."""
    head = (
        "# Kernels: resources by architecture\n\n"
        f"Evidence: {result['evidence']} ({result['compiler']}; sources {result['sources']}). "
        "Made from kernels.json by `python -m puvae_rt.kernels.report --json kernels.json`.\n\n"
        "| kernel | variants | architecture | registers | shared bytes | spilled bytes | occupancy |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = [_row(source, arch, result["kernels"]) for source in ENTRIES for arch in _unique(result["kernels"], "arch")]
    return head + "".join(rows)


def _row(source: str, arch: str, kernels: Iterable[dict[str, Any]]) -> str:
    those = [k for k in kernels if k["arch"] == arch and k["kernel"] in ENTRIES[source]]
    registers, shared = (_span(k[key] for k in those) for key in ("registers", "shared_bytes"))
    spills, shares = max(k["spill_bytes"] for k in those), _span(f"{k['occupancy']:.0%}" for k in those)
    return f"| {source} | {len(those)} | {arch} | {registers} | {shared} | {spills} | {shares} |\n"


def _span(values: Iterable[Any]) -> str:
    ordered = sorted(set(values), key=lambda v: float(str(v).rstrip("%")))
    return f"{ordered[0]}" if len(ordered) == 1 else f"{ordered[0]} - {ordered[-1]}"


def _unique(kernels: Iterable[dict[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(k[key] for k in kernels))
