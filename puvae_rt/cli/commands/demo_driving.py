"""Traffic signs in street scenes or on a video, attacked and purified: every sign of a frame in one batch.

Signs are where a folder's *boxes.json annotates them, else where their color and form propose them; each is cut out,
attacked if asked (white-box on the classifier that is defended, towards a random wrong class), purified, classified
before and after, and followed from frame to frame. Of a video without annotations only tracks whose label is steady are
shown: most proposals are no signs. Ctrl-C ends the demo in good order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.commands import demo_video
from puvae_rt.cli.options import READ, SEALED, WRITTEN, option
from puvae_rt.video.urls import SYNTHETIC

HINT = demo_video.HINT
_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae demo driving`."""

    source: str = option(
        SYNTHETIC,
        help=f"road to drive on: '{SYNTHETIC}' (a drive towards the signs of three scenes that ship), "
        f"'{_arguments.SCENES}' (those scenes), a folder of images, a video, a camera or a URL as for `demo video`",
    )
    model: str = option("traffic_signs", help="shipped model")
    bundle: Path | None = option(
        None, help="folder that `puvae build` wrote", default_text="the shipped model", role=SEALED
    )
    classifier: str | None = option(
        None, help="classifier to defend: shipped name or .onnx", default_text="the model's own", role=READ
    )
    prior: str = option("model", help="whether the model's prior takes part in the choice", choices=("model", "none"))
    regions: str = option(
        "auto", help="where signs are: annotated where they are, or proposed everywhere", choices=_arguments.REGIONS
    )
    margin: float = option(0.1, help="share of a sign's side that is cut on every side of it", least=0, most=1)
    attack: str = option(
        _arguments.NO_ATTACK, help="attack on every sign", choices=(_arguments.NO_ATTACK, *_arguments.SIGN_ATTACKS)
    )
    epsilon: float = option(0.06, help="L-infinity radius of fgsm and ifgsm, of pixels in [0,1]")
    seed: int = option(0, help="seed of the attack's classes and places", least=0, most=shared.MAX_SEED)
    out: Path = option(Path("out/driving.mp4"), help="annotated video to write, .mp4 or .mkv", role=WRITTEN)
    no_video: bool = option(False, help="write no video: --out is left alone")
    headless: bool = option(False, help="show no window, even with a display")
    detector: Path | None = option(
        None, help="what good images look like: each sign gets a score", default_text="none", role=READ
    )
    max_frames: int | None = option(
        None,
        help="number of frames after which the demo stops",
        parse=_arguments.positive,
        metavar="N",
        default_text="all",
    )
    duration: float | None = option(
        None,
        help="seconds after which the demo stops",
        parse=shared.above_zero,
        metavar="S",
        default_text="no limit",
    )
    repeat: int = option(1, help="how often a folder or the clip is played", parse=_arguments.positive, metavar="N")
    rate: float | str | None = option(
        None,
        help="frames a second, or 'source' for each frame at its own time",
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
        help="deadline of a frame, from its stamp to its labels, as 33ms; exit code 1 where more than one in a "
        "thousand misses it (an attack's own time is not counted)",
        parse=shared.milliseconds,
        metavar="TIME",
        default_text="none",
    )
    threads: int | str | None = option(None, help=f"threads of the engine, {shared.AUTO_HELP}", **shared.THREADS)

    @property
    def video(self) -> Path | None:
        """Where the annotated video is written, if one is."""
        return None if self.no_video else self.out


def also_read(options: Options) -> dict[str, Path]:
    """The source, where it is a file."""
    from puvae_rt.video.sources import files_of

    return files_of(options.source)


def run(options: Options) -> Outcome:
    """Play the road; accuracies, latencies and counts."""
    return demo_video.play(options, shared.own("demos.driving").run, shared.own("demos.play.sign_report").table)


def at_end(code: int) -> None:
    """Leave with `code`, even where a reader still hangs in OpenCV."""
    demo_video.at_end(code)
