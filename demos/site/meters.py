"""What /metrics tells, in Prometheus's text format; every name begins with puvae_."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from demos.play.defense import Outcome
from puvae_rt.stream.ages import AgeMeter
from puvae_rt.version import __version__

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_STAGES = ("attack", "purify", "classify")


class Meters:
    """Counters of one server, in a registry of their own; each method may be called from any thread.

    Args:
        model: name of the purifier.
        source: name of the source, without secrets.
    """

    def __init__(self, model: str, source: str) -> None:
        self._registry = registry = CollectorRegistry()
        about = Info("puvae_server", "What is served.", registry=registry)
        about.info({"version": __version__, "model": model, "source": source})

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(name, told, labels, registry=registry)

        def seconds(name: str, told: str, *labels: str) -> Histogram:
            return Histogram(name, told, labels, buckets=_SECONDS, registry=registry)

        self._frames = counter("puvae_frames_total", "Frames of the source that got an answer.")
        self._dropped = counter("puvae_frames_dropped_total", "Frames of the source that went by unseen.")
        self._empty = counter("puvae_frames_without_digit_total", "Frames on which no digit was found.")
        self._degraded = counter("puvae_frames_degraded_total", "Frames without a good answer.", "reason")
        self._missed = counter("puvae_deadlines_missed_total", "Frames whose label came after the deadline.")
        self._alarms = counter("puvae_alarms_total", "Frames whose detection score was above the threshold.")
        self._changed = counter("puvae_labels_changed_total", "Frames whose label the purifier changed.")
        self._age = seconds("puvae_frame_age_seconds", "From a frame's stamp to its label, without the attack.")
        self._stage = seconds("puvae_stage_seconds", "Time of one stage of one frame.", "stage")
        self._own = counter("puvae_own_frames_total", "Frames of visitors' cameras and files that got an answer.")
        self._own_time = seconds("puvae_own_frame_seconds", "From the receipt of a visitor's frame to its answer.")
        self._refused = counter("puvae_refused_total", "What was refused.", "reason")
        self._sent = counter("puvae_viewer_frames_sent_total", "Frames sent to visitors, each counted.")
        self._skipped = counter("puvae_viewer_frames_skipped_total", "Frames that a visitor was too slow for.")
        self.visitors = Gauge("puvae_visitors", "Browsers that are connected.", ("kind",), registry=registry)
        self._seen_dropped = self._seen_missed = 0

    def frame(self, outcome: Outcome | None, age_ms: float, meter: AgeMeter, dropped: int) -> None:
        """One frame of the source; `dropped` is the source's count so far."""
        self._frames.inc()
        self._age.observe(age_ms / 1e3)
        self._dropped.inc(max(0, dropped - self._seen_dropped))
        self._missed.inc(meter.missed - self._seen_missed)
        self._seen_dropped, self._seen_missed = dropped, meter.missed
        if outcome is None:
            self._empty.inc()
            return
        self._alarms.inc(outcome.alarm)
        self._changed.inc(outcome.purified.label != (outcome.attacked or outcome.clean).label)
        if outcome.degraded:
            self._degraded.labels(outcome.reason or "nan").inc()
        for stage in _STAGES:
            self._stage.labels(stage).observe(outcome.timings_ms[stage] / 1e3)

    def own_frame(self, seconds: float) -> None:
        """One frame of a visitor's."""
        self._own.inc()
        self._own_time.observe(seconds)

    def sent(self, skipped: int) -> None:
        """One frame went to a visitor, after `skipped` that did not."""
        self._sent.inc()
        self._skipped.inc(skipped)

    def refused(self, reason: str) -> None:
        """Something was refused; `reason` is one of a few words."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """All of it, in the text format."""
        return generate_latest(self._registry)
