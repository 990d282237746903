"""What the node does, without ROS: settings, one picture, and its numbers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from puvae_rt.errors import ContractError, InputError, PuvaeError
from puvae_rt.runtime.preprocess import Roi
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.runtime.results import Result
from puvae_rt.video.frames import Pixels


@dataclass(frozen=True)
class CoreSettings:
    """What may change while pictures come.

    Attributes:
        regions: x, y, width, height of each region in turn; none is the whole picture.
        deadline_ms: age that a label may have; an older picture is not purified. 0 is none.
    Raises:
        ContractError: numbers that are no such settings.
    """

    regions: tuple[int, ...] = ()
    deadline_ms: float = 0.0

    def __post_init__(self) -> None:
        if len(self.regions) % 4 or any(side < 1 for at in (2, 3) for side in self.regions[at::4]):
            raise ContractError(
                f"regions: got {list(self.regions)}, expected x, y, width, height of each, the sides above 0"
            )
        if not 0 <= self.deadline_ms < float("inf"):
            raise ContractError(f"deadline_ms: got {self.deadline_ms}, expected a number from 0 (none) up")

    @property
    def rois(self) -> list[Roi | None]:
        """The regions one by one; [None], the whole picture, without any."""
        numbers = self.regions
        return [(x, y, w, h) for x, y, w, h in zip(*(numbers[at::4] for at in range(4)), strict=True)] or [None]


@dataclass(frozen=True)
class Answered:
    """One region: its result, or why there is none."""

    roi: Roi | None
    result: Result | None
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """One picture.

    Attributes:
        regions: in the order asked for; empty when the picture was late from the start.
        late: older than the deadline, before or after the work.
        processing_ms: of the work alone.
        age_ms: from the header's stamp to the label.
    """

    regions: tuple[Answered, ...]
    late: bool
    processing_ms: float
    age_ms: float

    def told(self, classes: Sequence[str]) -> dict[str, Any]:
        """For JSON: {late, age_ms, regions: [{roi, label, name, projected, rmse, score, degraded, error}]}."""
        regions = [_told(region, classes) for region in self.regions]
        return {"late": self.late, "age_ms": round(self.age_ms, 3), "regions": regions}


def _told(region: Answered, classes: Sequence[str]) -> dict[str, Any]:
    result, roi = region.result, None if region.roi is None else list(region.roi)
    if result is None or result.degraded:
        return {"roi": roi, "label": -1, "degraded": True} | ({"error": region.error} if region.error else {})
    return {
        "roi": roi,
        "label": result.label,
        "name": classes[result.label],
        "projected": result.projected,
        "rmse": float(np.nanmin(result.rmse)),
        "score": float(result.score[result.projected]),
        "degraded": False,
    }


@dataclass
class Core:
    """Purifies pictures one after another, from one thread.

    Attributes:
        purifier: stays the caller's to close.
        settings: may be replaced at any time.
        counts: pictures by what became of them: "purified", "late", "broken", and regions "degraded", "refused".
    """

    purifier: Purifier
    settings: CoreSettings = CoreSettings()
    counts: Counter[str] = field(default_factory=Counter)

    def change(self, **changes: Any) -> None:
        """Replaces some of the settings; ContractError, and nothing changes, for what they may not be."""
        self.settings = replace(self.settings, **changes)

    def __call__(self, decode: Callable[[], Pixels], age_ms: float, rois: Sequence[Roi | None] | None = None) -> Answer:
        """The answer to a picture.

        Args:
            decode: gives the picture; it is called when the picture is not late already.
            age_ms: how old it is by now.
            rois: in place of the settings' regions.
        Raises:
            InputError: it is broken; counted.
        """
        settings, started = self.settings, time.monotonic()
        if self._late(age_ms, settings):
            self.counts["late"] += 1
            return Answer((), True, 0.0, age_ms)
        try:
            pixels = decode()
        except InputError:
            self.counts["broken"] += 1
            raise
        regions = tuple(self._region(pixels, roi) for roi in (settings.rois if rois is None else rois))
        processing_ms = (time.monotonic() - started) * 1e3
        late = self._late(age_ms + processing_ms, settings)
        self.counts["late" if late else "purified"] += 1
        return Answer(regions, late, processing_ms, age_ms + processing_ms)

    def _region(self, pixels: Pixels, roi: Roi | None) -> Answered:
        try:
            result = self.purifier(pixels, roi)
        except PuvaeError as error:
            self.counts["refused"] += 1
            return Answered(roi, None, str(error))
        if result.degraded:
            self.counts["degraded"] += 1
        return Answered(roi, result)

    @staticmethod
    def _late(age_ms: float, settings: CoreSettings) -> bool:
        return 0 < settings.deadline_ms < age_ms


class Pairing:
    """The newest picture and the newest detections, given back together once their stamps are equal."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[Any, Any]] = {}

    def add(self, kind: str, stamp: Any, message: Any, other: str) -> Any | None:
        """The newest message of kind `other` when it has the same stamp; else None, and `message` waits for it."""
        self._newest[kind] = (stamp, message)
        found = self._newest.get(other)
        if found is None or found[0] != stamp:
            return None
        self._newest.clear()
        return found[1]


def rois_of(detections: Any) -> list[Roi]:
    """The boxes of a vision_msgs/Detection2DArray, rounded outwards; those that are empty or NaN are left out."""
    rois: list[Roi] = []
    for detection in detections.detections:
        center, box = detection.bbox.center.position, detection.bbox
        numbers = np.array([center.x, center.y, box.size_x, box.size_y])
        if not np.isfinite(numbers).all() or numbers[2:].min() < 1 or np.abs(numbers).max() > 1 << 20:
            continue
        x, y = np.floor(numbers[:2] - numbers[2:] / 2).astype(int)
        right, bottom = np.ceil(numbers[:2] + numbers[2:] / 2).astype(int)
        rois.append((int(x), int(y), int(right - x), int(bottom - y)))
    return rois
