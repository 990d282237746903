"""Store the accuracy of the models that ship beside them, out of RESULTS/defense.json: `puvae models` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import WRITTEN, option
from puvae_rt.files import write_json
from puvae_rt.runtime.assets import ASSETS
from puvae_rt.runtime.catalog import ACCURACY_FILE


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae keep-accuracy`."""

    results: Path = option(Path("results"), help=f"{shared.RESULTS_HELP}; read")
    out: Path = option(
        ASSETS / ACCURACY_FILE, help="file to write", default_text="the one beside the models", role=WRITTEN
    )


def run(options: Options) -> Outcome:
    """Write the file; what is in it."""
    from puvae_rt.evaluation.shipped import accuracies

    document = accuracies(options.results)
    write_json(options.out, document)
    return Outcome(document, f"written: {options.out}")
