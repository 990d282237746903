"""Data sets: MNIST, Fashion-MNIST, CIFAR-10, traffic signs (GTSRB), or your own images."""

from puvae_rt._moved import renamed
from puvae_rt.data.datasets import DATA_VARIABLE, Dataset, load_dataset
from puvae_rt.data.folder import read_tree
from puvae_rt.data.known import KNOWN, Known
from puvae_rt.data.npz import read_npz
from puvae_rt.data.splits import Raw, Split

__all__ = ["DATA_VARIABLE", "KNOWN", "Dataset", "Known", "Raw", "Split", "load_dataset", "read_npz", "read_tree"]

_HOMES = {
    "folder": ("IMAGE_SUFFIXES", "MAX_FILE_BYTES"),
    "images": ("GRAY_SIDE", "Images"),
    "known": ("DIGITS", "GARMENTS", "OBJECTS", "SIGNS"),
    "archive": ("MAX_BYTES",),
    "splits": ("Labels", "OWN_VALIDATION_SHARE", "SPLIT_SEED"),
}
_OLD = {name: f"{__name__}.{home}:{name}" for home, names in _HOMES.items() for name in names}
__getattr__ = renamed(__name__, _OLD | {"COLOUR_SIDE": f"{__name__}.images:COLOR_SIDE"})
