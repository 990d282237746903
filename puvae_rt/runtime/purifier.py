"""The purifier: what stands between a camera and a classifier."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ClosedError, ContractError, InputError
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime import fork
from puvae_rt.runtime.arguments import MODEL_PRIOR, Choice, checked_seed
from puvae_rt.runtime.bundle import Source, resolve
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.engine import Engine, FrameEngine, open_engine
from puvae_rt.runtime.machine import DEFAULT_THREADS
from puvae_rt.runtime.preprocess import Roi, as_batch, as_input, as_noise, checked_frame
from puvae_rt.runtime.results import NO_LABEL, Floats, Ints, Purified, Result
from puvae_rt.runtime.threads import check_threads, plan_threads

if TYPE_CHECKING:
    from puvae_rt.device import Device


class Purifier:
    """Projects images on the manifold of each class and keeps the closest projection.

    One purifier may be used from several threads at once; `close()` waits for nobody, calls under way finish. It cannot
    be pickled: load one in each worker process. In a worker that was forked after the load it works too (on the CPU),
    and opens the model anew at its first call there.

    Attributes:
        name, classes, contract: the model's name, class names, and image shape.
        classifier: the classifier that labels purified frames, or None.
        threads: of the CPU engine, for one frame: those asked for, or with "auto" those that were found best.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        contract: ImageContract,
        classes: tuple[str, ...],
        classifier: Classifier | None = None,
        seed: int | None = None,
        threads: int = DEFAULT_THREADS,
    ) -> None:
        self.name, self.contract, self.classes, self.classifier = name, contract, classes, classifier
        self.threads = threads
        self._engine: Engine | None = engine
        self._takes_frames = isinstance(engine, FrameEngine) and not engine.takes_noise
        self._seed = checked_seed(seed)
        self._random, self._random_lock = np.random.default_rng(self._seed), threading.Lock()
        fork.register(self)

    @classmethod
    def load(
        cls,
        source: str | Path = "mnist",
        target: str | None = None,
        threads: int | str | None = None,
        classifier: bool | str | Path = True,
        seed: int | None = None,
        device: str | Device | None = None,
        prior: str = MODEL_PRIOR,
        shortlist: int | None = None,
    ) -> Purifier:
        """A purifier of a shipped model or a bundle; the engine is built and cached on first use.

        Args:
            source: a shipped model's name, or the folder of a bundle written by `puvae build`.
            target: "cpu", "native", "rtx" or "tensorrt"; None is the bundle's own, and "cpu" for a shipped model.
            threads: of the CPU engine, for one frame. None is 1: the best median and tail on a machine that does other
                things, too. A number that the machine has to spare lowers the median (2 threads: to about half, while
                nothing else runs) and, when something else runs, raises the tail. "auto" measures once for each model
                and machine, about a second at the first load. With None and "auto" a batch of more than 8 images uses
                the processors that affinity and the container's quota leave, up to 16; a number holds for batches too.
                Target native computes a frame on one thread, and that many images of a batch side by side.
            classifier: True loads the source's own, if it has one; False none; otherwise a shipped classifier's
                name ("classifier_b") or an .onnx file with input `image` [N,C,H,W] float32 in [0,1] and output
                `logits` [N,K]; its weights may lie in other files of the same folder.
            seed: of the noise of an engine that samples (sigma > 0), from 0 up; None is unpredictable.
            device: of a GPU target: "cuda" or "pycuda", with the GPU's number as in "cuda:1"; None is the first GPU.
                "emulated" runs the GPU's pipeline on the CPU, to try it without one.
            prior: "none" chooses by distance alone, where the model has a prior. A bundle keeps what it was built with.
            shortlist: how many classes are decoded, those that the prior ranks first; None is the model's own number.
        Raises:
            UnknownModelError: no shipped model is called so.
            BundleError: a bundle or a classifier is damaged, or made for other images or classes.
            QualityError: the bundle did not pass its quality gate.
            ContractError: an argument of the wrong type or out of its range, or another choice than a bundle's.
            TargetUnavailableError, DeviceError, BuildError: a GPU target that this machine cannot run or build.
        """
        check_threads(threads)
        seed, found = checked_seed(seed), resolve(source, target, classifier, device, Choice(prior, shortlist))
        plan = plan_threads(threads, found)
        engine = open_engine(found, plan, device)
        try:
            judge = _classifier(found, plan.frame)
            return cls(engine, found.name, found.contract, found.classes, judge, seed, plan.frame)
        except BaseException:
            engine.close()
            raise

    def purify(self, images: Any, noise: Any = None) -> Purified:
        """The projection of every image that is closest to it.

        Args:
            images: float32 in [0,1] or uint8 in 0..255; [N,C,H,W], [N,H,W,C], or [N,H,W] for one channel; RGB.
            noise: float32 [N,K,32], standard normal, for an engine that samples; drawn from the purifier's own
                generator when absent.
        Raises:
            InputError: another shape, dtype or range, NaN, or an empty batch.
            EngineError: the engine failed, or gave something that is no answer.
            ClosedError: after `close()`.
        """
        engine = self._open_engine()
        batch = as_batch(images, self.contract)
        return engine.run(batch, self._noise(engine, len(batch), noise))

    def __call__(self, frame: Any, roi: Roi | None = None) -> Result:
        """One camera frame: cut, resize, project on every class, choose, classify.

        Args:
            frame: uint8 BGR [H,W,3] or gray [H,W].
            roi: (x, y, width, height) in pixels; may stick out of the frame (its border is repeated).
        Raises:
            InputError: a frame of another type or shape, or a region that does not touch it.
            EngineError, ClosedError: as in `purify`.
        """
        engine, clock = self._open_engine(), Stopwatch()
        if self._takes_frames:
            return self._frame_on_device(cast(FrameEngine, engine), frame, roi, clock)
        image = as_input(frame, roi, self.contract)  # [1,C,H,W]
        clock.lap("preprocess")
        purified = engine.run(image, self._noise(engine, 1))
        clock.lap("purify")
        label = int(self.label(purified)[0])
        clock.lap("classify")
        return _result(purified, label, clock)

    def _frame_on_device(self, engine: FrameEngine, frame: Any, roi: Roi | None, clock: Stopwatch) -> Result:
        """The same where the engine does all of it: the stages are one, timed as "purify"."""
        pixels, region = checked_frame(frame, roi)
        clock.lap("preprocess")
        outcome = engine.run_frame(pixels, region)
        clock.lap("purify")
        label = int(outcome.labels[0]) if engine.classifies else int(self.label(outcome.purified)[0])
        clock.lap("classify")
        return _result(outcome.purified, label, clock, outcome.replayed)

    def label(self, purified: Purified) -> Ints:
        """The classifier's class of each purified image, int64 [N]; without a classifier the projection's class.

        It is -1 where the projection is. Raises EngineError as `purify` does.
        """
        labels = purified.projected.copy()
        known = np.flatnonzero(labels != NO_LABEL)
        if self.classifier is not None and len(known):
            images = purified.images if len(known) == len(labels) else purified.images[known]
            labels[known] = self.classifier.labels(images)
        return labels

    @property
    def obstacles(self) -> dict[str, str]:
        """Kind of call -> why it is not replayed as one CUDA graph; empty where all are or will be, and on a CPU."""
        engine = self._open_engine()
        return engine.obstacles if isinstance(engine, FrameEngine) else {}

    def close(self) -> None:
        """Frees the engine; every later call raises ClosedError. Closing twice is allowed."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Purifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise ContractError(
            f"purifier {self.name!r} cannot be pickled or copied, expected one loaded in the process that uses it; "
            "call Purifier.load in the worker, e.g. in its pool's initializer"
        )

    def after_fork(self) -> None:
        """In a child: its own lock, and without a seed its own noise."""
        state, self._random = self._random.bit_generator.state, np.random.default_rng()
        if self._seed is not None:
            self._random.bit_generator.state = state
        self._random_lock = threading.Lock()

    def _open_engine(self) -> Engine:
        engine = self._engine  # read once: another thread may close meanwhile
        if engine is None:
            raise ClosedError(f"purifier {self.name!r} is closed; load it again with Purifier.load()")
        return engine

    def _noise(self, engine: Engine, count: int, given: Any = None) -> Floats | None:
        """The noise [N,K,32] that an engine with sigma > 0 samples with."""
        if not engine.takes_noise:
            if given is not None:
                raise InputError("noise: got an array, expected None; only a bundle built with --sigma > 0 samples")
            return None
        shape = (count, len(self.classes), LATENT)
        if given is None:
            with self._random_lock:
                return self._random.standard_normal(shape, dtype=np.float32)
        return as_noise(given, shape)


class Stopwatch:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Ends the stage that began with the last lap."""
        now = time.perf_counter()
        self._laps[stage], self._last = (now - self._last) * 1e3, now

    def timings_ms(self) -> dict[str, float]:
        """Each stage in order, and `total`, their sum."""
        return {**self._laps, "total": (self._last - self._start) * 1e3}


def _result(purified: Purified, label: int, clock: Stopwatch, replayed: bool | None = None) -> Result:
    projected = int(purified.projected[0])
    return Result(
        purified.images[0],
        label,
        purified.rmse[0],
        clock.timings_ms(),
        degraded=projected == NO_LABEL,
        projected=projected,
        score=purified.score[0],
        replayed=replayed,
    )


def _classifier(source: Source, threads: int) -> Classifier | None:
    """The source's classifier. What lies in a bundle is one file: the manifest's hash covers no other."""
    if source.classifier is None:
        return None
    in_bundle = source.classifier.parent == source.engine.parent
    return Classifier(source.classifier, source.contract, len(source.classes), threads, one_file=in_bundle)
