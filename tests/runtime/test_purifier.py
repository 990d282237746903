from __future__ import annotations

import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import puvae_rt
from puvae_rt import Purified, Purifier, Result
from puvae_rt.errors import ClosedError, ContractError, InputError
from puvae_rt.runtime.cpu import CHUNK
from tests import tolerances
from tests.runtime import toy

LATENT = 32


def images(count: int, seed: int = 0, contract=toy.GRAY) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *contract.shape), dtype=np.float32)


def expected(batch: np.ndarray, contract=toy.GRAY, noise: np.ndarray | None = None) -> Purified:
    """The toy purifier's answer, in NumPy."""
    projections = toy.candidates(batch, contract, noise)
    squares = (batch[:, None] - projections) ** 2
    rmse = np.sqrt(squares.mean(axis=(2, 3, 4)))
    labels = rmse.argmin(axis=1)
    return Purified(projections[np.arange(len(batch)), labels], labels, rmse, squares.sum(axis=(2, 3, 4)))


def assert_same(got: Purified, want: Purified) -> None:
    np.testing.assert_array_equal(got.projected, want.projected)
    np.testing.assert_allclose(got.images, want.images, atol=tolerances.TOY_GRAPH)
    np.testing.assert_allclose(got.rmse, want.rmse, atol=tolerances.TOY_GRAPH)
    np.testing.assert_allclose(got.score, want.score, rtol=tolerances.TOY_GRAPH_SUM)


