"""Target native: libpuvae on the CPU, and ONNX Runtime where the library is not to be had."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from puvae_rt.contract import ENGINE_ONNX_FILE, ENGINE_PUVAE_FILE, NO_LABEL, ImageContract
from puvae_rt.errors import BuildError, BundleError, ClosedError, TargetUnavailableError
from puvae_rt.files import sha256_of
from puvae_rt.models.weights import WEIGHTS_SUFFIX, load_weights
from puvae_rt.native import library
from puvae_rt.native.binding import NativeContext, NativeModel, Outcome
from puvae_rt.runtime import cache, fork
from puvae_rt.runtime.bundle import CPU, Source
from puvae_rt.runtime.cpu import side_by_side
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import Classified, Floats, Purified
from puvae_rt.version import __version__

logger = logging.getLogger(__name__)

FILE_FORMAT = 1  # a cached file is written anew when it changes


class NativeEngine:
    """An engine.puvae in libpuvae; calls under way at once have a context each.

    Args:
        model: the open file.
        contract: the images' shape, which the file has to have.
        classes: K.
        at_once: images of a batch that are computed side by side, each on one thread.
        classifies: whether the file's classifier labels the frames.
    Raises:
        BundleError: the file is of another model.
    """

    takes_noise = False

    def __init__(
        self, model: NativeModel, contract: ImageContract, classes: int, at_once: int = 1, classifies: bool = False
    ) -> None:
        info = model.info
        got, expected = (info.channels, info.height, info.width, info.classes), (*contract.shape, classes)
        if got != expected:
            raise BundleError(f"{ENGINE_PUVAE_FILE}: images and classes {got}, expected {expected}; rebuild the bundle")
        self.classifies = classifies and bool(info.has_classifier)
        self._model, self._at_once, self._closed = model, at_once, False
        self._idle: list[NativeContext] = []
        self._lock = threading.Lock()
        fork.register(self)

    @property
    def obstacles(self) -> dict[str, str]:
        """Nothing: a CPU replays no CUDA graphs."""
        return {}

    def run(self, images: Floats, noise: Floats | None = None) -> Purified:
        """The closest projections of images [N,C,H,W]."""
        return Purified.join(side_by_side(self._run_one, [(image,) for image in images], self._at_once))

    def run_frame(self, frame: Bytes, roi: Roi) -> Classified:
        """One region of a checked frame, BGR or gray."""
        with self._context() as context:
            outcome = context.run(frame, roi)
        return Classified(_purified(outcome), np.array([outcome.label], np.int64))

    def close(self) -> None:
        """Frees the weights and contexts, once the calls under way are through."""
        with self._lock:
            self._closed, self._idle = True, []
        self._model.close()

    def after_fork(self) -> None:
        """In a child: a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def _run_one(self, image: Floats) -> Purified:
        with self._context() as context:
            return _purified(context.run_image(image))

    @contextmanager
    def _context(self) -> Iterator[NativeContext]:
        """A context that no other call uses: one that is idle, or a new one."""
        with self._lock:
            if self._closed:
                raise ClosedError("the native engine is closed; load it again")
            context = self._idle.pop() if self._idle else self._model.context()
        try:
            yield context
        finally:
            with self._lock:
                if not self._closed:
                    self._idle.append(context)


def _purified(outcome: Outcome) -> Purified:
    projected = np.array([outcome.projected if outcome.projected >= 0 else NO_LABEL], np.int64)
    return Purified(outcome.image[None], projected, outcome.rmse[None], outcome.score[None])


def open_native(source: Source, at_once: int) -> NativeEngine | None:
    """The engine of a source for target native; None where there is no libpuvae, which is logged once.

    Args:
        source: a bundle's engine.puvae, or weights, from which one is made and cached.
        at_once: images of a batch side by side.
    Raises:
        BundleError: the file is damaged, or of another model.
    """
    try:
        loaded = library.load()
    except (TargetUnavailableError, BuildError) as error:
        _warn_once(str(error))
        return None
    in_bundle = source.engine.suffix != WEIGHTS_SUFFIX
    own = not in_bundle or (source.classifier is not None and source.classifier.parent == source.engine.parent)

    def engine(file: Path | bytes) -> NativeEngine:
        classifies = own and source.classifier is not None
        return NativeEngine(NativeModel(loaded, file), source.contract, len(source.classes), at_once, classifies)

    if in_bundle:
        return engine(source.engine)
    cached = cache.open_cached(
        f"{source.name}-{source.target}",
        _identity(source),
        lambda new: (new / ENGINE_PUVAE_FILE).write_bytes(_engine_file(source)),
        lambda folder: engine(folder / ENGINE_PUVAE_FILE),
    )
    return cached or engine(_engine_file(source))


def stand_in(source: Source) -> Source:
    """The same source for ONNX Runtime: a bundle's engine.onnx, or the weights themselves."""
    if source.engine.suffix == WEIGHTS_SUFFIX:
        return replace(source, target=CPU)
    graph = source.engine.with_name(ENGINE_ONNX_FILE)
    return replace(source, target=CPU, engine=graph, sha256=sha256_of(graph))


@functools.cache
def _warn_once(reason: str) -> None:
    logger.warning("target native runs in ONNX Runtime: %s", reason)


def _identity(source: Source) -> cache.Identity:
    return {
        "source_sha256": source.sha256,
        "classifier_sha256": sha256_of(source.classifier) if source.classifier else "none",
        "target": source.target,
        "format": FILE_FORMAT,
        "puvae_rt": __version__,
        "prior": source.choice.prior,
        "shortlist": source.choice.shortlist or 0,
    }


def _engine_file(source: Source) -> bytes:
    """engine.puvae of the source's weights, with its classifier where libpuvae can run it."""
    from puvae_rt.native.classifier import ForeignClassifierError, native_classifier  # import onnx
    from puvae_rt.native.engine_file import engine_file
    from puvae_rt.onnx_io import read_onnx

    weights = load_weights(source.engine, source.choice.with_prior, source.choice.shortlist)
    classifier = None
    if source.classifier is not None:
        try:
            classifier = native_classifier(read_onnx(source.classifier, error=BundleError, one_file=False))
        except ForeignClassifierError as error:
            logger.info("%s: %s", source.classifier, error)
    return engine_file(weights, classifier)
