"""The queue of trainings on the GPU, one after the other until the time is over; a later call goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from puvae_rt.data import KNOWN
from tests.gpu_day.plan import GRACE, QUEUE, RETURNED_TOTAL, ROOT, TRAINED, Training
from tests.gpu_day.stage import Day, Skipped

KEPT = (".safetensors", ".json")  # weights, checkpoints and results
CHECKPOINT = ".checkpoint."  # in a file's name
SHORTEST = 5.0  # seconds for which a training is not begun
PACKING = 2.0  # seconds for the archive, before the stage itself is asked to end


def run(day: Day) -> None:
    """Each entry's exit code and seconds; what they made goes into one archive."""
    data = day.carried / "data"
    ready = [each for each in QUEUE if (data / KNOWN[each.dataset].file).is_file()]
    day.tell("no_data", value=[each.name for each in QUEUE if each not in ready])
    if not ready:
        raise Skipped(f"no data set in {data}: `prepare --train NAME` brings one")
    runs, end = day.work / "runs", time.monotonic() + day.seconds - 2 * GRACE - PACKING
    runs.mkdir(exist_ok=True)
    restore(day.carried, day.work)
    for each in ready:
        left = end - time.monotonic() if day.seconds else None
        if left is not None and left < SHORTEST:
            day.tell("trainings", each.name, value="not reached")
            continue
        day.tell("trainings", each.name, value=_trained(day, each, runs, left))
    day.tell("left_behind", value=pack(runs, day.work / TRAINED))


def _trained(day: Day, each: Training, runs: Path, seconds: float | None) -> dict[str, object]:
    """One training; interrupted when the time is over, it keeps the step that it is at."""
    data = day.carried / "data" / KNOWN[each.dataset].file
    start = time.monotonic()
    process = subprocess.Popen(command_of(each, data, runs, day.torch_device), cwd=ROOT)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    return {"code": code, "seconds": round(time.monotonic() - start, 1), "finished": code == 0}


def command_of(each: Training, data: Path, runs: Path, device: str) -> list[str]:
    """The command of a training: where its images are, where it keeps what it makes, and what computes."""
    command = [sys.executable, "-m", "puvae_rt", *each.command, "--dataset", each.dataset, "--data", str(data)]
    command += ["--runs", str(runs), "--device", device]
    return [*command, "--results", str(runs / "results")] if each.command[0] == "evaluate" else command


def pack(runs: Path, archive: Path, room: int = RETURNED_TOTAL) -> list[str]:
    """Put what was trained into an archive, finished weights before checkpoints; the names of what has no room."""
    found = [path for path in sorted(runs.rglob("*")) if path.is_file() and path.suffix in KEPT]
    left = []
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(found, key=lambda path: CHECKPOINT in path.name):
            name, size = str(path.relative_to(runs.parent)), path.stat().st_size
            if size > room:
                left.append(name)
            else:
                tar.add(path, name)
                room -= size
    return left


def restore(carried: Path, work: Path) -> None:
    """Unpack what an earlier call trained, from its parts in the prepared folder."""
    parts = sorted(carried.glob(f"{TRAINED}.*"), key=lambda path: int(path.suffix[1:]))
    if not parts:
        return
    work.mkdir(parents=True, exist_ok=True)
    archive = work / "earlier.tar.gz"
    archive.write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
