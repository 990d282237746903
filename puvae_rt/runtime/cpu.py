"""ONNX Runtime: the CPU target's engine and the classifier behind it.

Sessions may run from many threads at once. Binding pre-allocated outputs was tried and gains 1% on one frame: not
worth its code; the session's arena already keeps every buffer between runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from puvae_rt.contract import IMAGE, LABEL, LOGITS, NOISE, PURIFIED, RMSE, SCORE, ImageContract
from puvae_rt.errors import BundleError
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.results import Floats, Ints, Purified

# Images per run: as fast per image as a batch of 128 and a third of its memory (80 MB instead of 260).
CHUNK = 8
_ERRORS_ONLY = 3  # of ONNX Runtime's log


class OrtEngine:
    """A puvae graph in an ONNX Runtime session: images [N,C,H,W] (and noise [N,K,32]) -> Purified."""

    def __init__(
        self, model: Path | bytes, contract: ImageContract, classes: int, threads: int, *, optimized: bool = False
    ) -> None:
        self._session = open_session(model, threads, optimized=optimized)
        self.takes_noise = NOISE in {tensor.name for tensor in self._session.get_inputs()}
        noise = {NOISE: (classes, LATENT)} if self.takes_noise else {}
        _check_inputs(self._session, {IMAGE: contract.shape, **noise}, model)
        _check_outputs(self._session, {PURIFIED: contract.shape, LABEL: (), RMSE: (classes,), SCORE: (classes,)}, model)

    def run(self, images: Floats, noise: Floats | None = None) -> Purified:
        parts = [
            self._run_chunk(images[i : i + CHUNK], None if noise is None else noise[i : i + CHUNK])
            for i in range(0, len(images), CHUNK)
        ]
        if len(parts) == 1:
            return Purified(*parts[0])
        return Purified(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _run_chunk(self, images: Floats, noise: Floats | None) -> list[Any]:
        feed = {IMAGE: images} if noise is None else {IMAGE: images, NOISE: noise}
        return self._session.run((PURIFIED, LABEL, RMSE, SCORE), feed)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing to do: the session is freed with its last reference, after the calls under way in other threads."""


class Classifier:
    """An image classifier in ONNX: images [N,C,H,W] in [0,1] -> logits [N,K]."""

    def __init__(self, model: Path, contract: ImageContract, classes: int, threads: int) -> None:
        self._session = open_session(model, threads)
        _check_inputs(self._session, {IMAGE: contract.shape}, model)
        _check_outputs(self._session, {LOGITS: (classes,)}, model)

    def logits(self, images: Floats) -> Floats:
        """float32 [N,C,H,W] in [0,1] -> float32 [N,K]."""
        parts = [self._session.run((LOGITS,), {IMAGE: images[i : i + CHUNK]})[0] for i in range(0, len(images), CHUNK)]
        return np.concatenate(parts)

    def labels(self, images: Floats) -> Ints:
        """float32 [N,C,H,W] in [0,1] -> int64 [N]."""
        return np.asarray(self.logits(images).argmax(axis=1), np.int64)


def open_session(
    model: Path | bytes, threads: int, *, optimized: bool = False, save_optimized: Path | None = None
) -> ort.InferenceSession:
    """A CPU session. `optimized`: the file went through the optimiser already (`save_optimized` wrote it)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graph is a chain
    options.log_severity_level = _ERRORS_ONLY
    # Its threads wait for more work by spinning; between two calls they would take the processors from everyone else,
    # the next session of the same pipeline included (the demo: 27 -> 41 frames a second, and no slower alone).
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_optimized is not None:
        options.optimized_model_filepath = str(save_optimized)
    try:
        loaded = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(loaded, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        raise BundleError(
            f"{_named(model)}: ONNX Runtime refuses it ({_first_line(error)}); rebuild the bundle"
        ) from error


def _check_inputs(session: ort.InferenceSession, expected: dict[str, tuple[int, ...]], model: Path | bytes) -> None:
    """Every input is [N, *expected] and there are no others."""
    got = {tensor.name: tensor.shape for tensor in session.get_inputs()}
    if got.keys() != expected.keys() or any(not _fits(got[name], expected[name]) for name in expected):
        raise BundleError(f"{_named(model)}: inputs are {got}, expected [N, ...] of {expected}; rebuild the bundle")


def _check_outputs(session: ort.InferenceSession, expected: dict[str, tuple[int, ...]], model: Path | bytes) -> None:
    got = {tensor.name: tensor.shape for tensor in session.get_outputs()}
    if any(name not in got or not _fits(got[name], expected[name]) for name in expected):
        raise BundleError(f"{_named(model)}: outputs are {got}, expected [N, ...] of {expected}; rebuild the bundle")


def _fits(got: Sequence[int | str | None], expected: tuple[int, ...]) -> bool:
    """The batch axis must be free; an axis the graph leaves symbolic is checked by the first run instead."""
    free_batch = len(got) == len(expected) + 1 and not isinstance(got[0], int)
    return free_batch and all(g == e for g, e in zip(got[1:], expected, strict=False) if isinstance(g, int))


def _named(model: Path | bytes) -> str:
    return "the graph of the shipped weights" if isinstance(model, bytes) else str(model)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
