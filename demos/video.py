"""The demo of a camera or a video: `python -m demos.video` is `puvae demo video`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo video")  # first: --help needs none of what follows

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from demos.arguments import NO_ATTACK, SYNTHETIC_FRAMES
from demos.play.stopping import Stop
from demos.play.window import Window, has_display
from puvae_rt.errors import VideoError
from puvae_rt.runtime.machine import DEFAULT_THREADS
from puvae_rt.video.sources import VideoSource, open_source

if TYPE_CHECKING:
    from demos.play.defense import Defense
    from demos.play.synthetic import SyntheticClip
    from puvae_rt.cli.commands.demo_video import Options


def run(args: Options, stop: Stop, note: Callable[[str], None]) -> dict[str, Any]:
    """Plays the source; the demo's JSON, written even when the source breaks off, with the reason as `error`."""
    from demos.play.overlay import SIZE, Overlay  # these bring the engine: --help does without
    from demos.play.player import Player
    from demos.play.sinks import Mp4Writer

    with contextlib.ExitStack() as stack:
        defense = stack.enter_context(open_defense(args))
        with stop.waiting():
            source = open_source(args.source, lambda: synthetic(args))
        stack.callback(source.close)
        writer = stack.enter_context(Mp4Writer(args.out, source.fps, SIZE))
        window = open_window(args.headless, note)
        if window is not None:
            stack.callback(window.close)
        overlay = Overlay("PuVAE: live purification", subtitle(args), defense.purifier.classes)
        player = Player(defense, overlay, writer, window)
        error = None
        try:
            player.play(stop.until_stopped(islice(source, args.max_frames)), source)
        except VideoError as broken:
            error = str(broken)
        used = settings(args, source, defense.purifier.threads)
        return player.report.document(source.dropped) | used | {"error": error}


@contextlib.contextmanager
def open_defense(args: Options) -> Iterator[Defense]:
    """Purifier, classifier and attack as asked for."""
    from demos.play.defense import Attack, Defense
    from puvae_rt.runtime.bundle import resolve
    from puvae_rt.runtime.purifier import Purifier

    model, classifier = args.bundle or args.model, args.classifier or True
    with Purifier.load(model, None, args.threads or DEFAULT_THREADS, classifier) as purifier:
        attack = None
        if args.attack != NO_ATTACK and (file := resolve(model, None, classifier).classifier) is not None:
            attack = Attack(args.attack, file, args.epsilon, args.seed, purifier.threads)
        yield Defense(purifier, attack)


def synthetic(args: Options) -> SyntheticClip:
    """The shipped test digits of the model before a made-up camera."""
    from demos.play.synthetic import SyntheticClip, load_shipped

    return SyntheticClip(load_shipped(args.model), frames=args.max_frames or SYNTHETIC_FRAMES, seed=args.seed)


def open_window(headless: bool, note: Callable[[str], None]) -> Window | None:
    """A window, where one is wanted and possible."""
    if headless or not has_display():
        return None
    try:
        return Window("puvae_rt")
    except VideoError as error:
        note(f"no window: {error}")
        return None


def subtitle(args: Options) -> str:
    """What is done to the digits, for the picture."""
    if args.attack == NO_ATTACK:
        return "no attack"
    return f"white-box {args.attack.upper()} on the classifier, epsilon {args.epsilon:g}"


def settings(args: Options, source: VideoSource, threads: int) -> dict[str, Any]:
    """What the numbers were got with."""
    attack: dict[str, Any] = {"name": args.attack}
    if args.attack != NO_ATTACK:
        attack |= {"epsilon": args.epsilon, "seed": args.seed, "targeted": True}
    return {"model": args.model, "source": source.name, "attack": attack, "threads": threads, "out": str(args.out)}
