"""What TensorRT-RTX compiles for the GPU at hand while it runs, kept in the user's cache from process to process."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any

from puvae_rt.gpu.tensorrt.log import Log
from puvae_rt.kernels import stored
from puvae_rt.user_cache import cache_folder

logger = logging.getLogger(__name__)


def path_for(plan: bytes, version: str, gpu: str) -> Path | None:
    """Where the kernels of an engine lie; None where there is no cache.

    Args:
        plan: the serialized engine.
        version: of TensorRT-RTX.
        gpu: its name.
    """
    folder = cache_folder("kernels")
    key = hashlib.sha256(b"\0".join((version.encode(), gpu.encode(), plan))).hexdigest()[:24]
    return folder and folder / f"rtx-{key}.bin"


class RuntimeCache:
    """One engine's kernels, shared by its execution contexts.

    TensorRT-RTX itself refuses those of another release, GPU or driver, and compiles anew.

    Args:
        runtime_config: any runtime configuration of the engine.
        log: of the engine.
        path: as of `path_for`; None keeps them for this process alone.
    """

    def __init__(self, runtime_config: Any, log: Log, path: Path | None) -> None:
        self._runtime_cache = log.require("create_runtime_cache", runtime_config.create_runtime_cache())
        self._log, self._path, self._lock = log, path, threading.Lock()
        self._kept = path and stored.load(path)
        if self._kept and not self._runtime_cache.deserialize(self._kept):
            logger.info("kernels in %s are for another GPU, driver or release: compiled anew", path)

    def attach(self, runtime_config: Any) -> None:
        """Makes a context of this configuration take its kernels from here, and leave new ones."""
        self._log.require_ok("set_runtime_cache", runtime_config.set_runtime_cache(self._runtime_cache))

    def keep(self) -> None:
        """Writes the kernels where the next process finds them, if there are new ones."""
        if self._path is None:
            return
        with self._lock:
            kernels = bytes(self._log.require("IRuntimeCache.serialize", self._runtime_cache.serialize()))
            if kernels != self._kept:
                stored.store(self._path, kernels)
                self._kept = kernels
