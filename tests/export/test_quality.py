"""The gate: passes what is equal, and fails closed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.quality import LIMITS, limits_of, measure
from export.samples import Samples
from puvae_rt.runtime.manifest import Quality
from puvae_rt.runtime.results import Floats, Purified

COUNT, CLASSES = 250, 4
Change = Callable[[dict[str, np.ndarray]], None]


def samples() -> Samples:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 4, 4), np.uint8)
    return Samples({"clean": images, "fgsm": 255 - images}, np.arange(COUNT) % CLASSES, "0" * 64)


def engine(change: Change = lambda arrays: None) -> Callable[[Floats, Floats | None], Purified]:
    """Chooses by the first pixel; `change` spoils what it gives back."""

    def run(images: Floats, noise: Floats | None = None) -> Purified:
        drift = 0 if noise is None else noise.mean(axis=2)
        rmse = (np.abs(images[:, 0, 0, :1] - np.linspace(0, 1, CLASSES)) + drift).astype(np.float32)
        arrays = {"images": images * np.float32(0.9), "projected": rmse.argmin(1), "rmse": rmse, "score": rmse**2}
        change(arrays)
        return Purified(**arrays)

    return run


def gate(change: Change, precision: str = "fp32", shortlist: int | None = None) -> Quality:
    return measure(engine(), engine(change), samples(), precision, "measured", shortlist=shortlist)


def add(key: str, value: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[key] = arrays[key] + np.float32(value)

    return change


def other_label(share: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        count = round(share * len(arrays["projected"]))
        arrays["projected"][:count] = (arrays["projected"][:count] + 1) % CLASSES

    return change


def one_nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["images"][0, 0, 0, 0] = np.nan


def nothing_chosen(arrays: dict[str, np.ndarray]) -> None:
    arrays["projected"][:] = -1
    arrays["images"][:] = np.nan


def test_equal_engines_pass() -> None:
    quality = gate(lambda arrays: None)
    assert quality.passed
    assert not quality.failures
    assert quality.images == COUNT
    assert quality.built["agreement/clean"] == 1
    assert quality.built["max_error/fgsm"] == 0
    assert quality.built["psnr_db/clean"] == 200
    assert quality.reference["accuracy/clean"] == quality.built["accuracy/clean"]


def test_fp16_may_differ_a_little_where_fp32_may_not() -> None:
    assert not gate(add("images", 1e-3)).passed
    assert gate(add("images", 1e-3), "fp16").passed


BROKEN = {
    "pixels": (add("images", 0.05), "psnr_db/clean is"),
    "projected": (other_label(0.1), "agreement/fgsm is"),
    "nan": (one_nan, "psnr_db/clean is 0.0000"),
    "nothing": (nothing_chosen, "accuracy/clean is 0.0000"),
}


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("change, failure", BROKEN.values(), ids=BROKEN)
def test_a_broken_limit_is_a_sentence(change: Change, failure: str, precision: str) -> None:
    quality = gate(change, precision)
    assert not quality.passed
    assert any(sentence.startswith(failure) and "limit" in sentence for sentence in quality.failures)
    assert all(np.isfinite(value) for value in quality.built.values())  # the manifest is JSON


def leave_out(count: int) -> Change:
    """As a shortlist does that always lists the same classes: the first `count` are not decoded."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["rmse"][:, :count], arrays["score"][:, :count] = np.nan, np.inf
        arrays["projected"] = arrays["score"].argmin(1)

    return change


def test_a_shortlist_is_compared_on_the_classes_that_both_decoded() -> None:
    quality = gate(leave_out(1), shortlist=CLASSES - 1)
    assert quality.built["agreement/clean"] == 1 and quality.built["max_error/clean"] == 0
    assert (quality.limits["accuracy_drop"], quality.limits["agreement"]) == (0.003, 0.99)
    assert limits_of("fp16", 2) == LIMITS["fp16"] and limits_of("fp32", None) == LIMITS["fp32"]


def test_what_a_shortlist_costs_is_told_by_the_accuracy() -> None:
    """A class that is never decoded is never right."""
    truth = samples()
    projected = engine()(np.divide(truth.sets["clean"], 255, dtype=np.float32), None).projected
    right = Samples({"clean": truth.sets["clean"]}, projected, "0" * 64)
    quality = measure(engine(), engine(leave_out(1)), right, "fp32", "measured", shortlist=CLASSES - 1)
    assert quality.reference["accuracy/clean"] == 1 and quality.built["accuracy/clean"] < 0.997
    assert [failure.partition(" ")[0] for failure in quality.failures] == ["accuracy/clean"]


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("decoded, asked", [(CLASSES - 1, None), (CLASSES - 1, 2), (CLASSES, 2)])
def test_an_engine_that_decodes_another_number_of_classes_fails(
    decoded: int, asked: int | None, precision: str
) -> None:
    quality = gate(leave_out(CLASSES - decoded), precision, asked)
    assert quality.built["agreement/clean"] == 0 and not quality.passed
    assert quality.built["max_error/clean"] == 1e300


def test_a_class_that_is_decoded_to_nan_is_no_class_left_out() -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["rmse"][:, 3] = arrays["score"][:, 3] = np.nan

    assert gate(change).built["max_error/clean"] == 1e300


def test_a_wrong_choice_among_the_decoded_counts() -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        leave_out(1)(arrays)
        arrays["projected"][:25] = 1 + arrays["projected"][:25] % (CLASSES - 1)

    quality = gate(change, shortlist=CLASSES - 1)
    assert any(failure.startswith("agreement/clean is") for failure in quality.failures)


def test_distances_count_as_values() -> None:
    assert any("max_error" in failure for failure in gate(add("rmse", 1e-3)).failures)


def test_accuracy_alone_fails() -> None:
    """Same choices and pixels for the gate, but the classifier behind no longer knows them."""
    labels = samples().labels

    def classifier(images: Floats) -> np.ndarray:
        return labels[: len(images)] if images.max() <= 0.9 else np.zeros(len(images), np.int64)

    quality = measure(engine(), engine(add("images", 2e-3)), samples(), "fp16", "measured", classifier=classifier)
    assert [failure.partition(" ")[0] for failure in quality.failures] == ["classified/clean", "classified/fgsm"]


def test_sampling_engines_get_the_same_noise() -> None:
    seen: list[Floats] = []

    def spy(images: Floats, noise: Floats | None) -> Purified:
        assert noise is not None
        seen.append(noise)
        return engine()(images, noise)

    assert measure(spy, spy, samples(), "fp32", "measured", noise_classes=CLASSES).passed
    assert seen[0].shape == (100, CLASSES, 32)
    np.testing.assert_array_equal(seen[0], seen[3])  # the built engine's first, after the reference's three batches
