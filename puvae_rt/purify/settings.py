"""Defaults of `puvae purify`, apart from what takes long to import: every --help reads them."""

from __future__ import annotations

KINDS = IMAGES, NPZ, PARQUET, VIDEO = "images", "npz", "parquet", "video"  # of files
DEFAULT_BATCH = 128  # rows of a chunk
DEFAULT_MAX_ERRORS = 100
