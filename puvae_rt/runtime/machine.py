"""What an engine or a measurement depends on besides the code: the processor, its threads, the memory in use."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from puvae_rt.errors import ContractError

MAX_THREADS = 1024
_MIB = 1 << 20


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "unknown"


def cpu_flags() -> list[str]:
    """The processor's instruction sets by the system's names; empty where it tells none."""
    return (_cpuinfo("flags") or _cpuinfo("Features")).split()


def cpu_flags_digest() -> str:
    """A short hash of the architecture and its instruction sets: code chosen for one may not run on another."""
    flags = " ".join(sorted(cpu_flags()))
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:16]


def available_cpus() -> int:
    """Processors this process may use (its affinity, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """`threads` checked; None means every available processor."""
    if threads is None:
        return available_cpus()
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise ContractError(f"threads: got {threads!r}, expected an integer from 1 to {MAX_THREADS}, or None for all")
    return threads


def rss_mb() -> float:
    """Resident memory of this process in MiB; its peak where the system tells only that."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if platform.system() == "Darwin" else peak / 1024


def _cpuinfo(key: str) -> str:
    """The first value of `key` in /proc/cpuinfo, "" where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
