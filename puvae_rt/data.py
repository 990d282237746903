"""Datasets (draft)."""
from __future__ import annotations
from dataclasses import dataclass
import os
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """uint8 images [N,C,H,W] and int64 labels [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index):
        return np.divide(self.images[index], 255, dtype=np.float32), self.labels[index]

def mnist_draft():
    z = np.load(os.environ["PUVAE_DATA"] + "/mnist.npz")
    x, y = z["x_train"][:, None], z["y_train"].astype(np.int64)
    order = np.random.default_rng(0).permutation(60000)
    tr, va = order[:50000], order[50000:]
    return Split(x[tr], y[tr]), Split(x[va], y[va]), Split(z["x_test"][:, None], z["y_test"].astype(np.int64))
