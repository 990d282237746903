"""The stream that all visitors share: its frames, its settings, and what is told of each frame."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from demos.play.defense import Attack, Defense, Outcome
from demos.play.player import Player
from demos.site import messages
from demos.site.channel import Channel
from demos.site.meters import Meters
from demos.site.tuning import Tuning
from demos.site.unending import Unending
from puvae_rt.video.frames import Frame

STALE_SECONDS = 10.0  # without a frame, after which the server is not ready
_NEVER = float("-inf")


class Stage:
    """Stands between the player, in its thread, and the channel to the visitors.

    Args:
        player: it tells this one of every frame.
        defense: what the settings act on.
        attack: it is made once; the settings choose its name and epsilon, or take it away.
        source: where frames come from.
        meters: they count every frame.

    Attributes:
        channel: what visitors look at.
        tuning: the settings; a new one counts from the next frame on.
        paused_frames: frames that went by while it was paused.
    """

    def __init__(self, player: Player, defense: Defense, attack: Attack, source: Unending, meters: Meters) -> None:
        self.channel, self.tuning, self.paused_frames = Channel(), Tuning.of(defense, attack), 0
        self._player, self._defense, self._attack, self._source = player, defense, attack, source
        self._meters, self._applied, self._latest = meters, self.tuning, _NEVER
        player.watch(self._tell)

    @property
    def ready(self) -> bool:
        """Whether frames come."""
        return time.monotonic() - self._latest < STALE_SECONDS

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """`frames`, each with the settings of its moment; those of a pause are left out."""
        for frame in frames:
            self._latest = time.monotonic()
            if (tuning := self.tuning) is not self._applied:
                tuning.apply(self._defense, self._attack)
                self._applied = tuning
            if tuning.paused:
                self.paused_frames += 1
            else:
                yield frame

    def tune(self, tuning: Tuning) -> None:
        """Sets what a visitor has chosen, for all; those who look at a stream that is paused are told at once."""
        self.tuning = tuning
        self.channel.publish(messages.packed(self.status()))

    def about(self) -> dict[str, Any]:
        """What a page has to know before the first frame."""
        purifier, detector = self._defense.purifier, self._defense.detector
        return {
            "model": purifier.name,
            "classes": list(purifier.classes),
            "shape": list(purifier.contract.shape),
            "source": self._source.name,
            "slo_ms": self._player.report.meter.slo_ms,
            "threshold": None if detector is None else detector.threshold,
            "race": self._player.race is not None,
            "tuning": self.tuning,
        }

    def status(self) -> dict[str, Any]:
        """How the stream is, without a frame."""
        return {"tuning": self.tuning, "source_error": self._source.error or None, "ready": self.ready}

    def _tell(self, frame: Frame, outcome: Outcome | None, age_ms: float) -> None:
        self._meters.frame(outcome, age_ms, self._player.report.meter, self._source.dropped)
        if not self.channel.watched:
            return
        report, race, classes = self._player.report, self._player.race, self._defense.purifier.classes
        told = self.status() | messages.seen(frame.image, self._player.digit, outcome, classes)
        told |= {
            "truth": None if frame.truth is None else frame.truth.label,
            "age_ms": age_ms,
            "ages": report.meter.ages.summary(recent=True),
            "missed": report.meter.missed,
            "accuracy": report.accuracy(),
            "counts": {
                "frames": report.frames,
                "judged": report.judged,
                "dropped": self._source.dropped,
                "degraded": report.degraded,
                "without_digit": report.without_digit,
                "fps": report.fps(),
            },
            "race": None if race is None else messages.race(race, classes),
        }
        self.channel.publish(messages.packed(told, messages.picture(frame.image)))
