"""TensorRT and TensorRT-RTX: the table of both, their log, and engines built, loaded and run.

Only names that exist in TensorRT 10.3 to 11 and in TensorRT-RTX are used (tests/contracts holds that), except what is
asked for by `hasattr`.
"""

from __future__ import annotations

import warnings
from typing import Any

from puvae_rt.gpu.tensorrt.build import SerializedEngine, build_plan
from puvae_rt.gpu.tensorrt.engine import TrtEngine, TrtExecution
from puvae_rt.gpu.tensorrt.library import (
    COMPUTE_CAPABILITIES,
    DEFAULT_COMPUTE_CAPABILITIES,
    LIBRARIES,
    Library,
    check_compute_capabilities,
    check_identity,
    load,
)

__all__ = [
    "COMPUTE_CAPABILITIES",
    "DEFAULT_COMPUTE_CAPABILITIES",
    "LIBRARIES",
    "Library",
    "SerializedEngine",
    "TrtEngine",
    "TrtExecution",
    "build_plan",
    "check_compute_capabilities",
    "check_identity",
    "load",
]


def __getattr__(name: str) -> Any:
    """What had another name until 0.2."""
    renamed: dict[str, tuple[str, Any]] = {
        "Plan": ("SerializedEngine", SerializedEngine),
        "load_module": ("load", load),
        "MODULES": ("LIBRARIES", {target: library.module for target, library in LIBRARIES.items()}),
    }
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new, value = renamed[name]
    warnings.warn(f"{__name__}.{name} is now {new}; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
    return value
