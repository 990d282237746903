"""libpuvae against ONNX Runtime in FP32: every kind of model, every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from puvae_rt.errors import TargetUnavailableError
from puvae_rt.native.binding import Instructions, Library
from tests.native.models import CASES, Answer, Case, by_library, by_onnx, open_context, random_images
from tests.tolerances import NATIVE_CLOSE, NATIVE_PIXEL, NATIVE_RMSE, NATIVE_SCORE, SCALAR_RMSE

IMAGES = 6
FAST = (Instructions.PORTABLE, Instructions.AVX2, Instructions.AVX512)


def clear(want: Answer) -> np.ndarray:
    """[N]: whether the two best scores lie apart."""
    best = np.sort(want.score, axis=1)[:, :2]
    return best[:, 1] - best[:, 0] > NATIVE_CLOSE * np.maximum(1, np.abs(best[:, 0]))


def assert_alike(got: Answer, want: Answer, rmse: float = NATIVE_RMSE) -> None:
    np.testing.assert_array_equal(np.isnan(got.rmse), np.isnan(want.rmse))  # the same classes were decoded
    np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=rmse)
    np.testing.assert_allclose(got.score, want.score, rtol=NATIVE_SCORE, atol=NATIVE_SCORE)
    sure = clear(want)
    assert sure.mean() > 0.5, "images that leave no doubt"
    np.testing.assert_array_equal(got.projected[sure], want.projected[sure])
    np.testing.assert_allclose(got.purified[sure], want.purified[sure], rtol=0, atol=NATIVE_PIXEL)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def want(case: Case) -> Answer:
    return by_onnx(case.weights(), random_images(case.contract, IMAGES))


@pytest.mark.parametrize("instructions", FAST, ids=lambda i: i.name)
def test_fast_kernels(case: Case, want: Answer, instructions: Instructions, libpuvae: Library, wide: Library) -> None:
    library = wide if instructions == Instructions.AVX512 else libpuvae
    try:
        context = open_context(library, case.weights(), instructions)
    except TargetUnavailableError as error:
        pytest.skip(str(error))
    assert_alike(by_library(context, random_images(case.contract, IMAGES)), want)


def test_scalar_twin(case: Case, want: Answer, libpuvae: Library) -> None:
    context = open_context(libpuvae, case.weights(), Instructions.SCALAR)
    count = 1 if case.classes > 20 else 2
    first = Answer(*(array[:count] for array in want))
    got = by_library(context, random_images(case.contract, IMAGES)[:count])
    np.testing.assert_allclose(got.rmse, first.rmse, rtol=0, atol=SCALAR_RMSE)
    np.testing.assert_allclose(got.score, first.score, rtol=NATIVE_SCORE, atol=NATIVE_SCORE)


def test_auto_takes_the_widest(libpuvae: Library) -> None:
    weights = CASES[0].weights()
    from puvae_rt.native.binding import NativeModel
    from puvae_rt.native.engine_file import engine_file

    opened = NativeModel(libpuvae, engine_file(weights))
    assert opened.info.instructions in FAST
    for wider in range(opened.info.instructions + 1, len(Instructions)):
        with pytest.raises(TargetUnavailableError, match="leave the option at PUVAE_AUTO"):
            NativeModel(libpuvae, engine_file(weights), wider)


def test_equal_images_give_equal_answers(libpuvae: Library) -> None:
    case = CASES[6]
    images = np.repeat(random_images(case.contract, 1), 20, axis=0)
    got = by_library(open_context(libpuvae, case.weights()), images)
    for array in got:
        assert (array == array[:1]).all()


def test_a_tie_goes_to_the_lowest_index(libpuvae: Library) -> None:
    weights = CASES[0].weights()
    tensors = dict(weights.tensors)
    tensors["fc1_label.weight"] = np.zeros_like(tensors["fc1_label.weight"])
    matrix = tensors["decoder_fc.weight"].copy()
    matrix[:, 32:] = matrix[:, 32:33]
    weights = type(weights)(**(vars(weights) | {"tensors": tensors | {"decoder_fc.weight": matrix}}))
    got = by_library(open_context(libpuvae, weights), random_images(CASES[0].contract, 3))
    assert (got.score == got.score[:, :1]).all()
    assert (got.projected == 0).all()


@pytest.mark.parametrize("instructions", (Instructions.SCALAR, Instructions.AUTO), ids=lambda i: i.name)
def test_a_class_of_nan_never_wins_and_all_of_them_degrade(libpuvae: Library, instructions: int) -> None:
    weights = CASES[0].weights()
    labels = weights.tensors["fc1_label.weight"].copy()

    def run(broken: slice) -> Answer:
        nan = labels.copy()
        nan[:, broken] = np.nan
        changed = type(weights)(**(vars(weights) | {"tensors": {**weights.tensors, "fc1_label.weight": nan}}))
        return by_library(open_context(libpuvae, changed, instructions), random_images(CASES[0].contract, 1))

    one = run(slice(0, 1))
    assert np.isnan(one.rmse[0, 0]) and np.isfinite(one.rmse[0, 1:]).all() and one.projected[0] > 0
    every = run(slice(None))
    assert every.projected[0] == -1 and np.isnan(every.purified).all() and np.isnan(every.rmse).all()
