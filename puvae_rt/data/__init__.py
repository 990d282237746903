"""Data sets: MNIST, Fashion-MNIST, CIFAR-10, traffic signs (GTSRB), or your own images."""

from puvae_rt.data.datasets import DATA_VARIABLE, Dataset, load_dataset
from puvae_rt.data.folder import read_tree
from puvae_rt.data.known import KNOWN, Known
from puvae_rt.data.npz import read_npz
from puvae_rt.data.splits import Raw, Split

__all__ = ["DATA_VARIABLE", "KNOWN", "Dataset", "Known", "Raw", "Split", "load_dataset", "read_npz", "read_tree"]
