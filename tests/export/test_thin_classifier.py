"""Classifiers' large layers at low rank: exact where the outputs fill no more, and one function everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export import thin_classifier
from export.classifier import ClassifierWeights, load_classifier, write_classifier
from export.thin_classifier import factored
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.contract import ImageContract
from puvae_rt.data import load_dataset
from puvae_rt.errors import BuildError, CheckpointError, ContractError
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.training import artefacts
from puvae_rt.training.checkpoint import load_tensors, save_tensors
from tests.export.shipped import classifier_weights, dataset, save_classifier, toy_weights
from tests.export.toy import random_weights
from tests.tolerances import EXACT_ATOL, GRADIENT_RELATIVE

SMALL, CLASSES = ImageContract(3, 10, 10), 3


@pytest.fixture
def weights() -> ClassifierWeights:
    """Of C, whose first layer, 512 of 6,400, counts as large."""
    return classifier_weights(replace(random_weights(), contract=SMALL), "C")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((24, *SMALL.shape), np.float32)


def logits(path: Path, weights: ClassifierWeights, images: np.ndarray) -> np.ndarray:
    write_classifier(path, weights)
    return Classifier(path, SMALL, CLASSES, threads=1).logits(images)


def test_only_the_large_layer_is_factored(weights: ClassifierWeights, images: np.ndarray) -> None:
    lines: list[str] = []
    thin = factored(weights, images, 16, lines.append)
    assert thin.tensors.keys() - weights.tensors.keys() == {"8.0.weight", "8.1.weight", "8.1.bias"}
    assert weights.tensors.keys() - thin.tensors.keys() == {"8.weight", "8.bias"}
    assert thin.tensors["8.0.weight"].shape == (16, 6400) and thin.tensors["8.1.weight"].shape == (512, 16)
    (line,) = lines
    assert "classifier C: layer 8, 512 x 6400, to rank 16 with " in line


def test_as_many_directions_as_the_outputs_fill_are_exact(
    tmp_path: Path, weights: ClassifierWeights, images: np.ndarray
) -> None:
    """24 images span 23 directions round their mean."""
    want = logits(tmp_path / "full.onnx", weights, images)
    thin = factored(weights, images, len(images) - 1, lambda line: None)
    got = logits(tmp_path / "thin.onnx", thin, images)
    np.testing.assert_allclose(got, want, rtol=0, atol=EXACT_ATOL * float(np.abs(want).max()))
    assert (tmp_path / "thin.onnx").stat().st_size < 0.4 * (tmp_path / "full.onnx").stat().st_size


def test_more_directions_are_closer(tmp_path: Path, weights: ClassifierWeights, images: np.ndarray) -> None:
    want = logits(tmp_path / "c.onnx", weights, images)
    errors = [
        np.abs(logits(tmp_path / "c.onnx", factored(weights, images, rank, lambda line: None), images) - want).mean()
        for rank in (2, 8, 18)
    ]
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.5 * errors[0]


def test_its_gradient_is_that_of_the_dense_product(
    tmp_path: Path, weights: ClassifierWeights, images: np.ndarray
) -> None:
    thin = dict(factored(weights, images, 16, lambda line: None).tensors)
    dense = {"8.weight": thin["8.1.weight"] @ thin["8.0.weight"], "8.bias": thin["8.1.bias"]}
    write_classifier(tmp_path / "thin.onnx", replace(weights, tensors=thin))
    write_classifier(tmp_path / "dense.onnx", replace(weights, tensors=dict(weights.tensors) | dense))
    labels = np.arange(len(images)) % CLASSES
    want, got = (OnnxGradient(tmp_path / f"{name}.onnx")(images, labels) for name in ("dense", "thin"))
    for one, other in zip(want, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=GRADIENT_RELATIVE * float(np.abs(one).max()))


@pytest.mark.parametrize("rank", [0, 512])
def test_a_rank_that_is_none_is_refused(weights: ClassifierWeights, images: np.ndarray, rank: int) -> None:
    with pytest.raises(ContractError, match=rf"rank {rank} of a classifier's layer: expected 1 to 511"):
        factored(weights, images, rank, lambda line: None)


def test_small_layers_stay(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thin_classifier, "LARGE", 10**7)
    weights = classifier_weights(replace(random_weights(), contract=SMALL), "C")
    assert factored(weights, images, 40, lambda line: None).tensors == weights.tensors


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Factors a.safetensors, whose layer of 1.6 million weights counts as large, into thin.safetensors."""
    weights = save_classifier(tmp_path / "a.safetensors", toy_weights(), "A")
    data = dataset(tmp_path / "toy.npz")
    return ["--weights", str(weights), "--data", str(data), "--out", str(tmp_path / "kept" / "thin.safetensors")]


