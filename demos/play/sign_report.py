"""What the driving demo counts while it runs, and says at its end."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demos.play.report import VERSIONS, percent
from puvae_rt.driving.reading import Reading
from puvae_rt.driving.tracks import Track
from puvae_rt.runtime.latency import PERCENTILES
from puvae_rt.stream.ages import AgeMeter, Percentiles

# What stands between a frame and its labels; attack, drawing and writing belong to the demo.
STAGES = ("find", "preprocess", "purify", "classify")


@dataclass
class SignReport:
    """Counters and latencies of frames with any number of signs; memory is bounded."""

    meter: AgeMeter = field(default_factory=AgeMeter)
    frames: int = 0
    signs: int = 0
    judged: int = 0  # signs whose class is known: what the accuracies are shares of
    alarms: int = 0
    degraded_by: Counter[str] = field(default_factory=Counter)
    _right: Counter[str] = field(default_factory=Counter)
    _attacked: bool = False
    _latency: Percentiles = field(default_factory=Percentiles)
    _by_signs: dict[int, Percentiles] = field(default_factory=lambda: defaultdict(Percentiles))
    _stages: dict[str, Percentiles] = field(default_factory=lambda: defaultdict(Percentiles))
    _started: float = field(default_factory=time.perf_counter)

    def add(self, reading: Reading, tracks: Sequence[Track], find_ms: float) -> None:
        """One frame with its signs, and the tracks that they continue."""
        self.frames += 1
        self.signs += len(reading.signs)
        if reading.reason:
            self.degraded_by[reading.reason] += 1
        for seen, track in zip(reading.signs, tracks, strict=True):
            self.alarms += seen.alarm
            if seen.sign.label is None:
                continue
            self.judged += 1
            self._attacked |= seen.attacked is not None
            labels = {"clean": seen.clean, "attacked": seen.attacked, "purified": seen.purified, "tracked": track.label}
            self._right.update(version for version, label in labels.items() if label == seen.sign.label)
        laps = {"find": find_ms, **reading.timings_ms}
        for stage, milliseconds in laps.items():
            if stage != "total":
                self._stages[stage].add(milliseconds)
        if reading.signs:
            whole = sum(laps[stage] for stage in STAGES)
            self._latency.add(whole)
            self._by_signs[len(reading.signs)].add(whole)

    def accuracy(self) -> dict[str, float | None]:
        """Share of the judged signs; None without truth, and for `attacked` without an attack."""
        known = {version: self.judged > 0 and (version != "attacked" or self._attacked) for version in VERSIONS}
        return {version: self._right[version] / self.judged if known[version] else None for version in VERSIONS}

    def document(self, dropped: int) -> dict[str, Any]:
        """The demo's JSON; `latency_by_signs_ms` has frames apart by how many signs were read in one batch."""
        return {
            "frames": self.frames,
            "fps": round(self.frames / max(time.perf_counter() - self._started, 1e-9), 3),
            "accuracy": self.accuracy(),
            "tracked": self._right["tracked"] / self.judged if self.judged else None,
            "latency_ms": self._latency.summary(),
            "latency_by_signs_ms": {str(n): found.summary() for n, found in sorted(self._by_signs.items())},
            "dropped": dropped,
            "degraded": self.degraded_by.total(),
            "degraded_by": dict(self.degraded_by),
            "signs": self.signs,
            "judged": self.judged,
            "alarms": self.alarms,
            "stages_ms": {stage: values.summary() for stage, values in self._stages.items()},
            **self.meter.document(dropped),
        }


def table(document: Mapping[str, Any]) -> str:
    """The end of the demo, as text."""
    rows = {**document["stages_ms"], "frame to labels": document["latency_ms"]}
    lines = [f"{'latency, ms':<16}" + "".join(f"{name.replace('_', '.'):>9}" for name in PERCENTILES)]
    for name, row in rows.items():
        lines.append(
            f"{name:<16}" + "".join(f"{'-' if row[p] is None else format(row[p], '.2f'):>9}" for p in PERCENTILES)
        )
    shares = {**document["accuracy"], "tracked": document["tracked"]}
    accuracy = "  ".join(f"{name} {percent(share)}" for name, share in shares.items())
    counts = "  ".join(f"{key} {document[key]}" for key in ("signs", "dropped", "degraded"))
    lines += ["", f"accuracy          {accuracy}  ({document['judged']} signs with ground truth)"]
    lines.append(f"frames            {document['frames']} at {document['fps']:.1f} per second  {counts}")
    if (found := document["proposals"]) is not None:
        recall = "" if found["recall"] is None else f", {percent(found['recall'])} of {found['annotated']} signs found"
        lines.append(f"proposals         {found['per_frame']:.1f} a frame{recall}")
    if (slo := document["slo"]) is not None:
        lines.append(
            f"deadline          {slo['ms']:g} ms {'kept' if slo['kept'] else 'missed'}: {slo['missed']} late frames"
        )
    return "\n".join(lines)
