"""Say in which fields of their manifests two bundles differ: identity, layers, options and measured quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import SEALED, option
from puvae_rt.runtime.manifest import Manifest


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae diff`."""

    first: Path = option(help="folder that `puvae build` wrote", positional=True, metavar="first", role=SEALED)
    second: Path = option(help="folder to compare it with", positional=True, metavar="second", role=SEALED)


def run(options: Options) -> Outcome:
    """Compare the two, after every file is held to its manifest; the differences."""
    manifests = []
    for folder in (options.first, options.second):
        manifest = Manifest.read(folder)
        manifest.verify_files(folder)
        manifests.append(manifest)
    found = shared.own("export.diff").differences(*manifests)
    report = {
        "first": str(options.first),
        "second": str(options.second),
        "differences": {path: {"first": one, "second": other} for path, (one, other) in found.items()},
    }
    lines = [f"{path}: {_brief(one)} -> {_brief(other)}" for path, (one, other) in found.items()]
    return Outcome(report, "\n".join(lines) or "no difference", not found)


def _brief(value: Any) -> str:
    """A value in a line; of a whole layer its type and precision."""
    if isinstance(value, dict) and {"type", "precision"} <= value.keys():
        return f"{value['type']} in {value['precision']}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
