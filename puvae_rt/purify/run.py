"""A whole job: planned, done here or on a cluster, counted and finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from puvae_rt.errors import DataError
from puvae_rt.files import locked
from puvae_rt.purify.batch import PurifyBatch
from puvae_rt.purify.job import JOB_FILE, OWN, Done, Files, Job, Report, Task, files_of
from puvae_rt.purify.places import LocalPlace, open_place
from puvae_rt.purify.settings import DEFAULT_BATCH, IMAGES
from puvae_rt.purify.work import module_of, raise_fatal, work

LOCK_SECONDS = 1.0  # to wait for another run on the same output
LISTED = 100  # errors in a summary; the results have all

Runner: TypeAlias = Callable[[Job, list[Task]], Iterator[Report]]
Progress: TypeAlias = Callable[[int, "int | None"], None]  # rows that are done so far, and of how many, if known


@dataclass
class Summary:
    """What a run has done.

    Attributes:
        job: what was asked for.
        files: of the input that are of its kind; `left_out` are not.
        before: rows that were done already; `rows` now.
        errors: rows and files that could not be purified, those of earlier runs included.
        listed: the first of this run's, as (identity, why).
    """

    job: Job
    files: int
    left_out: int
    before: int
    rows: int = 0
    errors: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        errors = [{"row": row, "error": error} for row, error in self.listed]
        rest = {name: value for name, value in vars(self).items() if name not in ("job", "listed")}
        return {**self.job.document(), **rest, "listed": errors}


def make_job(
    source: str, output: str, batch: PurifyBatch, kind: str | None = None, column: str = ""
) -> tuple[Job, Files]:
    """A job, and the files that it reads.

    Args:
        source: the input, a path or an address.
        output: where the results go, likewise.
        batch: what purifies, with a number of rows.
        kind: of files, where the input has several; None is the only one.
        column: of images, in tables and .npz; "" is one that is called so, or the only one.
    Raises:
        DataError: nothing to purify.
    """
    files = files_of(open_place(source, wanted="input").files(), source, kind)
    size = batch.batch or DEFAULT_BATCH
    job = Job(
        *(_settled(source), _settled(output), files.kind, batch.source, column, size, batch.identity),
        load={name: value for name, value in batch.load.items() if value is not None},
    )
    return job, files


def here(batch: PurifyBatch) -> Runner:
    """Does the tasks in this process."""
    return lambda job, tasks: work(job, tasks, batch)


def run(
    job: Job, files: Files, runner: Runner, max_errors: int, progress: Progress = lambda done, total: None
) -> Summary:
    """Does what is left of the job.

    Args:
        job: as `make_job` made it.
        files: of the input.
        runner: does the tasks, in any order.
        max_errors: broken rows and files that are not yet too many.
        progress: is told after every chunk.
    Raises:
        DataError: too many errors. What is written stays, and the same call goes on behind it.
        ContractError: the output belongs to another job, or the input was changed.
    """
    if not isinstance(job.writes, LocalPlace):
        return _run(job, files, runner, max_errors, progress)
    (job.writes.root / OWN).mkdir(parents=True, exist_ok=True)
    with locked(job.writes.root / JOB_FILE, seconds=LOCK_SECONDS):
        return _run(job, files, runner, max_errors, progress)


def _run(job: Job, files: Files, runner: Runner, max_errors: int, progress: Progress) -> Summary:
    job.claim()
    module, done = module_of(job.kind), Done.found(job)
    summary = Summary(job, len(files.entries), files.left_out, done.rows, errors=done.errors)
    tasks = list(module.plan(job, files.entries, done))
    total = {IMAGES: len(files.entries)}.get(job.kind)
    for report in _checked(runner(job, tasks) if tasks else (), summary, max_errors):
        summary.rows += report.rows
        progress(summary.before + summary.rows, total)
    if job.kind == IMAGES:
        module.finish(job)
    return summary


def _checked(reports: Iterable[Report], summary: Summary, max_errors: int) -> Iterator[Report]:
    """The reports; DataError once they tell of too many errors."""
    for report in reports:
        raise_fatal(report)
        summary.errors += len(report.errors)
        summary.listed += report.errors[: LISTED - len(summary.listed)]
        yield report
        if summary.errors > max_errors:
            row, problem = summary.listed[0] if summary.listed else ("an earlier run", "see the results")
            raise DataError(
                f"{summary.errors} rows or files are broken, expected at most {max_errors} (such as {row}: {problem}); "
                "mend the input, or allow more with --max-errors; what is done stays done"
            )


def _settled(place: str) -> str:
    """A path of this machine as every process finds it; an address as it is."""
    where = open_place(place)
    return where.uri if isinstance(where, LocalPlace) else place
