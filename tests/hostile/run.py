"""`make hostile`: many cases of every kind, and their counts in results/hostile.json."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from puvae_rt.evaluation.results import provenance
from puvae_rt.files import write_json
from tests.hostile.arguments import Arguments, Sources
from tests.hostile.bundles import CacheSlot, DamagedBundle, ResealedManifest, ResealedMember, UsersClassifier
from tests.hostile.files import Archive, Documents, ImageTree, Videos, WeightsFile
from tests.hostile.frames import Frames
from tests.hostile.harness import Kind, own_folders, run
from tests.hostile.killed import Killed
from tests.hostile.streams import Streams

KINDS: tuple[type[Kind], ...] = (
    *(DamagedBundle, ResealedManifest, ResealedMember, CacheSlot, UsersClassifier),
    *(Arguments, Sources, Frames, ImageTree, Archive, WeightsFile, Documents, Videos, Streams, Killed),
)
RESULTS = Path(__file__).parents[2] / "results" / "hostile.json"
SHOWN = 20  # failures in full


def shares(cases: int) -> dict[str, int]:
    """How many cases each kind gets of all: by its weight, and at least one; the first one gets what is left."""
    first, *others = KINDS
    total = sum(kind.weight for kind in KINDS)
    of_others = {kind.name: max(1, round(cases * kind.weight / total)) for kind in others}
    return {first.name: max(1, cases - sum(of_others.values())), **of_others}


def made(kind: type[Kind], folder: Path) -> Kind:
    """The kind, in a folder of its own under `folder`."""
    own = folder / kind.name.replace(" ", "_")
    own.mkdir()
    return kind(own)


def main(argv: list[str] | None = None) -> Iterator[str]:
    """Runs the cases, writes the counts, and yields what there is to say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="of all kinds together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all cases (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=[], help="kinds (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the counts go (default: %(default)s)")
    args = parser.parse_args(argv)
    start, rows, failures = time.monotonic(), [], []
    with own_folders() as folder:
        for kind in KINDS:
            if args.only and kind.name not in args.only:
                continue
            begun = time.monotonic()
            outcomes, failed = run(made(kind, folder), shares(args.cases)[kind.name], args.seed)
            failures += failed
            seconds = round(time.monotonic() - begun, 1)
            row = {"kind": kind.name, "cases": sum(outcomes.values()), "failures": len(failed), "seconds": seconds}
            rows.append(row | {"outcomes": dict(sorted(outcomes.items()))})
            yield f"{kind.name:18} {row['cases']:5} cases, {len(failed)} failures, {seconds} s: {dict(outcomes)}"
    for failure in failures[:SHOWN]:
        yield f"FAILED {failure.case}: {failure.problem}"
    totals = {"cases": sum(row["cases"] for row in rows), "failures": len(failures)}
    if not args.only:
        document = {"seed": args.seed, **totals, "seconds": round(time.monotonic() - start, 1), **provenance()}
        write_json(args.out, {**document, "kinds": rows})
    yield f"{totals['cases']} cases, {totals['failures']} failures"


if __name__ == "__main__":
    last = ""
    for last in main():
        print(last, flush=True)
    sys.exit(not last.endswith(" 0 failures"))
