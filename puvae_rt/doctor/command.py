"""Is this machine ready to run a GPU engine? Driver, GPU, TensorRT, kernels, power mode and memory, with remedies.

Exit codes: 0, a GPU target is ready; 1, something is missing. The CPU target's readiness is always shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from puvae_rt.doctor.checks import diagnose
from puvae_rt.doctor.report import Report

MARKS = {True: "ok", False: "missing", None: "-"}


def show(report: Report) -> str:
    """A line for each check, then what to do."""
    width = max(len(check.name) for check in report.checks)
    lines = [f"{check.name:<{width}}  {MARKS[check.ok]:<7}  {check.found}" for check in report.checks]
    remedies = [f"  {check.name}: {check.remedy}" for check in report.checks if check.ok is False]
    targets = ", ".join(report.ready) or "none"
    return "\n".join([*lines, "", f"targets ready here: {targets}", *(["to do:", *remedies] if remedies else [])])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.doctor", description=__doc__)
    p.add_argument("--device", default=None, help="cuda, cuda:1, pycuda or emulated (default: what is installed)")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    report = diagnose(args.device)
    print(json.dumps(asdict(report) | {"gpu_ready": report.gpu_ready}, indent=2) if args.json else show(report))
    return 0 if report.gpu_ready else 1


if __name__ == "__main__":
    sys.exit(main())
