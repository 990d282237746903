"""A demo's recording: frames as they came, and what was made of them."""

from __future__ import annotations

from typing import Any

from demos.play.defense import Outcome
from puvae_rt.stream.flight import FlightRecorder
from puvae_rt.video.frames import Frame
from puvae_rt.video.recording import Recorder


class Alarms(FlightRecorder):
    """A flight recorder that is called with each frame, what came of it, and its age; it counts the alarms."""

    frames = 0

    def __call__(self, frame: Frame, outcome: Outcome | None, age_ms: float) -> None:
        """An attacked or degraded frame is an alarm."""
        alarm = outcome is not None and (outcome.alarm or outcome.degraded)
        self.frames += alarm
        self.add(frame, note_of(outcome, age_ms), alarm)

    def __enter__(self) -> Alarms:
        return self

    def document(self) -> dict[str, Any]:
        """For the demo's JSON."""
        return {"frames": self.frames, "written": self.written, "skipped": self.skipped, "error": self.error}


class Recording(Recorder):
    """A recorder that is called with each frame, what came of it, and its age."""

    def __call__(self, frame: Frame, outcome: Outcome | None, age_ms: float) -> None:
        """Writes them; VideoError as of the recorder."""
        self.write(frame, note_of(outcome, age_ms))

    def __enter__(self) -> Recording:
        return self


def note_of(outcome: Outcome | None, age_ms: float) -> dict[str, Any]:
    """What is known of a frame, for JSON."""
    if outcome is None:
        return {"age_ms": age_ms, "found": False}
    attacked = None if outcome.attacked is None else outcome.attacked.label
    return {
        "age_ms": age_ms,
        "found": True,
        "label": outcome.purified.label,
        "before": {"clean": outcome.clean.label, "attacked": attacked},
        "chosen": outcome.chosen,
        "degraded": outcome.degraded,
        "reason": outcome.reason,
        "shown": outcome.shown,
        "suspicion": outcome.suspicion,
        "alarm": outcome.alarm,
    }