@pytest.mark.parametrize("count", [1, 3, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_the_closest_projection_wins_whatever_the_batch(purifier: Purifier, count: int) -> None:
    batch = images(count)
    got = purifier.purify(batch)
    assert len(got) == count
    assert (got.images.dtype, got.projected.dtype, got.rmse.dtype) == (np.float32, np.int64, np.float32)
    assert_same(got, expected(batch))


def test_color_model(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "color", toy.COLOR)
    with Purifier.load(bundle, threads=1) as purifier:
        batch = images(3, contract=toy.COLOR)
        assert_same(purifier.purify(batch), expected(batch, toy.COLOR))
        assert purifier(np.zeros((50, 40, 3), np.uint8)).image.shape == (3, 32, 32)


def test_the_input_is_left_alone(purifier: Purifier) -> None:
    batch = images(2)
    before = batch.copy()
    purified = purifier.purify(batch)
    purified.images[:] = 0
    np.testing.assert_array_equal(batch, before)


def test_one_frame(purifier: Purifier) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)
    result = purifier(frame)
    want = expected(frame[None, None] / np.float32(255))
    assert isinstance(result, Result)
    np.testing.assert_allclose(result.image, want.images[0], atol=tolerances.TOY_GRAPH)
    np.testing.assert_allclose(result.rmse, want.rmse[0], atol=tolerances.TOY_GRAPH)
    assert result.label == 3  # the toy classifier's only answer
    assert not result.degraded
    timings = result.timings_ms
    assert list(timings) == ["preprocess", "purify", "classify", "total"]
    assert timings["total"] == pytest.approx(sum(v for k, v in timings.items() if k != "total"))
    assert all(value >= 0 for value in timings.values())


def test_results_stay_valid_after_the_next_frame(purifier: Purifier) -> None:
    first = purifier(np.zeros((28, 28), np.uint8))
    kept = first.image.copy()
    purifier(np.full((28, 28), 255, np.uint8))
    np.testing.assert_array_equal(first.image, kept)


def test_without_a_classifier_the_label_is_the_projections_class(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "plain", classifier=False)
    frame = (toy.templates()[2, 0] * 255).astype(np.uint8)
    with Purifier.load(bundle, threads=1) as purifier:
        assert purifier.classifier is None
        assert purifier(frame).label == 2


@pytest.mark.parametrize("choice, label", [(True, 3), (False, 2), ("other.onnx", 4)])
def test_the_classifier_can_be_chosen(tmp_path: Path, bundle: Path, choice: bool | str, label: int) -> None:
    toy.save_classifier(tmp_path / "other.onnx", answer=4)
    chosen = tmp_path / choice if isinstance(choice, str) else choice
    frame = (toy.templates()[2, 0] * 255).astype(np.uint8)
    with Purifier.load(bundle, threads=1, classifier=chosen) as purifier:
        assert purifier(frame).label == label


def test_a_frame_that_no_class_fits_is_degraded_not_invented(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "broken", template=float("nan"))
    with Purifier.load(bundle, threads=1) as purifier:
        result = purifier(np.zeros((28, 28), np.uint8))
        assert result.degraded
        assert result.label == -1  # though a classifier is loaded
        assert np.isnan(result.image).all()
        assert purifier.purify(images(2)).projected.tolist() == [-1, -1]


def test_sampling_takes_the_callers_noise(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)
    batch = images(CHUNK + 2)
    noise = np.random.default_rng(3).standard_normal((len(batch), toy.CLASSES, LATENT), dtype=np.float32)
    with Purifier.load(bundle, threads=1) as purifier:
        assert_same(purifier.purify(batch, noise), expected(batch, noise=noise))


def test_sampling_repeats_with_its_seed_only(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)

    def runs(seed: int | None) -> list[np.ndarray]:
        with Purifier.load(bundle, threads=1, seed=seed) as purifier:
            return [purifier.purify(images(2)).images, purifier(np.zeros((28, 28), np.uint8)).image]

    for first, second in zip(runs(5), runs(5), strict=True):
        np.testing.assert_array_equal(first, second)
    assert all(not np.array_equal(a, b) for a, b in zip(runs(5), runs(6), strict=True))
    assert all(not np.array_equal(a, b) for a, b in zip(runs(None), runs(None), strict=True))


NOISES = {
    "shape": np.zeros((2, toy.CLASSES, LATENT + 1), np.float32),
    "dtype": np.zeros((2, toy.CLASSES, LATENT), np.float64),
    "nan": np.full((2, toy.CLASSES, LATENT), np.nan, np.float32),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_bad_noise_is_refused(tmp_path: Path, noise: np.ndarray) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)
    with Purifier.load(bundle, threads=1) as purifier, pytest.raises(InputError, match=r"noise: got .* expected"):
        purifier.purify(images(2), noise)


def test_noise_for_a_deterministic_engine_is_refused(purifier: Purifier) -> None:
    with pytest.raises(InputError, match="--sigma"):
        purifier.purify(images(2), np.zeros((2, toy.CLASSES, LATENT), np.float32))


def test_a_frame_tells_the_classifiers_class_and_the_projections(purifier: Purifier) -> None:
    frame = (toy.templates()[2, 0] * 255).astype(np.uint8)
    result, purified = purifier(frame), purifier.purify(frame[None])
    assert (result.label, result.projected) == (3, 2)
    np.testing.assert_array_equal(result.score, purified.score[0])


def test_the_old_name_of_the_projections_class(purifier: Purifier) -> None:
    purified = purifier.purify(images(2))
    with pytest.warns(DeprecationWarning, match=r"Purified.labels is now Purified.projected"):
        np.testing.assert_array_equal(purified.labels, purified.projected)


def test_batches_are_joined_in_order(purifier: Purifier) -> None:
    batch = images(5)
    joined = Purified.join([purifier.purify(batch[:2]), purifier.purify(batch[2:])])
    assert_same(joined, expected(batch))


def test_a_call_under_way_outlives_a_close(bundle: Path) -> None:
    """The engine is read once: whatever another thread does next, the call has it or knows that it is gone."""

    class ClosedAfterOneRead(Purifier):
        @property
        def _engine(self):  # type: ignore[override]
            engine, self.__dict__["engine"] = self.__dict__["engine"], None
            return engine

        @_engine.setter
        def _engine(self, engine):
            self.__dict__["engine"] = engine

    purifier = ClosedAfterOneRead.load(bundle, threads=1)
    assert len(purifier.purify(images(2))) == 2
    with pytest.raises(ClosedError):
        purifier.purify(images(2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("seed", [None, 5])
def test_children_made_by_a_fork_draw_noise_of_their_own_unless_there_is_a_seed(
    tmp_path: Path, seed: int | None
) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)
    with Purifier.load(bundle, threads=1, seed=seed) as purifier:
        sums = []
        with purifier._random_lock, purifier._random.bit_generator.lock:  # as if other threads were drawing
            for _ in range(2):
                read, write = os.pipe()
                child = os.fork()
                if child == 0:
                    signal.alarm(30)
                    os.write(write, purifier.purify(images(1)).images.sum().tobytes())
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                sums.append(os.read(read, 16))
                os.close(read)
                os.close(write)
        assert len(sums[0]) == 4
        assert (sums[0] == sums[1]) == (seed is not None)
        if seed is not None:
            assert sums[0] == purifier.purify(images(1)).images.sum().tobytes()


def test_use_after_close(bundle: Path) -> None:
    with Purifier.load(bundle, threads=1) as purifier:
        purifier.purify(images(1))
    purifier.close()  # a second time is allowed
    for call in (lambda: purifier.purify(images(1)), lambda: purifier(np.zeros((28, 28), np.uint8))):
        with pytest.raises(ClosedError, match=r"closed; load it again"):
            call()


@pytest.mark.parametrize("sampling", [False, True], ids=["deterministic", "sampling"])
def test_one_purifier_in_many_threads(tmp_path: Path, sampling: bool) -> None:
    bundle = toy.save_bundle(tmp_path / "shared", sampling=sampling)
    batches = [images(1 + seed % (2 * CHUNK), seed) for seed in range(48)]
    noises = [
        np.random.default_rng(seed).standard_normal((len(b), toy.CLASSES, LATENT), dtype=np.float32)
        for seed, b in enumerate(batches)
    ]
    with Purifier.load(bundle, threads=1) as purifier:
        start = threading.Barrier(8)

        def work(thread: int) -> list[Purified]:
            start.wait()
            return [
                purifier.purify(batches[i], noises[i] if sampling else None) for i in range(thread, len(batches), 8)
            ]

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, range(8)))
    for thread, own in enumerate(results):
        for got, i in zip(own, range(thread, len(batches), 8), strict=True):
            assert_same(got, expected(batches[i], noise=noises[i] if sampling else None))


