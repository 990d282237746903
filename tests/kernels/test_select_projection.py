"""select_projection on the host shim against its NumPy twin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.errors import ContractError
from puvae_rt.kernels import oracle, select_projection
from puvae_rt.kernels.launch import FLAG_NO_CANDIDATE, FLAG_SOME_NAN
from tests.kernels.harness import examples, run_select
from tests.tolerances import KERNEL_DISTANCE_RELATIVE

FLOATS = (np.float32, np.float16)
STORED = (*FLOATS, np.uint8)


class Shape(NamedTuple):
    images: int
    classes: int
    size: int


def random_case(shape: Shape, seed: int, input: type = np.float32, candidates: type = np.float16):
    random = np.random.default_rng(seed)
    x = random.random((shape.images, shape.size), np.float32).astype(input)
    c = random.random(shape, np.float32).astype(candidates)
    return x, c


def assert_selected(got: oracle.Selection, want: oracle.Selection) -> None:
    np.testing.assert_allclose(got.rmse, want.rmse, rtol=KERNEL_DISTANCE_RELATIVE)
    np.testing.assert_allclose(got.score, want.score, rtol=KERNEL_DISTANCE_RELATIVE, atol=1e-30)
    np.testing.assert_array_equal(got.index, want.index)
    np.testing.assert_array_equal(got.flags, want.flags)
    np.testing.assert_array_equal(got.purified, want.purified)


def fields(selection: oracle.Selection) -> list[np.ndarray]:
    return list(vars(selection).values())


shapes = st.builds(Shape, st.integers(1, 4), st.integers(2, 20), st.integers(1, 300))
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=examples(60), deadline=None)
@given(
    shapes,
    seeds,
    st.sampled_from(FLOATS),
    st.sampled_from(FLOATS),
    st.sampled_from(STORED),
    st.sampled_from((0.0, 0.1, 0.3)),
    st.booleans(),
    st.booleans(),
)
def test_equals_the_oracle(shape, seed, input, candidates, stored, tau, biased, misaligned):
    x, c = random_case(shape, seed, input, candidates)
    bias = np.random.default_rng(seed).random(shape[:2], np.float32) * shape.size * 0.01 if biased else None
    want = oracle.select_projection(x, c, tau, bias, stored)
    assert_selected(run_select(x, c, tau, bias, stored, seed, misaligned), want)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 10, 784),
        Shape(3, 10, 3072),
        Shape(2, 43, 3072),
        Shape(1, 1000, 17),
        Shape(1, 2, 65_536),
        Shape(70, 2, 1),
        Shape(1, 3, 257),
        Shape(2, 9, 1025),
    ],
    ids=str,
)
def test_equals_the_oracle_at(shape):
    x, c = random_case(shape, seed=1)
    assert_selected(run_select(x, c, 0.1), oracle.select_projection(x, c, 0.1))


@settings(max_examples=examples(15), deadline=None)
@given(shapes, seeds)
def test_order_of_blocks_and_threads_changes_no_bit(shape, seed):
    x, c = random_case(shape, seed)
    first, second = (run_select(x, c, 0.1, seed=s) for s in (seed, seed + 1))
    for a, b in zip(fields(first), fields(second), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=examples(15), deadline=None)
@given(shapes, seeds, st.sampled_from(FLOATS))
def test_alignment_changes_no_bit(shape, seed, candidates):
    x, c = random_case(shape, seed, candidates=candidates)
    for a, b in zip(fields(run_select(x, c, 0.1)), fields(run_select(x, c, 0.1, misaligned=True)), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=examples(20), deadline=None)
@given(shapes, seeds, st.booleans())
def test_permuting_the_candidates_permutes_the_index(shape, seed, misaligned):
    x, c = random_case(shape, seed)
    permutation = np.random.default_rng(seed).permutation(shape.classes)
    plain = run_select(x, c, 0.05)
    permuted = run_select(x, c[:, permutation], 0.05, seed=seed, misaligned=misaligned)
    np.testing.assert_array_equal(permuted.rmse, plain.rmse[:, permutation])
    np.testing.assert_array_equal(permuted.score, plain.score[:, permutation])
    unique = [len(set(row)) == shape.classes for row in plain.score]  # a tie goes to the lowest index either way
    np.testing.assert_array_equal(permutation[permuted.index][unique], plain.index[unique])


@settings(max_examples=examples(20), deadline=None)
@given(shapes, seeds, st.data())
def test_an_exact_match_wins(shape, seed, data):
    x, c = random_case(shape, seed, np.float16)
    k = data.draw(st.integers(0, shape.classes - 1))
    c[:, k] = x
    got = run_select(x, c)
    assert (got.rmse[:, k] == 0).all()
    assert (got.score[np.arange(shape.images), got.index] == 0).all()
    np.testing.assert_array_equal(got.purified, x.astype(np.float32))


@pytest.mark.parametrize("classes", [2, 10, 33, 260])
def test_a_tie_goes_to_the_lowest_index(classes):
    x, c = random_case(Shape(1, classes, 40), 3)
    c[:, :] = c[:, :1]  # all alike
    for seed in range(4):
        assert run_select(x, c, seed=seed).index.tolist() == [0]
    c[:, 0] += np.float16(1)
    assert run_select(x, c).index.tolist() == [1]


@settings(max_examples=examples(25), deadline=None)
@given(shapes, seeds, st.sampled_from((0.0, 0.3)), st.sampled_from(STORED), st.data())
def test_a_nan_never_wins(shape, seed, tau, stored, data):
    x, c = random_case(shape, seed)
    for image in range(shape.images):
        for k in data.draw(st.sets(st.integers(0, shape.classes - 1))):
            c[image, k, data.draw(st.integers(0, shape.size - 1))] = np.nan
    got = run_select(x, c, tau, dtype=stored, seed=seed)
    assert_selected(got, oracle.select_projection(x, c, tau, dtype=stored))
    nan = np.isnan(c).any(axis=2)
    assert not nan[np.arange(shape.images), got.index][got.index >= 0].any()


def test_all_nan_is_reported_and_spoils_no_other_image():
    x, c = random_case(Shape(3, 10, 50), 5)
    x[1, 7] = np.nan
    got = run_select(x, c, 0.3)
    assert got.index[1] == -1
    assert got.flags.tolist() == [0, FLAG_NO_CANDIDATE | FLAG_SOME_NAN, 0]
    assert np.isnan(got.purified[1]).all()
    assert not np.isnan(got.purified[[0, 2]]).any()


def test_a_nan_bias_loses_and_an_infinite_score_is_still_a_score():
    x, c = random_case(Shape(1, 3, 8), 6)
    assert run_select(x, c, bias=np.array([[np.nan, 5, np.nan]], np.float32)).index[0] == 1
    assert run_select(x, c, bias=np.array([[np.nan, np.inf, np.inf]], np.float32)).index[0] == 1


def test_without_dead_zone_the_score_orders_as_the_rmse():
    x, c = random_case(Shape(4, 12, 90), 7)
    got = run_select(x, c)
    np.testing.assert_allclose(got.score, got.rmse**2 * 90, rtol=KERNEL_DISTANCE_RELATIVE)
    np.testing.assert_array_equal(got.index, got.rmse.argmin(axis=1))


def test_dead_zone_can_change_the_winner():
    x = np.zeros((1, 100), np.float32)
    c = np.stack([np.full(100, 0.2, np.float32), np.eye(1, 100, dtype=np.float32)[0] * 1.5])[None]
    assert run_select(x, c).index[0] == 1  # 100 * .2^2 = 4 against 2.25
    assert run_select(x, c, tau=0.25).index[0] == 0  # 0 against 1.5625


def test_uint8_rounds_and_saturates():
    values = np.array([[-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0, np.inf, 0.5]], np.float32)
    got = run_select(np.zeros_like(values), np.stack([values, values], 1), dtype=np.uint8)
    assert got.purified.tolist() == [[0, 0, 0, 1, 255, 255, 255, 128]]


def test_every_half_widens_and_floats_round_to_half_as_numpy_does():
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)[None]
    halves = halves[:, ~np.isnan(halves[0])]
    pair = np.stack([halves, np.full_like(halves, np.inf)], axis=1)
    bias = np.array([[-np.inf, 0]], np.float32)  # the first wins whatever its distance, unless that is infinite
    finite = np.isfinite(halves[0])
    got = run_select(np.zeros_like(halves)[:, finite], pair[..., finite], bias=bias)
    np.testing.assert_array_equal(got.purified[0], halves[0, finite].astype(np.float32))

    bits = np.random.default_rng(0).integers(0, 0x48000000, 50_000).astype(np.uint32)  # subnormal to past the largest
    floats = np.concatenate([bits, bits | 0x80000000, np.arange(0x33000000 - 3, 0x33000000 + 3, dtype=np.uint32)])
    values = floats.view(np.float32)[None, :65_536]
    got = run_select(values, np.stack([values, values], 1), dtype=np.float16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got.purified.view(np.uint16), values.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 784, np.float32, np.float16, np.float32), "images=0"),
        ((1, 1, 784, np.float32, np.float16, np.float32), "classes=1"),
        ((1, 1001, 784, np.float32, np.float16, np.float32), "classes=1001"),
        ((1, 10, 65_537, np.float32, np.float16, np.float32), "size=65537"),
        ((1, 10, 784, np.float64, np.float16, np.float32), "input of type float64"),
        ((1, 10, 784, np.float32, np.uint8, np.float32), "candidates of type u8"),
        ((1, 10, 784, np.float32, np.float16, np.float32, 1), "candidates=1: expected 2 to 10"),
        ((1, 10, 784, np.float32, np.float16, np.float32, 11), "candidates=11: expected 2 to 10"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_geometry_refuses(arguments, message):
    with pytest.raises(ContractError, match=message):
        select_projection(*arguments)
