"""Latency, throughput and memory of purifier engines, measured side by side in one run.

Each engine runs in a process of its own and they take turns, after a warm-up that is not counted. What is timed is
Purifier.purify() on a batch in memory. Exit codes: 1, a regression against --compare; 2, a mistake or a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from puvae_rt.bench import compare, gpu_model, results
from puvae_rt.bench.gpus import GPUS
from puvae_rt.bench.measure import LEAST_RUNS, SLICES, WARM_UP_SECONDS, measure
from puvae_rt.contract import MANIFEST_FILE
from puvae_rt.errors import PuvaeError
from puvae_rt.files import refuse_overwrite, write_json
from puvae_rt.runtime.machine import thread_count
from puvae_rt.runtime.manifest import Manifest

MAX_BATCH = 65_536
RECORDED = Path(__file__).parent / "engines"  # manifests of MNIST's, as TensorRT-RTX 1.7 built them


def run(args: argparse.Namespace) -> int:
    picture = args.json.with_suffix(".png") if args.json and args.model_gpu else None
    refuse_overwrite(
        {"--json": args.json, "the picture of --json": picture},
        {"--compare": args.compare},
        {f"--bundle {bundle}": bundle for bundle in args.bundle},
    )
    if args.model_gpu:
        return run_model(args)
    sources = [str(bundle) for bundle in args.bundle] + ([args.model] if args.model else [])
    threads = thread_count(args.threads)
    then = results.read_bench(args.compare) if args.compare else None
    if then is not None:
        compare.require_comparable(then, results.this_machine(), threads)  # before minutes are spent
    with tqdm(total=100, unit="%", leave=False, disable=None, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:
        bench = measure(
            tuple(dict.fromkeys(sources)) or ("mnist",),
            args.batch,
            threads,
            args.seconds,
            progress=lambda done: bar.update(100 * done - bar.n),
        )
    print(
        f"{bench.machine['cpu']}, {threads} threads, measured: {WARM_UP_SECONDS:g} s warm-up, then {args.seconds:g} s"
    )
    print(results.table(bench.results))
    if args.json:
        write_json(args.json, bench.document(settings(args.seconds)))
    if then is None:
        return 0
    changes = compare.compare(bench, then, args.relative_to)
    print(f"\nagainst {args.compare}{f', relative to {args.relative_to}' if args.relative_to else ''}")
    print(compare.table(changes, args.tolerance))
    return int(any(change.worse(args.tolerance) for change in changes))


def run_model(args: argparse.Namespace) -> int:
    """Latency on GPUs that are not here, from the layer lists of bundles or of the recorded engines."""
    bundles = args.bundle or sorted(path.parent for path in RECORDED.glob(f"*/{MANIFEST_FILE}"))
    manifests = [Manifest.read(bundle) for bundle in bundles]
    modelled = gpu_model.model(manifests, args.model_gpu.split(","), args.batch)
    print(gpu_model.table(modelled))
    if args.json:
        write_json(args.json, gpu_model.document(modelled))
        gpu_model.save_picture(modelled, args.json.with_suffix(".png"))
    return 0


def settings(seconds: float) -> dict[str, float | int]:
    return {"seconds": seconds, "warm_up_seconds": WARM_UP_SECONDS, "slices": SLICES, "least_runs": LEAST_RUNS}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.bench", description=__doc__)
    p.add_argument("--bundle", type=Path, nargs="+", default=[], help="folders that export.build wrote")
    p.add_argument("--model", help="shipped model, after the bundles (default: mnist, unless there are bundles); "
                   "`faster` compares with the first engine")  # fmt: skip
    p.add_argument("--batch", type=batches, default=[1, 128], help="sizes (default: 1,128)")
    p.add_argument("--threads", type=int, help="of each engine (default: 1)")
    p.add_argument("--seconds", type=positive, default=5.0, help="for each engine and batch (default: %(default)s)")
    p.add_argument("--model-gpu", metavar="GPU,GPU", help=f"compute the bundles' latency on {', '.join(GPUS)} "
                   "from layer lists and published figures, not measured; a picture goes beside --json")  # fmt: skip
    p.add_argument("--json", type=Path, help="write the results to this file")
    p.add_argument("--compare", type=Path, help="results of an earlier run on this machine; exit code 1 when worse")
    p.add_argument("--relative-to", metavar="ENGINE", help="engine of both runs by which --compare divides latencies, "
                   "against changing load")  # fmt: skip
    p.add_argument("--tolerance", type=positive, default=compare.TOLERANCE, help="of --compare: how much larger median "
                   "latency or memory may be (default: %(default)s)")  # fmt: skip
    return p


def batches(text: str) -> list[int]:
    sizes = text.split(",")
    if not all(size.isdecimal() and 1 <= int(size) <= MAX_BATCH for size in sizes):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected sizes from 1 to {MAX_BATCH}, as in 1,128")
    return sorted({int(size) for size in sizes})


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return run(args)
    except (PuvaeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # of the picture; the numbers are written
        print(f"error: {error.name} is not installed; python -m pip install 'puvae-rt[train]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
