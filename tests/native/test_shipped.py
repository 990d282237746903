"""The shipped models and their classifiers in libpuvae, on the images that ship and on random ones."""

from __future__ import annotations

import numpy as np
import pytest

from export.samples import load_samples
from puvae_rt.contract import IMAGE, LOGITS
from puvae_rt.models.weights import load_weights
from puvae_rt.native.binding import Library, NativeContext, NativeModel
from puvae_rt.native.classifier import native_classifier
from puvae_rt.native.engine_file import engine_file
from puvae_rt.onnx_io import read_onnx
from puvae_rt.runtime.assets import SAMPLES_FILE, WEIGHTS_FILE, shipped, shipped_names
from puvae_rt.runtime.session import open_session
from tests.native.models import by_library, by_onnx, random_images
from tests.native.test_numbers import clear
from tests.tolerances import NATIVE_PIXEL, NATIVE_RMSE

IMAGES_OF_A_SET, RANDOM, RANDOM_LONG = 20, 60, 10_000


def images_of(name: str, random: int) -> np.ndarray:
    """Some of each set that ships, and random ones."""
    model = shipped(name)
    images = [random_images(model.contract, random)]
    if SAMPLES_FILE in model.sha256:
        sets = load_samples(model.path(SAMPLES_FILE), model.contract, len(model.classes)).sets
        images += [np.divide(part[:IMAGES_OF_A_SET], 255, dtype=np.float32) for part in sets.values()]
    return np.concatenate(images)


def context_of(library: Library, name: str, classifier: str) -> NativeContext:
    weights = load_weights(shipped(name).path(WEIGHTS_FILE))
    labels = native_classifier(read_onnx(shipped(name).classifier(classifier)))
    return NativeModel(library, engine_file(weights, labels)).context()


def check(library: Library, name: str, images: np.ndarray) -> float:
    """The share of images whose choice is sure."""
    want = by_onnx(load_weights(shipped(name).path(WEIGHTS_FILE)), images)
    got = by_library(context_of(library, name, "classifier_a"), images)
    np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=NATIVE_RMSE)
    sure = clear(want)
    np.testing.assert_array_equal(got.projected[sure], want.projected[sure])
    np.testing.assert_allclose(got.purified[sure], want.purified[sure], rtol=0, atol=NATIVE_PIXEL)
    return float(sure.mean())


@pytest.mark.parametrize("name", shipped_names())
def test_agrees_with_onnx_runtime(libpuvae: Library, name: str) -> None:
    assert check(libpuvae, name, images_of(name, RANDOM)) > 0.95


@pytest.mark.long
@pytest.mark.parametrize("name", shipped_names())
def test_agrees_on_ten_thousand_random_images(libpuvae: Library, name: str) -> None:
    assert check(libpuvae, name, images_of(name, RANDOM_LONG)) > 0.95


@pytest.mark.parametrize(
    ("name", "classifier"),
    [(n, f.removesuffix(".onnx")) for n in shipped_names() for f in shipped(n).sha256 if f.startswith("classifier")],
)
def test_classifiers(libpuvae: Library, name: str, classifier: str) -> None:
    session = open_session(shipped(name).classifier(classifier), 1)
    context = context_of(libpuvae, name, classifier)
    for image in images_of(name, 6)[::4]:
        outcome = context.run_image(image)
        logits = session.run((LOGITS,), {IMAGE: outcome.image[None]})[0][0]
        best = np.sort(logits)[-2:]
        if best[1] - best[0] > 1e-3:
            assert outcome.label == int(logits.argmax())
