from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from demos.play.defense import Attack, Defense, Outcome, as_frame
from demos.play.synthetic import Samples
from puvae_rt import Purifier, Result
from puvae_rt.contract import CLASSIFIER_FILE
from puvae_rt.errors import ContractError
from tests import tolerances
from tests.demos import means
from tests.runtime import toy


@pytest.fixture
def purifier(means_bundle: Path) -> Iterator[Purifier]:
    with Purifier.load(means_bundle, threads=1) as purifier:
        yield purifier


def outcomes(defense: Defense, samples: Samples, count: int = 100) -> list[Outcome]:
    images = samples.images[:count].astype(np.float32) / 255
    return [defense(i, int(y)) for i, y in zip(images, samples.labels, strict=False)]


def accuracy(samples: Samples, stages: list) -> float:
    return float(np.mean([stage.label == y for stage, y in zip(stages, samples.labels, strict=False)]))


@pytest.mark.parametrize("name", ["fgsm", "ifgsm"])
def test_the_attack_works_and_so_does_the_defense(
    purifier: Purifier, means_bundle: Path, samples: Samples, name: str
) -> None:
    attack = Attack(name, means_bundle / CLASSIFIER_FILE)
    seen = outcomes(Defense(purifier, attack), samples)
    assert accuracy(samples, [o.clean for o in seen]) > 0.8
    assert accuracy(samples, [o.attacked for o in seen]) < 0.1
    assert accuracy(samples, [o.purified for o in seen]) > 0.5
    for outcome in seen:
        assert outcome.attacked is not None
        assert np.abs(outcome.attacked.image - outcome.clean.image).max() <= 0.3 + tolerances.TOY_GRAPH
        assert outcome.attacked.image.min() >= 0 and outcome.attacked.image.max() <= 1
        assert not outcome.degraded


def test_without_attack(purifier: Purifier, samples: Samples) -> None:
    (outcome,) = outcomes(Defense(purifier), samples, 1)
    assert outcome.attacked is None
    purified = purifier.purify(samples.images[:1])
    np.testing.assert_array_equal(outcome.purified.image, purified.images[0])
    np.testing.assert_array_equal(outcome.rmse, purified.rmse[0])
    assert outcome.chosen == purified.projected[0]


def test_the_attack_is_seeded_and_never_aims_at_the_truth(means_bundle: Path, samples: Samples) -> None:
    file = means_bundle / CLASSIFIER_FILE
    image = samples.images[:1].astype(np.float32) / 255
    runs = [Attack("fgsm", file, seed=seed)(image, 3) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert any(not np.array_equal(runs[0], other) for other in runs[2:])
    attack, aims = Attack("fgsm", file), set()
    attack._gradient = Recorder(attack._gradient, aims)
    for _ in range(200):
        attack(image, 3)
    assert aims == set(range(means.CLASSES)) - {3}


class Recorder:
    """A gradient that notes what it is asked about."""

    def __init__(self, gradient: object, labels: set[int]) -> None:
        self.gradient, self.classes, self.labels = gradient, gradient.classes, labels

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.labels.add(int(labels[0]))
        return self.gradient(images, labels)


def test_the_purifier_is_used_as_a_product_uses_it(purifier: Purifier, means_bundle: Path, samples: Samples) -> None:
    """It gets frames of 8 bits with a region, and what is shown is what it got."""

    class Watched(Purifier):
        def __init__(self) -> None:
            self.__dict__.update(purifier.__dict__)

        def __call__(self, frame: np.ndarray, roi: tuple[int, int, int, int] | None = None) -> Result:
            frames.append((frame, roi))
            return super().__call__(frame, roi)

        def purify(self, images: object, noise: object = None) -> None:
            raise AssertionError("a product purifies frames")

    for attack in (None, Attack("ifgsm", means_bundle / CLASSIFIER_FILE)):
        frames: list[tuple[np.ndarray, object]] = []
        defense = Defense(Watched(), attack)
        (outcome,) = outcomes(defense, samples, 1)
        frame, roi = frames[-1]
        assert frame.dtype == np.uint8 and frame.shape == (28, 28) and roi == (0, 0, 28, 28)
        seen = outcome.attacked or outcome.clean
        np.testing.assert_array_equal(seen.image[0], frame.astype(np.float32) / 255)
        assert list(outcome.timings_ms) == ["attack", "purify", "classify"]


def test_frames_of_8_bits_stay_within_the_change() -> None:
    random = np.random.default_rng(0)
    clean = random.integers(0, 256, (28, 28), np.uint8)
    image = clean[None].astype(np.float32) / 255
    np.testing.assert_array_equal(as_frame(image), clean)
    for epsilon in (0.3, 0.1, 1 / 255):
        changed = np.clip(image + epsilon * random.choice([-1, 1], image.shape), 0, 1).astype(np.float32)
        frame = as_frame(changed, around=clean)
        change = np.abs(frame.astype(int) - clean)
        assert change.max() <= 255 * epsilon + tolerances.TOY_GRAPH
        assert np.abs(change - 255 * np.abs(changed - image)[0]).max() < 1


def test_degraded(tmp_path: Path) -> None:
    """All distances NaN: said, not shown as a label."""
    with Purifier.load(toy.save_bundle(tmp_path / "toy", template=float("nan")), threads=1) as purifier:
        outcome = Defense(purifier)(np.zeros((1, 28, 28), np.float32), None)
    assert outcome.degraded and outcome.purified.label == -1


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    with (
        Purifier.load(toy.save_bundle(tmp_path / "bare", classifier=False), threads=1) as bare,
        Purifier.load(toy.save_bundle(tmp_path / "color", toy.COLOR), threads=1) as color,
    ):
        with pytest.raises(ContractError, match="--classifier"):
            Defense(bare)
        with pytest.raises(ContractError, match="handwritten digits"):
            Defense(color)


@pytest.mark.parametrize("name, epsilon", [("pgd", 0.3), ("fgsm", 0.0), ("fgsm", float("nan")), ("ifgsm", 1.5)])
def test_attacks_that_make_no_sense(means_bundle: Path, name: str, epsilon: float) -> None:
    with pytest.raises(ContractError, match="expected"):
        Attack(name, means_bundle / CLASSIFIER_FILE, epsilon)


OLD_NAMES = ["defense.Defence", "defense.NO_ATTACK", "digits.CENTRE", "report.DEFENCE_STAGES", "canvas.Colour"]


@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_names_warn(name: str) -> None:
    module, _, old = name.partition(".")
    with pytest.warns(DeprecationWarning, match=rf"demos\.play\.{name} is now "):
        assert getattr(import_module(f"demos.play.{module}"), old) is not None
