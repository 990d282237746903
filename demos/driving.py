"""The driving demo: `python -m demos.driving` is `puvae demo driving`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo driving")  # first: --help needs none of what follows

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demos.arguments import NO_ATTACK, SCENES, SOURCE_RATE
from demos.play.stopping import Stop
from demos.video import counted, for_seconds, open_window
from puvae_rt.driving.annotations import SCENES as SHIPPED_SCENES
from puvae_rt.driving.annotations import boxes_file, read_signs
from puvae_rt.driving.clip import DriveBy
from puvae_rt.driving.locating import Locator
from puvae_rt.errors import ContractError, VideoError
from puvae_rt.runtime.machine import DEFAULT_THREADS
from puvae_rt.stream.ages import AgeMeter
from puvae_rt.stream.detection import Detector
from puvae_rt.video.folder import FolderSource
from puvae_rt.video.frames import Frame
from puvae_rt.video.policy import Policy
from puvae_rt.video.sources import Pace, VideoSource, open_source

if TYPE_CHECKING:
    from puvae_rt.cli.commands.demo_driving import Options
    from puvae_rt.driving.reading import SignReader


def run(args: Options, stop: Stop, note: Callable[[str], None]) -> dict[str, Any]:
    """Plays the source; the demo's JSON, written even when the source breaks off, with the reason as `error`."""
    from demos.play.overlay import SIZE  # these bring the engine: --help does without
    from demos.play.sign_overlay import SignOverlay
    from demos.play.sign_player import SignPlayer
    from demos.play.sinks import Mp4Writer

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_reader(args))
        with stop.waiting():
            source, locate = open_road(args)
        stack.callback(source.close)
        writer = None if args.no_video else stack.enter_context(Mp4Writer(args.out, source.fps, SIZE))
        window = open_window(args.headless, note)
        if window is not None:
            stack.callback(window.close)
        attack = "no attack" if reader.attack is None else f"white-box {args.attack.upper()} on the classifier"
        overlay = SignOverlay("PuVAE: signs on the road", attack, reader.purifier.classes)
        player, error = SignPlayer(reader, locate, overlay, writer, window, AgeMeter(args.slo)), None
        frames = for_seconds(islice(repeated(source, args.repeat), args.max_frames), args.duration)
        try:
            player.play(stop.until_stopped(frames))
        except VideoError as broken:
            error = str(broken)
        source.close()
        document = player.report.document(source.dropped) | counted(source, player.report.frames)
        document |= {"proposals": locate.document(), "error": error}
        return document | {"settings": settings(args, source, reader)}


@contextlib.contextmanager
def open_reader(args: Options) -> Iterator[SignReader]:
    """Purifier, classifier and attack as asked for."""
    from puvae_rt.driving.attack import SignAttack
    from puvae_rt.driving.reading import SignReader
    from puvae_rt.runtime.bundle import resolve
    from puvae_rt.runtime.purifier import Purifier

    model, classifier = args.bundle or args.model, args.classifier or True
    with Purifier.load(model, None, args.threads or DEFAULT_THREADS, classifier, prior=args.prior) as purifier:
        attack = None
        if args.attack != NO_ATTACK and (file := resolve(model, None, classifier).classifier) is not None:
            attack = SignAttack(args.attack, file, args.epsilon, args.seed, purifier.threads)
        detector = None if args.detector is None else Detector.read(args.detector)
        yield SignReader(purifier, attack, detector, args.margin)


def open_road(args: Options) -> tuple[VideoSource, Locator]:
    """The source, at the pace and with the policy asked for, and what finds the signs on its frames."""
    clip: list[DriveBy] = []
    what: str | Path = SHIPPED_SCENES if args.source == SCENES else args.source
    own_times = args.rate == SOURCE_RATE
    pace = Pace(None if own_times or args.rate is None else float(args.rate), own_times)
    policy = None if args.policy is None else Policy.parse(args.policy)

    def drive_by() -> DriveBy:
        clip.append(DriveBy())
        return clip[0]

    source = open_source(what, drive_by, pace=pace, policy=policy)
    folder = Path(what)
    boxes = boxes_file(folder) if not clip and folder.is_dir() else None
    scenes = None if boxes is None else read_signs(boxes)
    return source, Locator(args.regions, scenes, clip[0] if clip else None)


def repeated(source: VideoSource, times: int) -> Iterator[Frame]:
    """The frames of a folder or clip, `times` over; ContractError for a source that can be read once only."""
    if times > 1 and not isinstance(source, (FolderSource, DriveBy)):
        raise ContractError(
            f"--repeat {times}: {source.name} can be played once, expected a folder or the clip, unpaced"
        )
    for _ in range(times):
        yield from source


def settings(args: Options, source: VideoSource, reader: SignReader) -> dict[str, Any]:
    """What the numbers were got with."""
    attack: dict[str, Any] = {"name": args.attack}
    if args.attack != NO_ATTACK:
        attack |= {"epsilon": args.epsilon, "seed": args.seed, "targeted": True}
    names = ("model", "regions", "margin", "prior", "rate", "policy", "repeat")
    found = {name: getattr(args, name) for name in names}
    return found | {"source": source.name, "attack": attack, "threads": reader.purifier.threads}
