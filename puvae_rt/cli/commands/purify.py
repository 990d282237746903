"""Purify a folder of images, .npz files, Parquet tables or videos; run it again after an interruption to go on.

INPUT is a file or a folder, OUTPUT a new folder; both may be addresses that fsspec knows (s3://bucket/images). Beside
each purified image stand its label, projection, score, RMSE, whether it is degraded, and what purified it. Broken
images are counted and listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import SEALED, option
from puvae_rt.contract import MAX_BATCH
from puvae_rt.purify.settings import DEFAULT_BATCH, DEFAULT_MAX_ERRORS, KINDS
from puvae_rt.runtime.manifest import TARGETS

HINT = "run the same command again to go on"


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae purify`."""

    input: str = option(help="images: a file, a folder, or an address", positional=True, metavar="INPUT")
    output: str = option(help="new folder, or one to go on in; or an address", positional=True, metavar="OUTPUT")
    model: str = option("mnist", help="a model that ships")
    bundle: Path | None = option(None, help="folder that `puvae build` wrote, in place of --model", role=SEALED)
    target: str | None = option(
        None, help="what computes", choices=TARGETS, default_text="cpu, or the bundle's", metavar="TARGET"
    )
    kind: str | None = option(
        None, help="which files of INPUT, where it holds several kinds", choices=KINDS, metavar="KIND"
    )
    column: str = option(
        "", help="column or array of the images", default_text="image, images, or the only one that can be"
    )
    batch: int = option(DEFAULT_BATCH, help="rows that are purified and written together", least=1, most=MAX_BATCH)
    threads: int | None = option(None, help="threads of the engine", least=1, default_text="its own choice")
    max_errors: int = option(DEFAULT_MAX_ERRORS, help="broken images and files that do not end the run", least=0)


def run(options: Options) -> Outcome:
    """Do what is left of the work; what was done."""
    from puvae_rt.files import refuse_overwrite
    from puvae_rt.purify import run as jobs
    from puvae_rt.purify.batch import PurifyBatch
    from puvae_rt.purify.places import is_remote

    if not (is_remote(options.input) or is_remote(options.output)):
        refuse_overwrite({"OUTPUT": Path(options.output)}, {}, {"INPUT": Path(options.input)})
    batch = PurifyBatch(
        options.bundle or options.model, batch=options.batch, target=options.target, threads=options.threads
    )
    job, files = jobs.make_job(options.input, options.output, batch, options.kind, options.column)
    with shared.progress("rows") as told:
        summary = jobs.run(job, files, jobs.here(batch), options.max_errors, told)
    return Outcome(summary.document(), _text(summary))


def _text(summary: object) -> str:
    """For people."""
    s = vars(summary)
    job = s["job"]
    lines = [
        f"{job.output}",
        f"input     {s['files']} files ({job.kind})" + (f", {s['left_out']} others left out" if s["left_out"] else ""),
        f"rows      {s['rows']} purified now" + (f", {s['before']} before" if s["before"] else ""),
        f"errors    {s['errors']}",
        f"bundle    {job.identity}",
    ]
    return "\n".join([*lines, *(f"  {row}: {error}" for row, error in s["listed"])])
