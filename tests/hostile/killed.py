"""Processes killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from puvae_rt.files import remove_leftovers
from puvae_rt.user_cache import VARIABLE
from tests.hostile.bundles import load, same
from tests.hostile.damage import remove
from tests.hostile.harness import RIGHT, Kind
from tests.runtime import toy

ROOT = Path(__file__).parents[2]
BEGIN = """
import signal, sys
from pathlib import Path
from puvae_rt import Purifier
from puvae_rt.files import atomic_folder, write_json
from tests.hostile.damage import remove
from tests.runtime import toy
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
folder, bundle = map(Path, sys.argv[1:])
print("ready", flush=True)
"""
WRITE = f"""{BEGIN}
for number in range(10**6):
    write_json(folder / "report.json", [number] * 20000)
    with atomic_folder(folder / "bundle", "manifest.json") as new:
        toy.save_bundle(new / "made")
        for path in (new / "made").iterdir():
            path.rename(new / path.name)
        (new / "made").rmdir()
"""
LOAD = f"""{BEGIN}
for number in range(10**6):
    remove(folder / "engines")
    Purifier.load(bundle, threads=1).close()
"""


class Killed(Kind):
    """A process killed while it writes: what it wrote is the old or the new one, and the next call clears up."""

    name, weight = "killed processes", 1

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.work, self.bundle = folder / "work", toy.save_bundle(folder / "sound")
        self.right = load(self.bundle)

    def attempt(self, draw: random.Random) -> str:
        remove(self.work)
        self.work.mkdir()
        script = draw.choice((WRITE, LOAD))
        self._kill(script, draw)
        if script is LOAD:
            self._check_cache()
        else:
            self._check_files()
        return RIGHT

    def _kill(self, script: str, draw: random.Random) -> None:
        command = [sys.executable, "-c", script, str(self.work), str(self.bundle)]
        environment = os.environ | {VARIABLE: str(self.work)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n", "it did not start"
            time.sleep(0.02 + 0.3 * draw.random())
            process.send_signal(draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)))
            process.wait()
        finally:
            process.kill()
            process.communicate()

    def _check_files(self) -> None:
        remove_leftovers(self.work)
        if (self.work / "report.json").exists():
            numbers = json.loads((self.work / "report.json").read_bytes())
            assert len(numbers) == 20000 and len(set(numbers)) == 1, "a half-written report"
        if (self.work / "bundle").exists():
            assert same(load(self.work / "bundle"), self.right), "another result than of the sound bundle"
        assert {path.name for path in self.work.iterdir()} <= {"report.json", "bundle"}, "something was left behind"

    def _check_cache(self) -> None:
        before = os.environ[VARIABLE]
        os.environ[VARIABLE] = str(self.work)
        try:
            assert same(load(self.bundle), self.right), "another result than before the kill"
        finally:
            os.environ[VARIABLE] = before
        (slot,) = (self.work / "engines").iterdir()
        assert not slot.name.startswith("."), "no slot"
