"""What a stage is given, and how it tells what it finds: each finding is written as soon as it is there."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gpu_day.plan import EFFORTS, Effort


class Skipped(Exception):  # noqa: N818 - no error: this machine lacks what the stage is about
    """Why a stage has nothing to do here."""


@dataclass
class Day:
    """One stage at work.

    Attributes:
        device: "cuda", or "emulated" to try everything on a CPU.
        models: shipped ones.
        carried: the folder that was prepared.
        work: a folder for what is made here.
        file: the findings, as JSON.
        seconds: that it may take; what has many parts stops in time.
        found: the findings so far.
    """

    device: str
    models: tuple[str, ...]
    carried: Path
    work: Path
    file: Path
    seconds: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def effort(self) -> Effort:
        """How much is done: little on the emulated device, whose times mean nothing."""
        return EFFORTS[self.device]

    @property
    def torch_device(self) -> str:
        """Where PyTorch computes."""
        return "cuda" if self.device == "cuda" else "cpu"

    def bundle(self, model: str) -> Path:
        """The folder of a model's bundle, made by the stage `bundles`; Skipped where that came to nothing."""
        folder = self.work / "bundles" / model
        if not folder.is_dir():
            raise Skipped(f"no bundle of {model}: the stage bundles has to run first")
        return folder

    def tell(self, *keys: str, value: Any) -> None:
        """Write a finding at a path of keys, and print it in a line."""
        at = self.found
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        at[keys[-1]] = json.loads(json.dumps(value, default=str), parse_constant=str)  # NaN is no JSON
        print(f"{' / '.join(keys)}: {_short(value)}", flush=True)
        self._write()

    def _write(self) -> None:
        new = self.file.with_name(self.file.name + ".new")
        new.write_text(json.dumps(self.found, indent=1))
        new.replace(self.file)


def perform(module: str, day: Day) -> None:
    """Run a stage; Skipped, and whatever goes wrong in it."""
    day.work.mkdir(parents=True, exist_ok=True)
    importlib.import_module(f"tests.gpu_day.stages.{module}").run(day)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 160 else f"{text[:157]}..."
