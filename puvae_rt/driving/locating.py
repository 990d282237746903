"""Where the signs of a frame are: as annotated, where somebody annotated it, and else as proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from puvae_rt.driving.annotations import Sign
from puvae_rt.driving.clip import DriveBy
from puvae_rt.driving.proposals import overlap, propose
from puvae_rt.errors import ContractError
from puvae_rt.video.frames import Frame

AUTO, PROPOSALS = "auto", "proposals"
REGIONS = (AUTO, PROPOSALS)
SAME = 0.5  # intersection over union from which on a proposal is the annotated sign


class Locator:
    """Finds the signs of frames, and counts how well proposals do where the truth is known.

    Args:
        regions: "auto" takes annotations where there are any, "proposals" takes them for the truth alone.
        scenes: signs by the name of the image, as `annotations.read_signs` gives them.
        clip: whose frames come.
    """

    def __init__(
        self, regions: str = AUTO, scenes: Mapping[str, Sequence[Sign]] | None = None, clip: DriveBy | None = None
    ) -> None:
        if regions not in REGIONS:
            raise ContractError(f"regions {regions!r}: expected one of {', '.join(REGIONS)}")
        self._regions, self._scenes, self._clip = regions, scenes or {}, clip
        self._annotated = self._found = self._proposed = self._frames = 0

    def __call__(self, frame: Frame) -> tuple[Sign, ...]:
        """The signs of a frame; the class of a proposal is None where no annotated sign lies there."""
        truth = self._truth(frame)
        if truth is not None and self._regions == AUTO:
            return tuple(truth)
        boxes = propose(frame.image)
        self._proposed, self._frames = self._proposed + len(boxes), self._frames + 1
        if truth is None:
            return tuple(Sign(None, box) for box in boxes)
        self._annotated += len(truth)
        self._found += sum(any(overlap(box, sign.box) >= SAME for box in boxes) for sign in truth)
        return tuple(Sign(_label(box, truth), box) for box in boxes)

    def still(self, frame: Frame) -> bool:
        """Whether the frame is a scene by itself, that continues no other."""
        return frame.name in self._scenes

    def document(self) -> dict[str, Any] | None:
        """How many signs were proposed, and which share of the annotated ones; None where none was."""
        if not self._frames:
            return None
        recall = self._found / self._annotated if self._annotated else None
        counts = {"annotated": self._annotated, "found": self._found, "recall": recall}
        return counts | {"per_frame": self._proposed / self._frames}

    def _truth(self, frame: Frame) -> Sequence[Sign] | None:
        return self._scenes.get(frame.name) if self._clip is None else self._clip.signs_on(frame)


def _label(box: tuple[int, int, int, int], truth: Sequence[Sign]) -> int | None:
    """The class of the annotated sign that a proposal shows."""
    best = max(truth, key=lambda sign: overlap(box, sign.box), default=None)
    return best.label if best is not None and overlap(box, best.box) >= SAME else None
