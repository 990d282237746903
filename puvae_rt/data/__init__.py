"""Data sets: MNIST, Fashion-MNIST, CIFAR-10, traffic signs (GTSRB), or your own images."""

from puvae_rt.data.datasets import DATA_VARIABLE, KNOWN, Dataset, Known, Split, load_dataset

__all__ = ["DATA_VARIABLE", "KNOWN", "Dataset", "Known", "Split", "load_dataset"]
