"""Registers, shared memory, spills and occupancy of the CUDA kernels on every architecture, as nvcc compiles them.

With --json PATH the table is written beside PATH as well, as Markdown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import option
from puvae_rt.errors import ContractError
from puvae_rt.files import write_text
from puvae_rt.kernels.binary import ARCHITECTURES


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae kernel-report`."""

    architectures: str = option(
        ",".join(map(str, ARCHITECTURES)), help="compute capabilities without the dot, with commas between"
    )


def beside_json(_: Options) -> tuple[str, str]:
    """The table."""
    return "table", ".md"


def run(options: Options) -> Outcome:
    """Compile; what nvcc says of each kernel."""
    from puvae_rt.kernels.report import report, table

    if not re.fullmatch(r"\d+(,\d+)*", options.architectures):
        raise ContractError(
            f"--architectures {options.architectures!r}: expected numbers with commas between, as 75,87"
        )
    result = report(tuple(int(part) for part in options.architectures.split(",")))
    text = table(result)
    return Outcome(result, text, beside=lambda path: write_text(path.with_suffix(".md"), text))
