"""Recipes follow the images they are for, and their metadata says what decides the weights."""

from __future__ import annotations

import numpy as np
import pytest

from puvae_rt.data import Dataset, Split
from puvae_rt.training.recipes import OURS, PAPER, Schedule, recipe_for


def dataset(images: np.ndarray, classes: int = 2) -> Dataset:
    split = Split(images, np.arange(len(images)) % classes)
    return Dataset("mine", tuple(map(str, range(classes))), split, split, split)


def test_digits_take_the_recipe_as_it_is_written() -> None:
    images = np.random.default_rng(0).choice(np.array([0, 0, 0, 255], np.uint8), (20, 1, 28, 28))
    assert recipe_for("ours", dataset(images)) == OURS


def test_gray_photographs_do_not_start_from_thresholds() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), np.uint8)
    recipe = recipe_for("ours", dataset(images))
    assert not recipe.threshold_start
    assert (recipe.self_attack, recipe.input_noise, recipe.ranking_tau) == (0.3, 0.7, 0.1)


def test_colour_images_are_perturbed_by_the_radius_of_their_attacks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), np.uint8)
    recipe = recipe_for("ours", dataset(images))
    assert (recipe.self_attack, recipe.input_noise, recipe.ranking_tau) == pytest.approx((0.06, 0.06, 0.02))


def test_the_paper_s_recipe_is_the_same_on_all_images() -> None:
    for classes in (2, 10, 43):
        assert recipe_for("paper", dataset(np.zeros((4, 3, 32, 32), np.uint8), classes)) == PAPER


def test_many_classes_are_ranked_against_more_negatives() -> None:
    images = np.zeros((4, 3, 32, 32), np.uint8)
    assert [recipe_for("ours", dataset(images, classes)).negatives for classes in (2, 10, 43)] == [3, 3, 8]


def test_only_another_precision_than_fp32_is_recorded() -> None:
    assert "bf16" not in Schedule(epochs=1).record()
    assert Schedule(epochs=1, bf16=True).record()["bf16"] is True
