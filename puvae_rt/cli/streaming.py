"""Options of every demo that plays a source: `puvae demo video`, `demo camera`, `demo web`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.attacks.constants import EPSILON
from puvae_rt.cli import shared
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.video.urls import SYNTHETIC

_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class StreamOptions:
    """What is played, how fast, what is done to it, and what counts as late."""

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
    detector: Path | None = option(
        None,
        help="what good images look like, a file that the measurement of detection has written: each frame gets a "
        "score, and those above the threshold are alarms",
        default_text="none",
        role=READ,
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

    @property
    def video(self) -> Path | None:
        """The annotated video that is written; None is none."""
        return None
