"""The tests that are marked gpu: the device layer's contract, and the pipeline with PyTorch in TensorRT's place."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

from tests.gpu_day.plan import ROOT
from tests.gpu_day.stage import Day

FOLDERS = ("tests/device", "tests/cuda")


def run(day: Day) -> None:
    """How many passed, failed and were skipped, and why; AssertionError where one failed or none ran."""
    report = day.work / "gpu.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run([*command, *FOLDERS], cwd=ROOT, check=False)
    cases = ElementTree.parse(report).getroot().iter("testcase")
    rows: dict[str, list[str]] = {"passed": [], "failure": [], "error": [], "skipped": []}
    for case in cases:
        children = [child for child in case if child.tag in rows]
        verdict = children[0].tag if children else "passed"
        reason = f": {children[0].get('message', '')[:200]}" if children else ""
        rows[verdict].append(f"{case.get('name')}{reason}")
    day.tell("counts", value={verdict: len(names) for verdict, names in rows.items()})
    day.tell("not_passed", value={verdict: names for verdict, names in rows.items() if verdict != "passed"})
    assert not rows["failure"] and not rows["error"], "some tests failed"
    assert rows["passed"] or day.device != "cuda", "no test ran on the GPU"
