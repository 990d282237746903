"""Make the large fully connected layers of a classifier products of two thin ones, so that its file stays small.

Nothing is trained afterwards. `puvae pack` does the same to classifiers that ship.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, WRITTEN, option

_settings = shared.own("export.settings")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae thin-classifier`."""

    weights: Path = option(help="trained weights of a classifier, .safetensors", role=READ)
    out: Path = option(help="file to write, .safetensors", role=WRITTEN)
    rank: int = option(_settings.RANK, help="rank of the layers that are made thin")
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)


def run(options: Options) -> Outcome:
    """Write the file; what became of each layer."""
    lines = shared.own("export.thin_classifier").thin_file(options.weights, options.out, options.rank, options.data)
    size = options.out.stat().st_size
    document = {"layers": lines, "out": str(options.out), "bytes": size}
    return Outcome(document, "\n".join([*lines, f"{size:>9,} bytes  {options.out}"]))
