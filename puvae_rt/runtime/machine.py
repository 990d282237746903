"""What an engine or a measurement depends on besides the code: the processor, its threads, the memory in use."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.errors import ContractError
from puvae_rt.refusal import brief

AUTO = "auto"
DEFAULT_THREADS, MAX_THREADS = 1, 1024
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
    """Whole processors this process may use: its affinity, within its container's quota; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(count, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """Processors' worth of time that the control groups of this process allow it, version 1 or 2; inf without a limit.

    Args:
        root: where /proc and /sys are found.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in memberships:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified") if not controllers else _CPU_MOUNTS:
            # Each group is limited by those above it, too. A container may see its own group as the mount's root.
            group = root / mount / path.lstrip("/")
            for folder in (group, *group.parents):
                quota = min(quota, _quota(folder))
                if folder == root / mount:
                    break
    return quota


_CPU_MOUNTS = ("sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/cpu")


def _quota(group: Path) -> float:
    """Of one control group: cpu.max of version 2, or the two files of version 1."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return math.inf
    try:
        share = int(quota) / int(period)  # "max" and -1 are no limit
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf


@dataclass(frozen=True)
class Threads:
    """Of an engine: `frame` threads share the work of one run, `batch` runs of a large batch go on at once."""

    frame: int
    batch: int = 1


def thread_count(threads: Any, or_auto: bool = False) -> int:
    """An explicit number of threads, checked; None is the default. ContractError for anything else.

    `or_auto`: whether the caller takes "auto" as well, which the error then offers.
    """
    if threads is None:
        return DEFAULT_THREADS
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        default = f"{AUTO!r} where a purifier is loaded, or None" if or_auto else "or none given"
        raise ContractError(
            f"threads: got {brief(threads)}, expected an integer from 1 to {MAX_THREADS}, {default} for "
            f"{DEFAULT_THREADS}"
        )
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
