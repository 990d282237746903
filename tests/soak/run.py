"""`make soak`: plays a constant stream for minutes; watches memory, descriptors, threads, and that all frames count.

    python -m tests.soak.run --duration 600 --rate 30

Writes results/soak.json and results/soak.png; exits with 1 where something grew, or a frame was not accounted for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from puvae_rt.pictures import panels, save_figure

ROOT = Path(__file__).parents[2]
WARM_UP = 0.2  # of the time: libraries, caches and buffers reach their size
EVERY = 2.0  # seconds between two looks
MOST_GROWTH = 0.02  # of the resident memory


@dataclass(frozen=True)
class Look:
    """A process at a moment."""

    seconds: float
    rss_mb: float
    descriptors: int
    threads: int


def look(pid: int, seconds: float) -> Look:
    """From /proc; OSError once the process has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return Look(
        seconds,
        int(status["VmRSS"].split()[0]) / 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(status["Threads"]),
    )


def faults(looks: Sequence[Look], run: dict[str, Any]) -> list[str]:
    """What is wrong, in words; none where everything is flat and counted."""
    end = looks[-1].seconds if looks else 0.0
    steady = [each for each in looks if each.seconds >= WARM_UP * end]
    if len(steady) < 10:
        return [f"{len(steady)} looks after the warm-up, expected 10 and more: run longer"]
    tenth = max(3, len(steady) // 10)
    first, last = steady[:tenth], steady[-tenth:]
    found = []
    growth = median(each.rss_mb for each in last) / median(each.rss_mb for each in first) - 1
    if growth >= MOST_GROWTH:
        found.append(f"resident memory grew by {100 * growth:.1f}%, expected under {100 * MOST_GROWTH:g}%")
    for name in ("descriptors", "threads"):
        before, after = (median(getattr(each, name) for each in part) for part in (first, last))
        if after > before:
            found.append(f"{name} grew from {before:g} to {after:g}")
    if run["read"] != run["frames"] + run["dropped"]:
        found.append(f"{run['read']} frames read, {run['frames']} shown and {run['dropped']} dropped: some are missing")
    if run["error"] is not None or not run["frames"]:
        found.append(f"{run['frames']} frames, error: {run['error']}")
    return found


def soak(
    duration: float, rate: float, options: Sequence[str], every: float = EVERY
) -> tuple[list[Look], dict[str, Any]]:
    """What the demo looked like while it ran, and its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "run.json"
        command = [sys.executable, "-m", "demos.video", "--headless", "--no-video", "--json", str(report)]
        command += ["--duration", str(duration), "--rate", str(rate), *options]
        looks: list[Look] = []
        started = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                try:
                    looks.append(look(process.pid, time.monotonic() - started))
                except (OSError, KeyError):  # it has just ended
                    break
                time.sleep(every)
            process.wait()
        return looks, json.loads(report.read_text("utf-8"))


def picture(looks: Sequence[Look], path: Path) -> None:
    """Memory, descriptors and threads over time."""
    figure, grid = panels(3, 1, (8, 6))
    axes = grid[:, 0]
    minutes = [each.seconds / 60 for each in looks]
    names = {"rss_mb": "resident memory, MB", "descriptors": "descriptors", "threads": "threads"}
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        axis.plot(minutes, [getattr(each, name) for each in looks])
        axis.set_ylim(bottom=0)
        axis.set_title(title, loc="left", fontsize=10)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    save_figure(figure, path, dpi=100)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=600, help="seconds")
    parser.add_argument("--rate", type=float, default=30, help="frames a second")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder for soak.json and soak.png")
    args, options = parser.parse_known_args(argv)
    looks, run = soak(args.duration, args.rate, options)
    found = faults(looks, run)
    kept = ("frames", "read", "dropped", "failed", "degraded", "events", "source", "rate", "policy", "threads", "model")
    document = {
        "duration": args.duration,
        "options": options,
        "run": {key: run[key] for key in kept},
        "looks": [asdict(each) for each in looks],
        "faults": found,
        "evidence": "measured",
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
    picture(looks, args.results / "soak.png")
    print("\n".join(found) or f"{len(looks)} looks, {run['read']} frames: flat, and every frame counted")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
