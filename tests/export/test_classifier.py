"""Classifiers A to D: the ONNX file computes what PyTorch trained, and the attacks and the runtime take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from export import layers
from export.classifier import choose_classifier, load_classifier, write_classifier
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.contract import IMAGE, ImageContract
from puvae_rt.data import Dataset, Split
from puvae_rt.errors import BuildError, BundleError
from puvae_rt.gpu.tensorrt import build_plan
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.training.artefacts import save_classifier
from tests.export.toy import COLOR, GRAY, random_weights, save_weights
from tests.tolerances import EXACT_ATOL, GRADIENT_RELATIVE

SMALL = ImageContract(3, 10, 10)


def trained(
    path: Path, architecture: str, contract: ImageContract, classes: int, normalized: bool = False
) -> torch.nn.Module:
    torch.manual_seed(0)
    model = classifier(architecture, contract, classes, normalized).eval()
    split = Split(np.zeros((1, *contract.shape), np.uint8), np.zeros(1, np.int64))
    dataset = Dataset("toy", tuple(f"c{i}" for i in range(classes)), split, split, split)
    save_classifier(path, model, architecture, dataset, {"normalized": True} if normalized else {})
    return model


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "normalized"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("contract, classes", [(SMALL, 7), (ImageContract(1, 9, 9), 2)], ids=["color", "odd-side"])
def test_logits_and_gradient(
    tmp_path: Path, architecture: str, contract: ImageContract, classes: int, normalized: bool
) -> None:
    model = trained(tmp_path / "c.safetensors", architecture, contract, classes, normalized)
    path = tmp_path / "c.onnx"
    write_classifier(path, load_classifier(tmp_path / "c.safetensors"))
    images = np.random.default_rng(0).random((3, *contract.shape), np.float32)
    labels = np.array([0, 1, 1])
    x = torch.from_numpy(images).requires_grad_()
    want = model(x)
    (want_gradient,) = torch.autograd.grad(F.cross_entropy(want, torch.from_numpy(labels), reduction="sum"), x)
    got = Classifier(path, contract, classes, threads=1).logits(images)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=EXACT_ATOL)
    logits, gradient = OnnxGradient(path)(images, labels)
    np.testing.assert_allclose(logits, got, rtol=0, atol=EXACT_ATOL)
    scale = float(want_gradient.abs().max())
    np.testing.assert_allclose(gradient, want_gradient.numpy(), rtol=0, atol=GRADIENT_RELATIVE * scale)


@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
def test_the_sizes_that_are_used(tmp_path: Path, contract: ImageContract) -> None:
    trained(tmp_path / "a.safetensors", "A", contract, 10)
    write_classifier(tmp_path / "a.onnx", load_classifier(tmp_path / "a.safetensors"))
    assert Classifier(tmp_path / "a.onnx", contract, 10, 1).labels(
        np.zeros((2, *contract.shape), np.float32)
    ).shape == (2,)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_half_storage_is_rounding_and_nothing_else(tmp_path: Path, architecture: str) -> None:
    model = trained(tmp_path / "c.safetensors", architecture, SMALL, 7)
    weights = load_classifier(tmp_path / "c.safetensors")
    write_classifier(tmp_path / "half.onnx", weights, half=True)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(".weight"):
                value.copy_(value.half().float())
    images = np.random.default_rng(0).random((3, *SMALL.shape), np.float32)
    x = torch.from_numpy(images).requires_grad_()
    want, labels = model(x), np.array([0, 1, 1])
    got = Classifier(tmp_path / "half.onnx", SMALL, 7, threads=1).logits(images)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=EXACT_ATOL)
    (gradient,) = torch.autograd.grad(F.cross_entropy(want, torch.from_numpy(labels), reduction="sum"), x)
    scale = float(gradient.abs().max())
    got_gradient = OnnxGradient(tmp_path / "half.onnx")(images, labels)[1]
    np.testing.assert_allclose(got_gradient, gradient.numpy(), rtol=0, atol=GRADIENT_RELATIVE * scale)
    write_classifier(tmp_path / "full.onnx", weights)
    assert (tmp_path / "half.onnx").stat().st_size < 0.55 * (tmp_path / "full.onnx").stat().st_size


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    trained(tmp_path / "c.safetensors", "A", SMALL, 7)
    weights = load_classifier(tmp_path / "c.safetensors")
    weights.tensors["2.weight"][0, 0, 0, 0] = -1e5
    with pytest.raises(BuildError, match=r"2.weight: a weight of 100000, expected at most 65504 in FP16; .*--half"):
        write_classifier(tmp_path / "c.onnx", weights, half=True)


def test_tensorrt_folds_the_casts_of_half_storage(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    trained(tmp_path / "c.safetensors", "A", SMALL, 7)
    plans = []
    for half in (False, True):
        write_classifier(tmp_path / "c.onnx", load_classifier(tmp_path / "c.safetensors"), half)
        plans.append(build_plan("rtx", (tmp_path / "c.onnx").read_bytes(), (1, 8), {IMAGE: SMALL.shape}, ("8.6",)))
    full, halved = ([layer.precision for layer in layers.listed(plan)] for plan in plans)
    assert halved == full


def test_a_purifier_is_no_classifier(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_weights())
    with pytest.raises(BuildError, match=r"kind: got 'puvae', expected classifier"):
        load_classifier(path)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_weights(), kind="classifier", architecture="E")
    with pytest.raises(BuildError, match=r"architecture: got 'E', expected one of A, B, C, D"):
        load_classifier(path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_weights(), kind="classifier", architecture="B")
    with pytest.raises(BuildError, match=r"tensors missing: .*'0.bias'"):
        load_classifier(path)


def test_a_classifier_with_its_weights_in_another_file_is_chosen_as_one_file(tmp_path: Path) -> None:
    trained(tmp_path / "c.safetensors", "A", SMALL, 3)
    path = tmp_path / "own.onnx"
    write_classifier(path, load_classifier(tmp_path / "c.safetensors"))
    whole = path.read_bytes()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="own.data", size_threshold=0)
    chosen = choose_classifier(str(path), None, SMALL, 3)
    assert chosen is not None and chosen.name == str(path)
    (tmp_path / "own.data").unlink()
    images = np.random.default_rng(0).random((3, *SMALL.shape), np.float32)
    got, want = (Classifier(model, SMALL, 3, threads=1).logits(images) for model in (chosen.model, whole))
    np.testing.assert_array_equal(got, want)
    with pytest.raises(BuildError, match=rf"{path}: its weights in own\.data: .*No such file.*export the classifier"):
        choose_classifier(str(path), None, SMALL, 3)


def test_a_classifier_of_other_images_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    trained(tmp_path / "c.safetensors", "A", SMALL, 3)
    for wrong in ((GRAY, 3), (SMALL, 4)):
        with pytest.raises(BundleError, match=rf"{tmp_path / 'c.safetensors'}: (in|out)puts are"):
            choose_classifier(str(tmp_path / "c.safetensors"), None, *wrong)
