"""Processes killed at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from puvae_rt.files import remove_leftovers
from tests.hostile.bundles import load
from tests.hostile.damage import remove
from tests.hostile.harness import RIGHT, Kind


class Killed(Kind):
    """A process killed while it writes: what it wrote is the old or the new one, and the next call clears up."""

    name, weight = "killed processes", 1
    SCRIPT = """
import sys
from pathlib import Path
from puvae_rt.files import atomic_folder, write_json
from tests.runtime import toy
folder = Path(sys.argv[1])
print("ready", flush=True)
for number in range(10**6):
    write_json(folder / "report.json", [number] * 20000)
    with atomic_folder(folder / "bundle", "manifest.json") as new:
        toy.save_bundle(new / "made")
        for path in (new / "made").iterdir():
            path.rename(new / path.name)
        (new / "made").rmdir()
"""

    def attempt(self, draw: random.Random) -> str:
        folder = self.folder / "work"
        remove(folder)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n", "it did not start"
            time.sleep(0.02 + 0.3 * draw.random())
            process.send_signal(draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)))
        remove_leftovers(folder)
        report = folder / "report.json"
        if report.exists():
            numbers = json.loads(report.read_bytes())
            assert len(numbers) == 20000 and len(set(numbers)) == 1, "a half-written report"
        if (folder / "bundle").exists():
            load(folder / "bundle")
        assert {path.name for path in folder.iterdir()} <= {"report.json", "bundle"}, "something was left behind"
        return RIGHT
