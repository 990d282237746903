"""Which cells there are, and which there cannot be."""

from __future__ import annotations

import pytest

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import ATTACKS, DEFENSES, Cell, grid

GRAY, COLOUR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)


@pytest.mark.parametrize(("contract", "epsilon"), [(GRAY, 0.3), (COLOUR, 0.06)])
def test_the_grid_has_the_papers_radii_and_aims_every_attack_both_ways(contract: ImageContract, epsilon: float) -> None:
    cells = list(grid("mnist", contract, ["A", "B"], ATTACKS, (False, True), DEFENSES))
    assert len(cells) == len(set(cells)) == 2 * (1 + 2 * 4) * len(DEFENSES)
    radii = {cell.attack: cell.epsilon for cell in cells}
    assert radii == {"none": 0.0, "fgsm": epsilon, "ifgsm": epsilon, "rand_fgsm": epsilon, "cw": None}
    assert not any(cell.targeted for cell in cells if cell.attack == "none")


def test_an_own_radius_goes_to_every_attack_that_has_one() -> None:
    cells = grid("mnist", GRAY, ["A"], ["fgsm", "cw", "none"], (False,), ["none"], epsilon=0.1)
    assert [cell.epsilon for cell in cells] == [0.1, None, 0.0]


GOOD = {"dataset": "m", "classifier": "A", "attack": "fgsm", "targeted": False, "epsilon": 0.3, "defense": "none"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classifier": "E"}, "'E', expected one of A"),
        ({"attack": "pgd"}, "'pgd', expected one of none"),
        ({"defense": "hope"}, "'hope', expected one of none"),
        ({"epsilon": 0.0}, "epsilon=0.0: expected 0 <"),
        ({"epsilon": 1.01}, "epsilon=1.01"),
        ({"epsilon": None}, "epsilon"),
        ({"attack": "cw"}, "takes no epsilon"),
        ({"attack": "none", "epsilon": 0.0, "targeted": True}, "target"),
    ],
)
def test_impossible_cells_are_refused(change: dict[str, object], told: str) -> None:
    Cell(**GOOD)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=told):
        Cell(**GOOD | change)  # type: ignore[arg-type]
