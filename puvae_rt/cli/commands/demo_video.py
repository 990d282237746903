"""A camera, a video file, a stream or a synthetic clip with handwritten digits, attacked and purified live.

Each digit is found, cut out and brought into MNIST's form; attacked if asked, white-box on the classifier that is
defended, towards a random wrong class; purified; and classified before and after. A file is read frame by frame;
of a camera or a stream only the newest frame is taken, and `dropped` counts the others. Ctrl-C ends the demo in good
order: the video is playable and the JSON is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.cli import shared, signals
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import WRITTEN, option
from puvae_rt.cli.streaming import StreamOptions
from puvae_rt.video.urls import SYNTHETIC

HINT = "stopped before the first frame"
_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class Options(StreamOptions):
    """Arguments of `puvae demo video`."""

    out: Path = option(Path("out/demo.mp4"), help="annotated video to write, .mp4 or .mkv", role=WRITTEN)
    no_video: bool = option(False, help="write no video: --out is left alone")
    record: Path | None = option(
        None,
        help="recording to write: the frames as they come, with their timing, to be given as --source again (.mcap)",
        default_text="none",
        role=WRITTEN,
    )
    alarms: Path | None = option(
        None,
        help="folder for the frames around each alarm (an attack that is detected, a degraded frame)",
        default_text="none",
        role=WRITTEN,
    )
    headless: bool = option(False, help="show no window, even with a display")
    max_frames: int | None = option(
        None,
        help="number of frames after which the demo stops",
        parse=_arguments.positive,
        metavar="N",
        default_text=f"all; {_arguments.SYNTHETIC_FRAMES} of '{SYNTHETIC}'",
    )

    @property
    def video(self) -> Path | None:
        """Where it is written; None is nowhere."""
        return None if self.no_video else self.out


def also_read(options: StreamOptions) -> dict[str, Path]:
    """The source, where it is a file, and its truth."""
    from puvae_rt.video.sources import files_of

    return files_of(options.source)


def run(options: Options) -> Outcome:
    """Play the source; accuracies, latencies and counts."""
    return play(options, shared.own("demos.video").run)


def play(
    options: Any, work: Callable[..., dict[str, Any]], table: Callable[[dict[str, Any]], str] | None = None
) -> Outcome:
    """What `work`, a demo's `run`, has found, with signals and exit code; `table` makes the text of it."""
    stopping = shared.own("demos.play.stopping")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with stopping.Stop() as stop:
        try:
            document = work(options, stop, shared.note)
        except stopping.Stopped:
            raise signals.Stopped(stop.code - signals.SIGNALLED) from None
    text = (table or shared.own("demos.play.report").table)(document)
    if document["frames"] and options.video is not None:
        text += f"\n{'stopped, ' if stop.code else ''}written: {options.video}"
    kept = document["slo"] is None or document["slo"]["kept"]
    return Outcome(document, text, kept, error=document["error"], code=stop.code)


def at_end(code: int) -> None:
    """Leave with `code`, even where a reader still hangs in OpenCV."""
    shared.own("demos.play.stopping").leave_at_exit(code)
