"""TensorRT and TensorRT-RTX: the table of both, their log, and engines built, loaded and run.

Only names that exist in TensorRT 8.5, 8.6, 10.3 to 11 and in TensorRT-RTX are used (tests/contracts holds that), except
what is asked for by `hasattr`, and in files for one of them alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from puvae_rt._lazy import lazily
from puvae_rt._moved import renamed
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

if TYPE_CHECKING:
    from puvae_rt.gpu.tensorrt.build import SerializedEngine, build_plan

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

_OLD = {"Plan": "SerializedEngine", "load_module": "load", "MODULES": f"{__name__}.library:MODULES"}
_BUILD = f"{__name__}.build"  # reads ONNX files, whose package is slow to import
__getattr__ = lazily(__name__, {"SerializedEngine": _BUILD, "build_plan": _BUILD}, renamed(__name__, _OLD))
