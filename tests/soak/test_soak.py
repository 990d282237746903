from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak.run import Look, faults, look, main, soak

RUN = {"read": 10, "frames": 8, "dropped": 2, "error": None}


def looks(growth: float = 0.0, descriptors: int = 0, threads: int = 0) -> list[Look]:
    """A hundred looks; what grows does so after the warm-up."""
    return [
        Look(s, 100 * (1 + growth * s / 100), 20 + descriptors * (s > 50), 5 + threads * (s > 50)) for s in range(101)
    ]


def test_what_is_flat_and_counted_is_good() -> None:
    assert faults(looks(), RUN) == []
    early = [Look(each.seconds, 50 if each.seconds < 15 else 100, 20, 5) for each in looks()]
    assert faults(early, RUN) == [], "the warm-up does not count"


BAD = {
    "memory": (looks(growth=0.1), RUN, "resident memory grew by"),
    "descriptors": (looks(descriptors=1), RUN, "descriptors grew from 20 to 21"),
    "threads": (looks(threads=2), RUN, "threads grew from 5 to 7"),
    "a frame is missing": (looks(), {**RUN, "read": 11}, "some are missing"),
    "an error": (looks(), {**RUN, "error": "it broke"}, "it broke"),
    "too short": (looks()[:5], RUN, "run longer"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_is_told(case: str) -> None:
    seen, run, message = BAD[case]
    (found,) = faults(seen, run)
    assert message in found


def test_a_process_is_looked_at() -> None:
    seen = look(os.getpid(), 1.5)
    assert seen.rss_mb > 10 and seen.descriptors > 2 and seen.threads >= 1


def test_a_demo_for_two_seconds() -> None:
    seen, run = soak(2, 20, ["--policy", "latest"], every=0.2)
    assert len(seen) > 5 and run["read"] == run["frames"] + run["dropped"] > 10 and run["error"] is None


@pytest.mark.long
def test_a_soak_of_two_minutes(tmp_path: Path) -> None:
    assert main(["--duration", "120", "--rate", "15", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "soak.png").stat().st_size > 1000
