"""Latency, throughput and memory of purifier engines, measured side by side in one run.

Each engine runs in a process of its own and they take turns, after a warm-up that is not counted. What is timed is
Purifier.purify() on a batch in memory.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from puvae_rt.bench.compare import TOLERANCE
from puvae_rt.bench.gpus import GPUS
from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option

MAX_BATCH = 65_536


def _batches(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() and 1 <= int(size) <= MAX_BATCH for size in sizes):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected sizes from 1 to {MAX_BATCH}, as in 1,128")
    return tuple(sorted({int(size) for size in sizes}))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae bench`."""

    bundle: tuple[Path, ...] = option((), help="folders that `puvae build` wrote", default_text="none", role=SEALED)
    model: str | None = option(
        None,
        help="shipped model to time behind the bundles; `faster` compares with the first engine",
        default_text="mnist where there is no --bundle",
    )
    batch: tuple[int, ...] = option(
        (1, 128),
        help=f"numbers of images of a call, 1 to {MAX_BATCH}",
        parse=_batches,
        metavar="N,N",
        default_text="1,128",
    )
    threads: int | str | None = option(None, help=f"threads of each engine, {shared.AUTO_HELP}", **shared.THREADS)
    seconds: float = option(5.0, help="seconds for each engine and batch size", parse=_positive)
    mlperf: bool = option(
        False,
        help="run as MLPerf Automotive does, for 600 s and more: 6,636 frames one after another, or with --rate "
        "100,000 at that rate; the 99.9th percentile counts",
    )
    rate: float | None = option(
        None, help="frames a second of --mlperf", parse=_positive, metavar="X", default_text="one after another"
    )
    slo: float | None = option(
        None,
        help="deadline of --mlperf, as 33ms; exit code 1 when missed",
        parse=shared.milliseconds,
        metavar="TIME",
        default_text="none",
    )
    model_gpu: str | None = option(
        None,
        help=f"GPUs on which the bundles' latency is computed, from layer lists and published figures, not measured: "
        f"{', '.join(GPUS)}; a picture goes beside the file of --json",
        metavar="GPU,GPU",
    )
    compare: Path | None = option(
        None, help="results of an earlier run on this machine; exit code 1 when worse", role=READ
    )
    relative_to: str | None = option(
        None,
        help="engine of both runs by which --compare divides latencies, against changing load",
        metavar="ENGINE",
    )
    tolerance: float = option(
        TOLERANCE,
        help="share by which median latency or memory may be larger than that of --compare",
        parse=_positive,
    )


def beside_json(options: Options) -> tuple[str, str] | None:
    """The picture of modelled latencies."""
    return ("picture", ".png") if options.model_gpu else None


def run(options: Options) -> Outcome:
    """Measure, or compute with --model-gpu; the results."""
    if options.mlperf:
        return _mlperf(options)
    return _modelled(options, options.model_gpu.split(",")) if options.model_gpu else _measured(options)


def _measured(options: Options) -> Outcome:
    from tqdm import tqdm

    from puvae_rt.bench import compare, measure, results
    from puvae_rt.runtime.machine import AUTO, DEFAULT_THREADS

    threads = options.threads or DEFAULT_THREADS
    then = results.read_bench(options.compare) if options.compare else None
    if then is not None:
        compare.require_comparable(then, results.this_machine(), threads)  # before minutes are spent
    sources = [str(bundle) for bundle in options.bundle] + ([options.model] if options.model else [])
    with tqdm(total=100, unit="%", leave=False, disable=None, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:
        bench = measure.measure(
            tuple(dict.fromkeys(sources)) or ("mnist",),
            options.batch,
            threads,
            options.seconds,
            progress=lambda done: bar.update(100 * done - bar.n),
        )
    each = {result.name: result.threads for result in bench.results} if threads == AUTO else {}
    found = f" ({', '.join(f'{name}: {count}' for name, count in each.items())})" if each else ""
    text = (
        f"{bench.machine['cpu']}, {threads} threads{found}, measured: {measure.WARM_UP_SECONDS:g} s warm-up, then "
        f"{options.seconds:g} s\n{results.table(bench.results)}"
    )
    document = bench.document(measure.settings(options.seconds))
    if then is None:
        return Outcome(document, text)
    changes = compare.compare(bench, then, options.relative_to)
    text += f"\n\nagainst {options.compare}{f', relative to {options.relative_to}' if options.relative_to else ''}\n"
    text += compare.table(changes, options.tolerance)
    return Outcome(document, text, not any(change.worse(options.tolerance) for change in changes))


def _mlperf(options: Options) -> Outcome:
    """One engine, as MLPerf measures."""
    from tqdm import tqdm

    from puvae_rt.bench import mlperf
    from puvae_rt.errors import BenchmarkError
    from puvae_rt.runtime.machine import DEFAULT_THREADS
    from puvae_rt.runtime.purifier import Purifier

    engines = [*options.bundle, *((options.model,) if options.model else ())] or ["mnist"]
    if len(engines) > 1:
        raise BenchmarkError(f"--mlperf: got {len(engines)} engines, expected one engine: one --bundle or --model")
    with (
        Purifier.load(engines[0], threads=options.threads or DEFAULT_THREADS) as purifier,
        tqdm(total=100, unit="%", leave=False, disable=None, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar,
    ):
        run = mlperf.measure(purifier, options.rate, options.slo, lambda done: bar.update(int(100 * done) - bar.n))
        document = run.document(str(engines[0]), purifier.threads, options.slo)
    text = run.text(str(engines[0]), options.slo)
    return Outcome(document, text, options.slo is None or run.kept(options.slo))


def _modelled(options: Options, gpus: list[str]) -> Outcome:
    """Latency on GPUs that are not here, from the layer lists of bundles or of the recorded engines."""
    from puvae_rt.bench import gpu_model
    from puvae_rt.contract import MANIFEST_FILE
    from puvae_rt.runtime.manifest import Manifest

    bundles = options.bundle or sorted(path.parent for path in gpu_model.RECORDED.glob(f"*/{MANIFEST_FILE}"))
    results = gpu_model.model([Manifest.read(bundle) for bundle in bundles], gpus, options.batch)

    def picture(path: Path) -> None:
        gpu_model.save_picture(results, path.with_suffix(".png"))

    return Outcome(gpu_model.document(results), gpu_model.table(results), beside=picture)
