"""select_projection with a list of classes, on the host shim against its NumPy twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import NO_LABEL
from puvae_rt.errors import ContractError
from puvae_rt.kernels import SelectProjectionArgs, oracle
from puvae_rt.kernels.launch import FLAG_LEFT_OUT, FLAG_NO_CANDIDATE, FLAG_SOME_NAN
from tests.kernels.harness import examples, run_select
from tests.kernels.test_select_projection import STORED, Shape, assert_selected, random_case, seeds

MOST, LEAST = np.iinfo(np.int32).max, np.iinfo(np.int32).min
NO_CLASSES = (-1, LEAST, MOST, 1000)  # with up to 1,000 classes


def random_list(images: int, count: int, classes: int, seed: int) -> np.ndarray:
    """[N,m] int32: other classes, in another order, for every image."""
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(classes)[:count] for _ in range(images)]).astype(np.int32)


def listed_case(images: int, count: int, classes: int, size: int, seed: int = 0):
    return (*random_case(Shape(images, count, size), seed), random_list(images, count, classes, seed))


@st.composite
def lists(draw: st.DrawFn) -> tuple[int, int]:
    """How many candidates, of how many classes."""
    classes = draw(st.integers(2, 24))
    return draw(st.integers(2, classes)), classes


@settings(max_examples=examples(60), deadline=None)
@given(
    st.integers(1, 4),
    lists(),
    st.integers(1, 300),
    seeds,
    st.sampled_from(STORED),
    st.sampled_from((0.0, 0.3)),
    st.booleans(),
    st.booleans(),
)
def test_equals_the_oracle(images, counts, size, seed, stored, tau, biased, misaligned):
    (count, classes), random = counts, np.random.default_rng(seed)
    x, c, listed = listed_case(images, count, classes, size, seed)
    bias = random.random((images, count), np.float32) * size * 0.01 if biased else None
    want = oracle.select_projection(x, c, tau, bias, stored, listed, classes)
    got = run_select(x, c, tau, bias, stored, seed, misaligned, classes=listed, class_count=classes)
    assert_selected(got, want)
    assert np.isfinite(got.score).sum(axis=1).tolist() == [count] * images and (got.flags == 0).all()


@pytest.mark.parametrize(
    ("images", "count", "classes", "size"),
    [(1, 2, 10, 784), (3, 2, 43, 3072), (2, 43, 43, 3072), (1, 2, 1000, 17), (1, 300, 1000, 5), (1, 2, 3, 65_536)],
)
def test_equals_the_oracle_at(images, count, classes, size):
    x, c, listed = listed_case(images, count, classes, size, 1)
    want = oracle.select_projection(x, c, 0.1, classes=listed, class_count=classes)
    assert_selected(run_select(x, c, 0.1, classes=listed, class_count=classes), want)


def test_the_oracle_tells_a_choice_among_few_as_one_among_all():
    x = np.zeros((2, 1), np.float32)
    c = np.array([[2, 1], [np.nan, np.nan]], np.float32)[..., None]
    got = oracle.select_projection(x, c, classes=np.array([[3, 0], [1, 2]], np.int32), class_count=4)
    assert got.index.tolist() == [0, NO_LABEL] and got.index.dtype == np.int64
    np.testing.assert_array_equal(got.rmse, [[1, np.nan, np.nan, 2], [np.nan] * 4])
    np.testing.assert_array_equal(got.score, [[1, np.inf, np.inf, 4], [np.inf, np.nan, np.nan, np.inf]])
    np.testing.assert_array_equal(got.purified, [[1], [np.nan]])
    assert got.flags.tolist() == [0, FLAG_NO_CANDIDATE | FLAG_SOME_NAN]


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(2, 20), st.integers(1, 90), seeds)
def test_a_list_of_every_class_chooses_as_none_does_in_whatever_order(classes, size, seed):
    x, c = random_case(Shape(3, classes, size), seed)
    listed = random_list(3, classes, classes, seed)
    bias = np.random.default_rng(seed).random((3, classes), np.float32)
    own = np.take_along_axis(c, listed[..., None].astype(int), axis=1)
    got = run_select(
        x, own, 0.1, np.take_along_axis(bias, listed.astype(int), axis=1), classes=listed, class_count=classes
    )
    for a, b in zip(vars(got).values(), vars(run_select(x, c, 0.1, bias)).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=examples(15), deadline=None)
@given(lists(), seeds)
def test_order_of_blocks_and_threads_changes_no_bit(counts, seed):
    count, classes = counts
    x, c, listed = listed_case(2, count, classes, 40, seed)
    first, second = (run_select(x, c, seed=s, classes=listed, class_count=classes) for s in (seed, seed + 1))
    for a, b in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("listed", [(7, 3, 5), (3, 5, 7), (5, 7, 3)])
def test_a_tie_goes_to_the_lowest_class_wherever_it_stands(listed):
    x, c = random_case(Shape(1, 3, 40), 3)
    c[:, :] = c[:, :1]  # all alike
    for seed in range(4):
        got = run_select(x, c, seed=seed, classes=np.array([listed], np.int32), class_count=9)
        assert got.index.tolist() == [3]


def test_a_nan_never_wins_and_all_nan_is_reported():
    x, c, listed = listed_case(3, 4, 9, 50, 5)
    listed[0] = (8, 2, 6, 4)
    c[0, (0, 1), 7] = np.nan
    c[1] = np.nan
    got = run_select(x, c, 0.3, classes=listed, class_count=9)
    assert_selected(got, oracle.select_projection(x, c, 0.3, classes=listed, class_count=9))
    assert got.index[0] in (4, 6) and got.index[1] == NO_LABEL
    assert got.flags.tolist() == [FLAG_SOME_NAN, FLAG_NO_CANDIDATE | FLAG_SOME_NAN, 0]
    assert np.isnan(got.purified[1]).all() and np.isnan(got.rmse[1]).all()
    assert np.isnan(got.score[1]).sum() == 4 and np.isposinf(got.score[1]).sum() == 5


def test_an_infinite_score_of_a_candidate_beats_a_class_without_one():
    x, c = random_case(Shape(1, 2, 8), 6)
    for bias, index in (((np.inf, np.inf), 4), ((np.nan, np.inf), 7)):
        got = run_select(x, c, bias=np.array([bias], np.float32), classes=np.array([[4, 7]], np.int32), class_count=9)
        assert got.index.tolist() == [index]


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 3), lists(), seeds, st.data())
def test_a_class_that_is_none_or_comes_again_is_left_out(images, counts, seed, data):
    """The arrays end where their allocations end: the sanitizers see whatever is written beyond them."""
    count, classes = counts
    x, c, listed = listed_case(images, count, classes, 33, seed)
    for image in range(images):
        for j in data.draw(st.sets(st.integers(0, count - 1))):
            listed[image, j] = data.draw(st.sampled_from((*NO_CLASSES, classes, *listed[image])))
    want = oracle.select_projection(x, c, 0.1, classes=listed, class_count=classes)
    got = run_select(x, c, 0.1, seed=seed, classes=listed, class_count=classes)
    assert_selected(got, want)
    for row, flags, score in zip(listed, got.flags, got.score, strict=True):
        valid = {k for k in row.tolist() if 0 <= k < classes}
        assert set(np.flatnonzero(np.isfinite(score))) == valid
        assert bool(flags & FLAG_LEFT_OUT) == (len(valid) < count)
        assert bool(flags & FLAG_NO_CANDIDATE) == (not valid)


def test_of_two_candidates_of_one_class_the_first_counts():
    x, c = random_case(Shape(1, 3, 20), 2)
    c[0, 1] = x[0]  # the closest, and left out
    got = run_select(x, c, classes=np.array([[4, 4, 1]], np.int32), class_count=5)
    first = run_select(x, c[:, ::2], classes=np.array([[4, 1]], np.int32), class_count=5)
    for name in ("purified", "index", "rmse", "score"):
        np.testing.assert_array_equal(getattr(got, name), getattr(first, name))
    assert got.flags.tolist() == [FLAG_LEFT_OUT] and first.flags.tolist() == [0]


def test_a_list_of_no_class_at_all_gives_no_candidate():
    x, c = random_case(Shape(2, 2, 20), 2)
    got = run_select(x, c, classes=np.array([[-1, 9], [3, 0]], np.int32), class_count=9)
    assert got.index[0] == NO_LABEL and got.flags.tolist() == [FLAG_NO_CANDIDATE | FLAG_LEFT_OUT, 0]
    assert np.isnan(got.purified[0]).all() and np.isposinf(got.score[0]).all() and np.isnan(got.rmse[0]).all()
    assert not np.isnan(got.purified[1]).any()


ARGUMENTS = SelectProjectionArgs(*(16,) * 3, 0.0, *(16,) * 6, class_count=10, size=784, classes=16, candidate_count=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, "classes=0 with 2 candidates of 10 classes: expected the address of their classes"),
        ({"candidate_count": 1}, "candidates=1: expected 2 to 10"),
        ({"candidate_count": 11}, "candidates=11: expected 2 to 10"),
        ({"class_count": 1001}, "classes=1001: expected 2 to 1,000"),
    ],
)
def test_arguments_refuse(changes, message):
    with pytest.raises(ContractError, match=message):
        replace(ARGUMENTS, **changes)
