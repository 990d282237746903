"""Some hundred cases of every kind of hostile input; `make hostile` runs thousands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.harness import Kind, own_folders, run
from tests.hostile.run import KINDS, made, shares

CASES, SEED = 500, 0


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_folders() as folder:
        yield folder


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name.replace(" ", "-") for kind in KINDS])
def test_every_case_ends_in_a_right_result_or_a_typed_error(kind: type[Kind], folder: Path) -> None:
    cases = shares(CASES)[kind.name]
    outcomes, failures = run(made(kind, folder), cases, SEED)
    assert not failures, "\n".join(f"{failure.case}: {failure.problem}" for failure in failures[:5])
    assert sum(outcomes.values()) == cases
