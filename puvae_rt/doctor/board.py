"""Power mode and clocks, which decide a board's speed as much as its GPU does. Read from the system's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from puvae_rt.doctor.report import Check

MODEL, NVPMODEL = Path("proc/device-tree/model"), Path("var/lib/nvpmodel/status")
MODES = Path("etc/nvpmodel.conf")
RELEASE = Path("etc/nv_tegra_release")
DEVFREQ = Path("sys/class/devfreq")
GPU_NODES = ("gpu", "gv11b", "ga10b", "gb10b", "17000000")  # of Xavier, Orin and Thor, as their device trees call them
CPU_GOVERNOR = Path("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def is_jetson(root: Path = Path("/")) -> bool:
    """Whether this is a Jetson, told by its release file or device tree; `root` is the file system's."""
    return (root / RELEASE).exists() or "jetson" in _text(root / MODEL).lower()


def board_checks(root: Path = Path("/")) -> Iterator[Check]:
    """Of a Jetson: its model, power mode and clocks; nothing elsewhere. `root` is the file system's."""
    if not is_jetson(root):
        return
    release = re.search(r"R(\d+).*?REVISION: ([\d.]+)", _text(root / RELEASE))
    version = f", L4T {release[1]}.{release[2]}" if release else ""
    yield Check("board", None, (_text(root / MODEL) or "Jetson") + version)
    yield _power_mode(root)
    yield from _clocks(root)


def _power_mode(root: Path) -> Check:
    """The mode that is set, and whether the board has a faster one that it was not told to use."""
    status = re.search(r"(\d+)", _text(root / NVPMODEL).partition(":")[2])
    names = dict(re.findall(r"POWER_MODEL ID=(\d+) NAME=(\S+)", _text(root / MODES)))
    if not status:
        return Check("power mode", None, "unknown; `sudo nvpmodel -q` tells it")
    mode = str(int(status[1]))  # the file has leading zeros
    name = names.get(mode, f"mode {mode}")
    fastest = next((number for number, label in names.items() if label.startswith("MAXN")), None)
    if fastest is None or fastest == mode:
        return Check("power mode", None, name)
    return Check("power mode", None, f"{name}; {names[fastest]} is faster: `sudo nvpmodel -m {fastest}`")


def _clocks(root: Path) -> Iterator[Check]:
    """jetson_clocks pins the clocks: latency is steady then, and slower frames are not the governor's doing."""
    for node in sorted((root / DEVFREQ).glob("*")):
        if not any(part in node.name for part in GPU_NODES):
            continue
        low, now, high = (_text(node / name) for name in ("min_freq", "cur_freq", "max_freq"))
        if low.isdigit() and now.isdigit() and high.isdigit():
            pinned = low == high
            advice = "pinned" if pinned else "not pinned: `sudo jetson_clocks` makes latency steady"
            yield Check("GPU clock", None, f"{_mhz(now)} of {_mhz(high)} MHz, {advice}")
    if governor := _text(root / CPU_GOVERNOR):
        yield Check("CPU governor", None, governor)


def _mhz(hertz: str) -> str:
    return str(int(hertz) // 1_000_000)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
