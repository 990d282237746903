"""PurifyBatch: every form of images in and out, broken rows, padding, pickling."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.errors import BundleError, ContractError, InputError
from puvae_rt.purify import PurifyBatch
from puvae_rt.purify.batch import COLUMNS


def test_results_are_the_purifiers(batch: PurifyBatch, bundle: Path, pixels: np.ndarray) -> None:
    found = batch({"image": pixels, "id": np.arange(10), "label": np.arange(10)})
    with Purifier.load(bundle, threads=1) as purifier:
        expected = purifier.purify(pixels)
        np.testing.assert_array_equal(found["label"], purifier.label(expected))
    assert found["image"].dtype == np.uint8 and found["image"].shape == (10, 28, 28)
    np.testing.assert_array_equal(found["image"], np.rint(expected.images[:, 0] * 255).astype(np.uint8))
    np.testing.assert_array_equal(found["projected"], expected.projected)
    np.testing.assert_array_equal(found["rmse"], expected.rmse[np.arange(10), expected.projected])
    np.testing.assert_array_equal(found["input_label"], np.arange(10))
    assert set(found) == {"image", "id", "input_label", *COLUMNS} and not found["degraded"].any()
    assert set(found["bundle"]) == {batch.identity}


def test_forms_come_back(batch: PurifyBatch, pixels: np.ndarray) -> None:
    plain = batch({"image": pixels})["image"]
    files = np.array([cv2.imencode(".png", image)[1].tobytes() for image in pixels], object)
    got = batch({"image": files})["image"]
    for one, image in zip(got, plain, strict=True):
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_UNCHANGED), image)
    np.testing.assert_array_equal(batch({"image": pixels[..., None]})["image"][..., 0], plain)
    np.testing.assert_array_equal(batch({"image": pixels[:, None]})["image"][:, 0], plain)
    floats = batch({"image": np.divide(pixels, 255, dtype=np.float32)})["image"]
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(np.rint(floats * 255).astype(np.uint8), plain)
    sizes = np.empty(2, object)
    sizes[0], sizes[1] = np.zeros((40, 50, 3), np.uint8), np.zeros((9, 7), np.uint8)
    assert not batch({"image": sizes})["degraded"].any()


def test_broken_rows_fail_no_batch(batch: PurifyBatch) -> None:
    values = np.empty(4, object)
    values[:] = [cv2.imencode(".png", np.zeros((28, 28), np.uint8))[1].tobytes(), b"no image", None, b""]
    found = batch({"image": values})
    assert found["error"][0] == "" and all(found["error"][1:])
    assert found["degraded"].tolist() == [False, True, True, True] and found["label"].tolist()[1:] == [-1] * 3
    nan = np.full((1, 28, 28), np.nan, np.float32)
    assert "NaN" in batch({"image": nan})["error"][0]


def test_a_rows_result_does_not_depend_on_how_many_come(batch: PurifyBatch, pixels: np.ndarray) -> None:
    whole = batch({"image": np.divide(pixels, 255, dtype=np.float32)})
    last = batch({"image": np.divide(pixels[8:], 255, dtype=np.float32)})
    np.testing.assert_array_equal(last["image"], whole["image"][8:])
    np.testing.assert_array_equal(last["score"], whole["score"][8:])


def test_pickled_it_loads_anew(batch: PurifyBatch, pixels: np.ndarray) -> None:
    before = batch({"image": pixels})
    copy = pickle.loads(pickle.dumps(batch))
    np.testing.assert_array_equal(copy({"image": pixels})["image"], before["image"])


def test_refusals(batch: PurifyBatch, bundle: Path, pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected 'image' among them"):
        batch({"picture": pixels})
    with pytest.raises(InputError, match="one length"):
        batch({"image": pixels, "id": np.arange(3)})
    with pytest.raises(ContractError, match="batch=0"):
        PurifyBatch(bundle, batch=0)
    with pytest.raises(BundleError, match=r"on \S+: .*no manifest"):
        _ = PurifyBatch(bundle / "gone").purifier
    with pytest.raises(BundleError, match="expected other@1, which the driver"):
        _ = PurifyBatch(bundle, identity="other@1").purifier
    assert batch({"image": pixels[:0]})["image"].shape == (0, 28, 28)


def test_no_engine_of_distribution_is_imported() -> None:
    code = "import sys, puvae_rt.purify.batch; print({'ray', 'pyarrow', 'fsspec', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
