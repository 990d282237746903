"""What a demo counts while it runs, and says at its end."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demos.play.defense import Outcome
from puvae_rt._moved import renamed
from puvae_rt.runtime.latency import PERCENTILES, Summary
from puvae_rt.stream.ages import AgeMeter, Percentiles
from puvae_rt.stream.guard import NAN

# What stands between a frame and its purified label; attack, drawing and writing belong to the demo.
DEFENSE_STAGES = ("find", "purify", "classify")
VERSIONS = ("clean", "attacked", "purified")


@dataclass
class Report:
    """Counters and latencies; the percentiles are of every frame, the memory is bounded."""

    frames: int = 0
    without_digit: int = 0
    degraded: int = 0
    judged: int = 0  # frames with a digit and its truth: what the accuracies are shares of
    _right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERSIONS, 0))
    _attacked: bool = False
    meter: AgeMeter = field(default_factory=AgeMeter)  # of frames up to their label
    degraded_by: Counter[str] = field(default_factory=Counter)
    not_replayed: int | None = None  # frames whose work a GPU was told step by step; None on a CPU
    _stages: dict[str, Percentiles] = field(default_factory=lambda: defaultdict(Percentiles))
    _defense: Percentiles = field(default_factory=Percentiles)
    _started: float = field(default_factory=time.perf_counter)

    def add(self, outcome: Outcome | None, truth: int | None) -> None:
        """One frame; `outcome` is None when no digit was found on it."""
        self.frames += 1
        if outcome is None:
            self.without_digit += 1
            return
        self.degraded += outcome.degraded
        if outcome.degraded:
            self.degraded_by[outcome.reason or NAN] += 1
        if outcome.replayed is not None:
            self.not_replayed = (self.not_replayed or 0) + (not outcome.replayed)
        if truth is None:
            return
        self.judged += 1
        self._attacked |= outcome.attacked is not None
        seen = {"clean": outcome.clean, "attacked": outcome.attacked, "purified": outcome.purified}
        for version, stage in seen.items():
            self._right[version] += stage is not None and stage.label == truth

    def time(self, timings_ms: Mapping[str, float]) -> None:
        """The laps of one frame."""
        for stage, milliseconds in timings_ms.items():
            if stage != "total":
                self._stages[stage].add(milliseconds)
        if "purify" in timings_ms:
            self._defense.add(sum(timings_ms[stage] for stage in DEFENSE_STAGES))

    def fps(self) -> float:
        """Frames per second since the report began."""
        return self.frames / max(time.perf_counter() - self._started, 1e-9)

    def accuracy(self) -> dict[str, float | None]:
        """Share of the judged frames; None without ground truth, and for `attacked` without an attack."""
        measured = {version: self.judged > 0 and (version != "attacked" or self._attacked) for version in VERSIONS}
        return {v: self._right[v] / self.judged if measured[v] else None for v in VERSIONS}

    def stages_ms(self, recent: bool = False) -> dict[str, Summary]:
        """Latencies of each stage: of every frame, or of the last `RECENT`."""
        return {stage: values.summary(recent) for stage, values in self._stages.items()}

    def latency_ms(self, recent: bool = False) -> Summary:
        """From a frame in memory to its purified label: `DEFENSE_STAGES` on frames with a digit."""
        return self._defense.summary(recent)

    def document(self, dropped: int) -> dict[str, Any]:
        """The demo's JSON."""
        return {
            "frames": self.frames,
            "fps": round(self.fps(), 3),
            "accuracy": self.accuracy(),
            "latency_ms": self.latency_ms(),
            "dropped": dropped,
            "degraded": self.degraded,
            "without_digit": self.without_digit,
            "judged": self.judged,
            "stages_ms": self.stages_ms(),
            "degraded_by": dict(self.degraded_by),
            "not_replayed": self.not_replayed,
            **self.meter.document(dropped),
        }


def table(document: Mapping[str, Any]) -> str:
    """The end of a demo, as text."""
    rows = {**document["stages_ms"], "frame to label": document["latency_ms"], "age at label": document["age_ms"]}
    lines = [f"{'latency, ms':<16}" + "".join(f"{name.replace('_', '.'):>9}" for name in PERCENTILES)]
    lines += [f"{name:<16}" + "".join(f"{_milliseconds(row[p]):>9}" for p in PERCENTILES) for name, row in rows.items()]
    accuracy = "  ".join(f"{name} {percent(share)}" for name, share in document["accuracy"].items())
    counts = "  ".join(f"{key.replace('_', ' ')} {document[key]}" for key in ("dropped", "degraded", "without_digit"))
    lines += [
        "",
        f"accuracy          {accuracy}  ({document['judged']} frames with ground truth)",
        f"frames            {document['frames']} at {document['fps']:.1f} per second  {counts}",
    ]
    if (slo := document["slo"]) is not None:
        late = f"{slo['missed']} late and {document['dropped']} dropped of {document['frames'] + document['dropped']}"
        lines.append(f"deadline          {slo['ms']:g} ms {'kept' if slo['kept'] else 'missed'}: {late} frames")
    return "\n".join(lines)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share in percent with one digit, or a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}%"


__getattr__ = renamed(__name__, {"DEFENCE_STAGES": "DEFENSE_STAGES"})
