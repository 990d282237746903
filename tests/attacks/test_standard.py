"""AutoAttack by torchattacks, against the Toolbox's own APGD and Square; and what is said without it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from puvae_rt.attacks import standard
from puvae_rt.attacks.standard import CLEAN, INSTALL, Standard, StandardAttack
from puvae_rt.attacks.toolbox import auto_attack_rand, square
from puvae_rt.errors import ContractError, TargetUnavailableError
from tests.attacks.toy import CLASSES, SHAPE, toy
from tests.tolerances import STANDARD_SUCCESS

COUNT, QUERIES = 40, 200
EPSILONS = {"apgd_ce": 0.085, "square": 0.12}  # where each succeeds on some images and fails on others
FEW = 8
installed = pytest.mark.skipif(importlib.util.find_spec("torchattacks") is None, reason=f"needs `{INSTALL}`")


def outcomes(attack: StandardAttack, count: int = COUNT) -> list[str]:
    x, y = toy().images[:count], toy().labels[:count]
    return [attack(x[i : i + 1], y[i : i + 1]) for i in range(count)]


def standing(attacked: Tensor) -> float:
    return float((toy().classifier(attacked).argmax(1) == toy().labels[: len(attacked)]).float().mean())


def only(name: str, settings: Standard, epsilon: float = EPSILONS["apgd_ce"]) -> StandardAttack:
    attack = StandardAttack(toy().classifier, epsilon, CLASSES, settings)
    attack._attacks = [(other, run) for other, run in attack._attacks if other == name]
    return attack


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(standard, "import_module", absent)
    with pytest.raises(TargetUnavailableError, match=r"pip install --no-deps torchattacks==3\.5\.1"):
        StandardAttack(toy().classifier, 0.1, CLASSES)


@pytest.mark.parametrize(
    ("epsilon", "classes", "told"), [(0.0, 4, "epsilon"), (1.5, 4, "epsilon"), (0.1, 3, "3 classes")]
)
def test_impossible_attacks_are_refused(epsilon: float, classes: int, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        StandardAttack(toy().classifier, epsilon, classes)


@pytest.mark.parametrize("name", ["steps", "targets", "queries"])
def test_impossible_settings_are_refused(name: str) -> None:
    with pytest.raises(ContractError, match=name):
        Standard(**{name: 0})


def test_it_is_the_standard_by_default() -> None:
    assert (Standard().steps, Standard().targets, Standard().queries) == (100, 9, 5000)


@installed
@pytest.mark.long
def test_it_imports_without_the_libraries_that_it_asks_for() -> None:
    code = "import sys; sys.modules.update(requests=None, torchvision=None); import torchattacks"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@installed
@pytest.mark.long
@pytest.mark.parametrize("name", EPSILONS)
def test_it_succeeds_as_often_as_the_toolbox(name: str) -> None:
    x, y, epsilon = toy().images[:COUNT], toy().labels[:COUNT], EPSILONS[name]
    attack = only(name, Standard(queries=QUERIES), epsilon)
    attack._attacks[0][1].rescale_schedule = True  # type: ignore[attr-defined]  # Square's, as the Toolbox has it
    ours = sum(not by for by in outcomes(attack)) / COUNT
    if name == "square":
        theirs = standing(square(toy().classifier, x, y, epsilon, CLASSES, QUERIES))
    else:
        theirs = standing(auto_attack_rand(toy().classifier, x, y, epsilon, CLASSES, steps=100, samples=1))
    assert 0.1 < ours < 0.9
    assert abs(ours - theirs) <= STANDARD_SUCCESS


@installed
@pytest.mark.long
def test_all_four_together_are_as_strong_as_each_and_the_first_that_succeeds_is_named() -> None:
    settings = Standard(steps=10, queries=50)
    attack = StandardAttack(toy().classifier, EPSILONS["apgd_ce"], CLASSES, settings)
    together = outcomes(attack, FEW)
    assert set(together) <= {CLEAN, "apgd_ce", "apgd_t", "fab_t", "square", ""}
    for name in ("apgd_ce", "apgd_t", "fab_t", "square"):
        for all_four, alone in zip(together, outcomes(only(name, settings), FEW), strict=True):
            assert all_four or not alone
    assert outcomes(attack, FEW) == together


@installed
@pytest.mark.long
def test_square_breaks_what_has_no_gradient_and_what_is_wrong_is_not_attacked() -> None:
    def quantized(images: Tensor) -> Tensor:
        return toy().classifier((8 * images).round() / 8 + 0 * images)

    settings = Standard(steps=3, targets=2, queries=200)
    found = outcomes(StandardAttack(quantized, 0.3, CLASSES, settings), 10)
    assert found.count("square") >= 5
    wrong = (toy().labels[:1] + 1) % CLASSES
    assert StandardAttack(quantized, 0.3, CLASSES, settings)(toy().images[:1], wrong) == CLEAN


@installed
@pytest.mark.long
def test_what_the_library_says_is_gathered(capsys: pytest.CaptureFixture[str]) -> None:
    def talking(images: Tensor) -> Tensor:
        print("something is odd")
        return toy().classifier(images)

    attack = StandardAttack(talking, 0.3, CLASSES, Standard(steps=2, targets=1, queries=2))
    attack._attacks = attack._attacks[:1]
    before = torch.get_rng_state()
    with attack._listening():
        talking(toy().images[:1])
    assert attack.warnings == ["something is odd"]
    assert torch.equal(before, torch.get_rng_state())
    assert tuple(toy().images.shape[1:]) == SHAPE and capsys.readouterr().out == ""
