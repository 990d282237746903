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

from puvae_rt.attacks.constants import EPSILON
from puvae_rt.cli import shared, signals
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, WRITTEN, option
from puvae_rt.video.urls import SYNTHETIC

HINT = "stopped before the first frame"
_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae demo video`."""

    source: str = option(
        SYNTHETIC,
        help="video to play: a file (ground truth is taken from clip.json beside clip.mp4), a folder of images, a "
        "camera's index or device, csi://N, a URL (rtsp, http, ...), gstreamer://PIPELINE, or "
        f"'{SYNTHETIC}'",
    )
    model: str = option("mnist", help=f"shipped model, whose digits '{SYNTHETIC}' shows as well")
    bundle: Path | None = option(
        None, help="folder that `puvae build` wrote", default_text="the shipped model", role=SEALED
    )
    classifier: str | None = option(
        None, help="classifier to defend: shipped name or .onnx", default_text="the model's own", role=READ
    )
    attack: str = option(
        _arguments.NO_ATTACK, help="attack on every digit", choices=(_arguments.NO_ATTACK, *_arguments.ATTACKS)
    )
    epsilon: float = option(EPSILON, help="L-infinity radius of the attack, of pixels in [0,1]")
    seed: int = option(0, help=f"seed of the attack's classes and of '{SYNTHETIC}'", least=0, most=shared.MAX_SEED)
    out: Path = option(Path("out/demo.mp4"), help="annotated video to write, .mp4 or .mkv", role=WRITTEN)
    no_video: bool = option(False, help="write no video: --out is left alone")
    record: Path | None = option(
        None,
        help="recording to write: the frames as they come, with their timing, to be given as --source again (.mcap)",
        default_text="none",
        role=WRITTEN,
    )
    detector: Path | None = option(
        None,
        help="what good images look like, a file that the measurement of detection has written: each frame gets a "
        "score, and those above the threshold are alarms",
        default_text="none",
        role=READ,
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
    duration: float | None = option(
        None,
        help="seconds after which the demo stops",
        parse=shared.above_zero,
        metavar="S",
        default_text="no limit",
    )
    rate: float | str | None = option(
        None,
        help="frames a second, at which a file, folder or clip is played as by a camera, or 'source' for each frame at "
        "its own time; a camera is asked for it",
        parse=_arguments.rate,
        metavar="X",
        default_text="as fast as frames are purified, and the camera's own",
    )
    policy: str | None = option(
        None,
        help="frames that are kept for a demo slower than its source: latest, queue=N or every",
        parse=_arguments.policy,
        metavar="POLICY",
        default_text="latest, and every where the source waits",
    )
    slo: float | None = option(
        None,
        help="deadline of a frame, from its stamp to its label, as 33ms; exit code 1 where more than one in a thousand "
        "misses it (an attack's own time is not counted)",
        parse=shared.milliseconds,
        metavar="TIME",
        default_text="none",
    )
    degraded: str | None = option(
        None,
        help="what is shown for a frame that is late, NaN or fails: the frame as it came, the last good result, or "
        "nothing more, the demo stops",
        choices=_arguments.DEGRADED,
        default_text="whatever came, whenever it came",
    )
    race: str | None = option(
        None,
        help="baseline that purifies the same digits in a process of its own (PyTorch): the picture and the JSON tell "
        "what both have after 33 ms, .1 s, 1 s, and when it is done",
        choices=_arguments.RACES,
        default_text="none",
    )
    baselines: Path = option(_arguments.BASELINES, help="folder of kept baselines, for --race")
    threads: int | str | None = option(None, help=f"threads of the engine, {shared.AUTO_HELP}", **shared.THREADS)


def also_read(options: Options) -> dict[str, Path]:
    """The source, where it is a file, and its truth."""
    from puvae_rt.video.sources import files_of

    return files_of(options.source)


def run(options: Options) -> Outcome:
    """Play the source; accuracies, latencies and counts."""
    return play(options, shared.own("demos.video").run)


def play(options: Options, work: Callable[..., dict[str, Any]]) -> Outcome:
    """What `work`, a demo's `run`, has found, with signals and exit code."""
    stopping = shared.own("demos.play.stopping")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with stopping.Stop() as stop:
        try:
            document = work(options, stop, shared.note)
        except stopping.Stopped:
            raise signals.Stopped(stop.code - signals.SIGNALLED) from None
    text = shared.own("demos.play.report").table(document)
    if document["frames"] and not options.no_video:
        text += f"\n{'stopped, ' if stop.code else ''}written: {options.out}"
    kept = document["slo"] is None or document["slo"]["kept"]
    return Outcome(document, text, kept, error=document["error"], code=stop.code)


def at_end(code: int) -> None:
    """Leave with `code`, even where a reader still hangs in OpenCV."""
    shared.own("demos.play.stopping").leave_at_exit(code)