def test_close_in_one_thread_never_breaks_a_call_in_another(bundle: Path) -> None:
    purifier = Purifier.load(bundle, threads=1)
    batch, want = images(64), expected(images(64))
    started = threading.Event()

    def work() -> int:
        done = 0
        while True:
            try:
                assert_same(purifier.purify(batch), want)
            except ClosedError:
                return done
            done += 1
            started.set()

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work) for _ in range(4)]
        assert started.wait(10)
        purifier.close()
        assert sum(future.result(10) for future in futures) > 0


@pytest.mark.parametrize("threads", [0, -1, 2.0, True, "2", 10**9])
def test_bad_thread_counts(bundle: Path, threads: object) -> None:
    with pytest.raises(ContractError, match=r"threads: got .* expected an integer from 1"):
        Purifier.load(bundle, threads=threads)  # type: ignore[arg-type]


def test_an_unverified_bundle_is_said_to_be_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = toy.save_bundle(tmp_path / "unverified", quality=None)
    with caplog.at_level(logging.WARNING), Purifier.load(bundle, threads=1):
        assert "`puvae verify " in caplog.text


def test_the_package_names_what_it_exports() -> None:
    assert {"Purifier", "Purified", "Result"} <= set(dir(puvae_rt))
    with pytest.raises(AttributeError, match="Purify"):
        _ = puvae_rt.Purify
