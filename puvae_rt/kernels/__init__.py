"""CUDA kernels: sources, launch geometry, argument lists, NumPy oracles, compilation, and a CPU shim."""

from puvae_rt.kernels.launch import (
    ENTRIES,
    Launch,
    PreprocessArgs,
    SelectProjectionArgs,
    preprocess,
    select_projection,
)

__all__ = ["ENTRIES", "Launch", "PreprocessArgs", "SelectProjectionArgs", "preprocess", "select_projection"]
