"""Runs the stages on the GPU's machine: each in a process of its own with a limit, whatever becomes of the others.

Standard library only, as the machine may lack packages: they are carried as wheels and unpacked beside it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.gpu_day.plan import (
    BUDGET,
    CARRIED,
    CUDA,
    DONE_FILE,
    FAILED,
    GRACE,
    LOGS_FILE,
    NOT_REACHED,
    PASSED,
    PREPARED_FILE,
    RESULTS_FILE,
    RETURNED_BYTES,
    RETURNED_FILES,
    ROOT,
    SKIP_CODE,
    SKIPPED,
    STAGES,
    TIMED_OUT,
    TRAINED,
    Stage,
)

EVERY_TIME = ("bundles", "training")  # of this machine, which may be a fresh one; and never at its end
TAIL = 2000  # characters of a stage's output that go into the results
Results = dict[str, Any]


class Run:
    """One call.

    Args:
        out: folder for what comes back.
        work: folder of this machine, kept between calls.
        device: "cuda" or "emulated".
        models: shipped ones; those that were prepared without any.
        carried: the prepared folder.
        budget: seconds for all stages.
    """

    def __init__(
        self,
        out: Path,
        work: Path,
        device: str = CUDA,
        models: Sequence[str] = (),
        carried: Path = CARRIED,
        budget: float = BUDGET,
    ) -> None:
        self.started = time.monotonic()
        self.out, self.work, self.device, self.carried, self.budget = out, work, device, carried, budget
        self.prepared = _read(carried / PREPARED_FILE)
        self.models = tuple(models) or tuple(self.prepared.get("models", ()))
        if not self.models:
            raise SystemExit(f"{carried}: not prepared; run `python -m tests.gpu_day prepare` first")
        for folder in (out, work / "logs", work / "found"):
            folder.mkdir(parents=True, exist_ok=True)
        self.results = self._earlier()
        self.environment = self._environment()

    def __call__(self, names: Sequence[str], again: bool = False) -> bool:
        """Run the stages of these names in the order of the plan; whether none failed. Finished ones are kept."""
        self._write()
        wanted = [stage for stage in STAGES if stage.name in names and (again or not self._done(stage.name))]
        for place, stage in enumerate(wanted):
            limit = self._left() - sum(later.seconds for later in wanted[place + 1 :])
            self._save(stage.name, self._perform(stage, limit))
        return all(self.results["stages"].get(name, {}).get("status") in (PASSED, SKIPPED) for name in names)

    def _left(self) -> float:
        return self.budget - (time.monotonic() - self.started)

    def _perform(self, stage: Stage, limit: float) -> Results:
        print(f"=== {stage.name}: {stage.what} (at most {limit:.0f} s)", flush=True)
        if limit < 1:
            return {"status": NOT_REACHED, "seconds": 0.0, "found": {}}
        if stage.under and shutil.which(stage.under[0]) is None:
            return {"status": SKIPPED, "seconds": 0.0, "found": {"skipped": f"no {stage.under[0]} here"}}
        log, found = self.work / "logs" / f"{stage.name}.log", self.work / "found" / f"{stage.name}.json"
        found.unlink(missing_ok=True)
        start = time.monotonic()
        with log.open("wb") as file:
            code = _limited(self._command(stage, found, limit), limit, file, self.environment)
        text = log.read_text("utf-8", "replace")
        print(text[-TAIL:], flush=True)
        status = TIMED_OUT if code is None else {0: PASSED, SKIP_CODE: SKIPPED}.get(code, FAILED)
        row = {"status": status, "seconds": round(time.monotonic() - start, 1), "code": code, "found": _read(found)}
        return row if status == PASSED else row | {"output": text[-TAIL:]}

    def _command(self, stage: Stage, found: Path, limit: float) -> list[str]:
        here = str(ROOT / "tests" / "gpu_day")
        command = [*stage.under, sys.executable, here, "stage", stage.module, "--json", str(found)]
        command += ["--device", self.device, "--work", str(self.work), "--carried", str(self.carried)]
        return [*command, "--seconds", f"{limit:.0f}", "--models", *self.models]

    def _save(self, name: str, row: Results) -> None:
        """Into OUT after each stage: a call that is cut off still brings what was measured."""
        print(f"--- {name}: {row['status']}, {row['seconds']} s", flush=True)
        self.results["stages"][name] = row | {"device": self.device, "commit": self.prepared.get("commit")}
        self._give_back_trained()
        self._write()

    def _write(self) -> None:
        for folder in (self.work, self.out):  # OUT may be emptied before the next call
            new = folder / f"{RESULTS_FILE}.new"
            new.write_text(json.dumps(self.results, indent=1))
            new.replace(folder / RESULTS_FILE)
        with tarfile.open(self.out / LOGS_FILE, "w:gz") as archive:
            archive.add(self.work / "logs", "logs")

    def _give_back_trained(self) -> None:
        """What trainings made, in parts that may come back; what is too large for that stays."""
        archive = self.work / TRAINED
        parts = list(split(archive, self.out, RETURNED_FILES - 2)) if archive.is_file() else []
        self.results["trained"] = [part.name for part in parts]

    def _earlier(self) -> Results:
        """What was folded before, then what this machine still has, then what lies in OUT."""
        stages: Results = {}
        for path in (self.carried / DONE_FILE, self.work / RESULTS_FILE, self.out / RESULTS_FILE):
            stages |= _read(path).get("stages", {})
        return {"prepared": self.prepared, "stages": stages}

    def _done(self, name: str) -> bool:
        """Whether a stage is finished with this very code, on this kind of device."""
        row = self.results["stages"].get(name, {})
        same = (row.get("device"), row.get("commit")) == (self.device, self.prepared.get("commit"))
        return name not in EVERY_TIME and same and row.get("status") == PASSED

    def _environment(self) -> dict[str, str]:
        site = self.work / "site"
        unpack_missing(sorted((self.carried / "wheels").glob("*.whl")), site)
        ours = site / "tests" / "__init__.py"  # before a package of a stranger's that is called so
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.write_text(f"__path__ = [{str(ROOT / 'tests')!r}]\n")
        for folder, target in (("cubin", ROOT / "puvae_rt/kernels/cubin"), ("tensorrt8", self.work / "tensorrt8")):
            if self.device == CUDA and (self.carried / folder).is_dir():
                shutil.copytree(self.carried / folder, target, dirs_exist_ok=True)
        path = os.pathsep.join(filter(None, (str(site), str(ROOT), os.environ.get("PYTHONPATH"))))
        own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PUVAE_CACHE": str(self.work / "cache")}
        own |= {"PUVAE_DATA": str(self.carried / "data"), "XDG_CACHE_HOME": str(self.work / "cache")}
        return {**os.environ, **own}


def unpack_missing(wheels: Sequence[Path], site: Path) -> None:
    """Wheels into a folder, those whose packages this Python lacks: what it has is left as it is."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            tops = {name.split("/")[0] for name in archive.namelist()} - {""}
            packages = [top.removesuffix(".py") for top in tops if not top.endswith((".dist-info", ".data"))]
            if all(importlib.util.find_spec(package) is None for package in packages):
                archive.extractall(site)


def split(file: Path, folder: Path, most: int, size: int = RETURNED_BYTES - 1) -> list[Path]:
    """The parts of a file, of at most `size` bytes each; none where there would be more than `most`."""
    if file.stat().st_size > most * size:
        return []
    parts = []
    with file.open("rb") as whole:
        while data := whole.read(size):
            parts.append(folder / f"{file.name}.{len(parts)}")
            parts[-1].write_bytes(data)
    return parts


def _limited(command: Sequence[str], seconds: float, output: Any, environment: Mapping[str, str]) -> int | None:
    """The exit code; None where the time was over, and the process and its children were ended."""
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, start_new_session=True
    )
    grace = min(GRACE, seconds / 4)
    for patience, order in ((seconds - grace, signal.SIGTERM), (grace, signal.SIGKILL)):
        try:
            code = process.wait(patience)
            return code if order == signal.SIGTERM else None
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, order)
    process.wait()
    return None


def _read(path: Path) -> Results:
    """A JSON object; empty where there is none, or half of one."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
