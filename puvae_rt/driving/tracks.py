"""Signs followed from frame to frame by the overlap of their boxes, and a label that all frames of a track vote for.

Detections in order of their overlap with a track's last box: what the association of SORT (Bewley et al. 2016) comes to
where the camera takes 25 frames a second and nothing moves far. There is no model of the motion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from puvae_rt.contract import NO_LABEL
from puvae_rt.driving.proposals import overlap
from puvae_rt.errors import ContractError
from puvae_rt.video.frames import Box

LEAST_OVERLAP = 0.3
MISSING = 5  # frames that a track outlives without a box
VOTES = 15  # latest labels that count
STEADY_VOTES, STEADY_SHARE = 5, 0.8


@dataclass
class Track:
    """One sign over time.

    Attributes:
        number: counts tracks from 1.
        box: its last one.
        missing: frames since then.
    """

    number: int
    box: Box
    missing: int = 0
    _labels: list[int] = field(default_factory=list)

    @property
    def label(self) -> int:
        """What most of its latest labels say, the latest of them on a tie; -1 before the first."""
        counts = Counter(self._labels)
        return max(reversed(self._labels), key=lambda label: counts[label], default=NO_LABEL)

    @property
    def steady(self) -> bool:
        """Whether at least `STEADY_VOTES` labels were counted, and `STEADY_SHARE` of them agree."""
        return len(self._labels) >= STEADY_VOTES and self._labels.count(self.label) >= STEADY_SHARE * len(self._labels)

    def vote(self, label: int) -> int:
        """Counts one more label, unless it is -1; the label that leads now."""
        if label != NO_LABEL:
            self._labels = [*self._labels[1 - VOTES :], label]
        return self.label


class Tracker:
    """Gives every box of a frame the track that it continues, or a new one.

    Attributes:
        tracks: those alive.
        started: how many there have been.
    """

    def __init__(self, least_overlap: float = LEAST_OVERLAP, missing: int = MISSING) -> None:
        if not 0 < least_overlap <= 1 or missing < 0:
            raise ContractError(
                f"least_overlap={least_overlap:g}, missing={missing}: expected above 0 up to 1, and at least 0"
            )
        self.tracks: list[Track] = []
        self.started = 0
        self._least, self._missing = least_overlap, missing

    def __call__(self, boxes: Sequence[Box]) -> list[Track]:
        """The track of each box of the next frame, in their order; no two boxes share one."""
        pairs = [(overlap(track.box, box), i, j) for i, track in enumerate(self.tracks) for j, box in enumerate(boxes)]
        taken: dict[int, Track] = {}
        used: set[int] = set()
        for share, i, j in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= self._least and i not in used and j not in taken:
                used.add(i)
                taken[j] = self.tracks[i]
        for track in self.tracks:
            track.missing += 1
        for j, box in enumerate(boxes):
            if j not in taken:
                self.started += 1
                taken[j] = Track(self.started, box)
                self.tracks.append(taken[j])
            taken[j].box, taken[j].missing = box, 0
        self.tracks = [track for track in self.tracks if track.missing <= self._missing]
        return [taken[j] for j in range(len(boxes))]
