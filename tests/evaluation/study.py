"""A whole evaluation in miniature: five classes of bright bars, and a folder of trained models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from puvae_rt.contract import Score
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.models.gan import Generator
from puvae_rt.models.magnet import reformer
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from puvae_rt.training.artefacts import GENERATOR, REFORMER, save_network, save_puvae
from puvae_rt.training.recipes import Schedule
from puvae_rt.training.stages import Stage, train_classifier

NAME, CLASSES = "bars", 5


def save_images(path: Path, train: int = 160, test: int = 40, classes: int = CLASSES) -> Path:
    """An .npz of gray 28x28 images; class k is a bright bar at place k under noise."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % classes
        images = random.integers(0, 90, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[:, 5 * label : 5 * label + 5] += 130
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
    np.savez(path, **arrays)
    return path


def make(folder: Path) -> Dataset:
    """The dataset, and under folder/runs/bars a trained classifier A and untrained purifiers."""
    dataset = load_dataset(NAME, save_images(folder / f"{NAME}.npz"))
    runs = folder / "runs" / NAME
    runs.mkdir(parents=True)
    schedule = Schedule(epochs=1, batch=8, seed=1)
    train_classifier(Stage(runs, "classifier_a"), "A", dataset, schedule)
    for name in ("adv_training_a", "pgd_training_a"):
        shutil.copy(runs / "classifier_a.safetensors", runs / f"{name}.safetensors")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("puvae_paper", "puvae_ours"):
            vae = PuVAE(dataset.contract, CLASSES, Ranks(4, 4))
            save_puvae(runs / f"{name}.safetensors", vae, dataset, Score(), {"schedule": {"epochs": 0}})
        save_network(runs / "magnet.safetensors", reformer(dataset.contract), REFORMER, dataset, {})
        save_network(runs / "defense_gan.safetensors", Generator(dataset.contract), GENERATOR, dataset, {})
    return dataset
