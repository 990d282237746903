"""Several cameras on one engine: what is there goes through it in one batch, nobody is left out, nothing piles up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from puvae_rt.errors import ContractError, PuvaeError
from puvae_rt.runtime.preprocess import Roi, as_input
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.runtime.results import NO_LABEL, Floats
from puvae_rt.video.frames import Frame
from puvae_rt.video.source import VideoSource

MOST = 8  # images of one batch
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Seen:
    """A frame of one camera with its answer.

    Attributes:
        camera: its name among the sources.
        batch: images that went through the engine together.
        age_ms: from the frame's stamp, or from when it was taken over, up to its label.
    """

    camera: str
    frame: Frame
    image: Floats
    label: int
    projected: int
    rmse: Floats
    batch: int
    age_ms: float


class Cameras:
    """Frames of several sources, purified as they come.

    Each source is read in a thread of its own that keeps its newest frame alone. A batch takes one frame of each camera
    that has one, up to `most`, and begins behind the camera that was served last: so a camera is passed over by no more
    batches than there are cameras for `most` places.

    Args:
        sources: by name; they are closed with this one.
        purifier: it stays the caller's to close.
        region: where to look on a frame of a camera; None is the whole frame.
        most: images of one batch.

    Attributes:
        dropped: frames by camera that went by unseen here (a source may have dropped others before).
        errors: what ended a camera; the others go on.
    """

    def __init__(
        self,
        sources: Mapping[str, VideoSource],
        purifier: Purifier,
        region: Callable[[str, Frame], Roi | None] = lambda camera, frame: None,
        most: int = MOST,
    ) -> None:
        if not sources or most < 1:
            raise ContractError(f"got {len(sources)} cameras and batches of {most}, expected at least one of both")
        self.dropped = dict.fromkeys(sources, 0)
        self.errors: dict[str, Exception] = {}
        self._sources, self._purifier, self._region, self._most = dict(sources), purifier, region, most
        self._order = list(sources)
        self._waiting: dict[str, tuple[Frame, float]] = {}
        self._changed, self._closing = threading.Condition(), False
        self._threads = {
            name: threading.Thread(target=self._read, args=(name,), name=f"camera {name}", daemon=True)
            for name in sources
        }
        self._going = set(sources)
        for thread in self._threads.values():
            thread.start()

    def __iter__(self) -> Iterator[Seen]:
        """Answers, batch by batch, until every camera has ended."""
        while taken := self._take():
            yield from self._purify(taken)

    def close(self) -> None:
        """Closes the sources."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for source in self._sources.values():
            source.close()
        for thread in self._threads.values():
            thread.join(_CLOSE_SECONDS)

    def __enter__(self) -> Cameras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, name: str) -> None:
        try:
            for frame in self._sources[name]:
                with self._changed:
                    if self._closing:
                        return
                    self.dropped[name] += name in self._waiting
                    self._waiting[name] = frame, time.monotonic()
                    self._changed.notify_all()
        except PuvaeError as error:
            self.errors[name] = error
        finally:
            with self._changed:
                self._going.discard(name)
                self._changed.notify_all()

    def _take(self) -> list[tuple[str, Frame, float]]:
        """Up to `most` waiting frames, from the camera behind the last one on; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or not self._going or self._closing)
            if self._closing:
                return []
            ready = [name for name in self._order if name in self._waiting][: self._most]
            if ready:
                last = self._order.index(ready[-1]) + 1
                self._order = self._order[last:] + self._order[:last]
            return [(name, *self._waiting.pop(name)) for name in ready]

    def _purify(self, taken: list[tuple[str, Frame, float]]) -> list[Seen]:
        contract = self._purifier.contract
        inputs = [as_input(frame.image, self._region(name, frame), contract) for name, frame, _ in taken]
        purified = self._purifier.purify(np.concatenate(inputs))
        labels = purified.projected
        if self._purifier.classifier is not None:
            good = purified.projected != NO_LABEL
            labels = np.where(good, self._purifier.classifier.labels(np.nan_to_num(purified.images)), NO_LABEL)
        now = time.monotonic()
        return [
            Seen(
                camera=name,
                frame=frame,
                image=purified.images[index],
                label=int(labels[index]),
                projected=int(purified.projected[index]),
                rmse=purified.rmse[index],
                batch=len(taken),
                age_ms=1e3 * (now - (at if frame.captured is None else frame.captured)),
            )
            for index, (name, frame, at) in enumerate(taken)
        ]
