"""Data sets: MNIST, Fashion-MNIST, CIFAR-10, traffic signs (GTSRB), or your own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from puvae_rt._lazy import lazily
from puvae_rt._moved import renamed

if TYPE_CHECKING:
    from puvae_rt.data.datasets import DATA_VARIABLE, Dataset, load_dataset
    from puvae_rt.data.folder import read_tree
    from puvae_rt.data.known import KNOWN, Known
    from puvae_rt.data.npz import read_npz
    from puvae_rt.data.splits import Raw, Split

__all__ = ["DATA_VARIABLE", "KNOWN", "Dataset", "Known", "Raw", "Split", "load_dataset", "read_npz", "read_tree"]

_HOMES = {
    "datasets": ("DATA_VARIABLE", "Dataset", "load_dataset"),
    "folder": ("read_tree",),
    "known": ("KNOWN", "Known"),  # alone it is light: every --help reads it
    "npz": ("read_npz",),
    "splits": ("Raw", "Split"),
}
_OLD_HOMES = {
    "folder": ("IMAGE_SUFFIXES", "MAX_FILE_BYTES"),
    "images": ("GRAY_SIDE", "Images"),
    "known": ("DIGITS", "GARMENTS", "OBJECTS", "SIGNS"),
    "archive": ("MAX_BYTES",),
    "splits": ("Labels", "OWN_VALIDATION_SHARE", "SPLIT_SEED"),
}
_OLD = {name: f"{__name__}.{home}:{name}" for home, names in _OLD_HOMES.items() for name in names}
_OLD["COLOUR_SIDE"] = f"{__name__}.images:COLOR_SIDE"
__getattr__ = lazily(
    __name__, {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}, renamed(__name__, _OLD)
)
