from __future__ import annotations

from pathlib import Path

import pytest

from puvae_rt.data import DATA_VARIABLE
from puvae_rt.graph.cpu import cpu_model
from puvae_rt.models.weights import load_weights
from puvae_rt.runtime import assets as runtime_assets
from puvae_rt.runtime.assets import WEIGHTS_FILE
from tests.export import shipped


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny shipped model; its checkpoints lie two folders up."""
    return shipped.pack(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="session")
def packed_without_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without samples.npz, its classifiers' weights in FP16."""
    return shipped.pack(tmp_path_factory.mktemp("without_images"), ship_images=False, half=True)


@pytest.fixture(scope="session")
def packed_with_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny shipped model with a prior, which decodes two of three classes."""
    return shipped.pack(tmp_path_factory.mktemp("with_prior"), weights=shipped.weights_with_prior())


@pytest.fixture
def with_prior(packed_with_prior: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As `toy_assets`, with a prior."""
    return only_shipped(packed_with_prior, monkeypatch, tmp_path)


@pytest.fixture
def toy_assets(packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The tiny model is the only one shipped, and the engine cache is empty."""
    return only_shipped(packed, monkeypatch, tmp_path)


@pytest.fixture
def without_images(packed_without_images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As `toy_assets`, without test images; no dataset is to be had but what a test names."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return only_shipped(packed_without_images, monkeypatch, tmp_path)


def only_shipped(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(runtime_assets, "ASSETS", model.parent)
    for function in (runtime_assets.shipped, runtime_assets.shipped_names):
        monkeypatch.setattr(function, "__defaults__", (model.parent,))
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return model


@pytest.fixture(scope="session")
def cpu_onnx(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph that the CPU runs, made of the packed weights."""
    path = tmp_path_factory.mktemp("cpu") / "puvae.onnx"
    path.write_bytes(cpu_model(load_weights(packed / WEIGHTS_FILE)))
    return path