def test_a_factored_file_is_a_classifier_again(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """11 training images span 10 directions, where the factored classifier is the full one."""
    assert thin_classifier.main([*command, "--rank", "10", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert "to rank 10 with 100.00% of its outputs' variance" in summary["layers"][0]
    path = tmp_path / "kept" / "thin.safetensors"
    assert summary["bytes"] == path.stat().st_size < 0.6 * (tmp_path / "a.safetensors").stat().st_size
    module, meta = artefacts.load_classifier(path)
    assert meta == load_tensors(tmp_path / "a.safetensors")[1]
    images = load_dataset("toy", tmp_path / "toy.npz").train.batch(slice(None))[0]
    write_classifier(tmp_path / "a.onnx", load_classifier(tmp_path / "a.safetensors"))
    want = Classifier(tmp_path / "a.onnx", toy_weights().contract, CLASSES, threads=1).logits(images)
    got = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=EXACT_ATOL * float(np.abs(want).max()))
    write_classifier(tmp_path / "thin.onnx", load_classifier(path))  # as `puvae pack` reads it
    packed = Classifier(tmp_path / "thin.onnx", toy_weights().contract, CLASSES, threads=1).logits(images)
    np.testing.assert_allclose(packed, got, rtol=0, atol=EXACT_ATOL * float(np.abs(want).max()))


@pytest.mark.parametrize("part", ["0.weight", "1.weight", "1.bias"])
def test_a_factored_file_with_a_part_missing_is_refused(tmp_path: Path, command: list[str], part: str) -> None:
    thin_classifier.main(command)
    tensors, meta = load_tensors(tmp_path / "kept" / "thin.safetensors")
    (name,) = (name for name in tensors if name.endswith(f".{part}") and name.count(".") == 2)
    del tensors[name]
    save_tensors(tmp_path / "broken.safetensors", tensors, meta)
    with pytest.raises(CheckpointError, match=r"broken.safetensors: weights do not fit their description"):
        artefacts.load_classifier(tmp_path / "broken.safetensors")
    with pytest.raises(BuildError, match="tensors missing"):
        load_classifier(tmp_path / "broken.safetensors")


def test_a_small_classifier_is_left_alone(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thin_classifier, "LARGE", 10**9)
    assert thin_classifier.main(command) == 2
    assert "no fully connected layer of over 1,000,000,000 weights; it is small already" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("blocked", ["kept", "kept/thin.safetensors"])
def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str], blocked: str
) -> None:
    """A file where the folder would be, and a folder where the file would be."""
    if blocked == "kept":
        (tmp_path / blocked).write_text("a file")
    else:
        (tmp_path / blocked / "x").mkdir(parents=True)
    assert thin_classifier.main([*command, "--rank", "4"]) == 2
    assert "thin.safetensors: not written (" in capsys.readouterr().err
    assert not (tmp_path / "kept" / "thin.safetensors").is_file()


@pytest.mark.parametrize("rank", ["0", "128"])
def test_a_rank_is_refused_before_images_are_read(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str], rank: str
) -> None:
    command[command.index("--data") + 1] = str(tmp_path / "absent.npz")
    assert thin_classifier.main([*command, "--rank", rank]) == 2
    assert f"rank {rank} of a classifier's layer: expected 1 to 127" in capsys.readouterr().err
