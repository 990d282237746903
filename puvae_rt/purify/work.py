"""Tasks done: one thread reads ahead, the caller's purifies, one writes. The same on one machine and on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from types import ModuleType

from puvae_rt.errors import BundleError, ContractError, DataError, EngineError, FileError, PuvaeError, VideoError
from puvae_rt.purify.batch import PurifyBatch
from puvae_rt.purify.chunks import Broken, Chunk, Finished, Item
from puvae_rt.purify.job import Job, Report, Task
from puvae_rt.purify.settings import IMAGES, NPZ, PARQUET, VIDEO
from puvae_rt.refusal import install, printable
from puvae_rt.runtime.purifier import Purifier

_HOMES = {IMAGES: "image_files", NPZ: "arrays", PARQUET: "parquet", VIDEO: "videos"}
_OF_THE_FILE = (DataError, VideoError)  # errors that a file of the input has, and no other


def module_of(kind: str) -> ModuleType:
    """What reads and writes files of a kind.

    Raises:
        ContractError: its package is not installed.
    """
    try:
        return import_module(f"puvae_rt.purify.{_HOMES[kind]}")
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise ContractError(
            f"{kind}: needs pyarrow, which is not installed; install it with {install('scale')}"
        ) from None


def work(job: Job, tasks: Iterable[Task], batch: PurifyBatch) -> Iterator[Report]:
    """Does the tasks; yields what became of each chunk once it is written.

    Raises:
        PuvaeError: the engine failed, or the output cannot be written; a broken input is a report.
    """
    module = module_of(job.kind)
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
        items = _items(module, job, tasks, batch.purifier)
        following: Future[Item | None] = reading.submit(next, items, None)
        written: Future[Report] | None = None
        while (item := following.result()) is not None:
            following = reading.submit(next, items, None)
            if written is not None:
                yield written.result()
            written = _handled(writing, module, job, item, batch)
        if written is not None:
            yield written.result()


def _items(module: ModuleType, job: Job, tasks: Iterable[Task], purifier: Purifier) -> Iterator[Item]:
    """Every chunk of every task; a file that breaks ends its task, not the job."""
    for task in tasks:
        try:
            yield from module.load(job, task, purifier)
        except (*_OF_THE_FILE, FileError) as error:
            yield Broken(task.files[0], printable(error))


def _handled(pool: ThreadPoolExecutor, module: ModuleType, job: Job, item: Item, batch: PurifyBatch) -> Future[Report]:
    if isinstance(item, Chunk):
        return pool.submit(module.write, job, item, batch.run(item.inputs))
    if isinstance(item, Finished):
        return pool.submit(module.assemble, job, item)
    return pool.submit(Report, 0, ((item.file, item.problem),))


def fatal(error: PuvaeError) -> Report:
    """An error that ends the job, as a report that travels between machines."""
    return Report(0, (), (type(error).__name__, str(error)))


def raise_fatal(report: Report) -> None:
    """Raises what `fatal` reported, as the same class where it is one of ours."""
    if report.fatal is None:
        return
    name, text = report.fatal
    kinds = {kind.__name__: kind for kind in (BundleError, ContractError, DataError, EngineError)}
    raise kinds.get(name, EngineError)(text)
