"""The demo of a camera or a video: `python -m demos.video` is `puvae demo video`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo video")  # first: --help needs none of what follows

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from demos.arguments import NO_ATTACK, SOURCE_RATE, SYNTHETIC_FRAMES
from demos.play.stopping import Stop
from demos.play.window import Window, has_display
from puvae_rt.errors import DegradedError, VideoError
from puvae_rt.runtime.machine import DEFAULT_THREADS
from puvae_rt.stream.detection import Detector
from puvae_rt.stream.guard import Guard
from puvae_rt.video.events import EventKind
from puvae_rt.video.frames import Frame
from puvae_rt.video.policy import Policy
from puvae_rt.video.sources import Pace, VideoSource, frames_read, open_source

ENDLESS = 10**9  # frames: something else ends the clip

if TYPE_CHECKING:
    from demos.play.controls import Controls
    from demos.play.defense import Defense
    from demos.play.race import Race
    from demos.play.synthetic import SyntheticClip
    from puvae_rt.cli.commands.demo_video import Options
    from puvae_rt.cli.streaming import StreamOptions


def run(
    args: Options,
    stop: Stop,
    note: Callable[[str], None],
    with_keys: Callable[[Any, Defense, str], Controls] | None = None,
) -> dict[str, Any]:
    """Plays the source; the demo's JSON, written even when the source breaks off, with the reason as `error`.

    `with_keys` makes what the keys of the window act on; None is no keys.
    """
    from demos.play.overlay import SIZE, Overlay  # these bring the engine: --help does without
    from demos.play.player import Player, Watcher
    from demos.play.recording import Alarms, Recording
    from demos.play.sinks import Mp4Writer

    with contextlib.ExitStack() as stack:
        defense = stack.enter_context(open_defense(args))
        with stop.waiting():
            source = open_live(args, args.max_frames)
        stack.callback(source.close)
        writer = None if args.no_video else stack.enter_context(Mp4Writer(args.out, source.fps, SIZE))
        window = open_window(args.headless, note)
        if window is not None:
            stack.callback(window.close)
        overlay = Overlay("PuVAE: live purification", subtitle(args), defense.purifier.classes)
        watchers: list[Watcher] = [stack.enter_context(Recording(args.record, source.name))] if args.record else []
        alarms = stack.enter_context(Alarms(args.alarms, source.name)) if args.alarms else None
        watchers += [] if alarms is None else [alarms]
        player = Player(defense, overlay, writer, window, args.slo, watchers)
        if args.race is not None:
            player.race = open_race(args, defense)
            stack.callback(player.race.close)
        if with_keys is not None and window is not None:
            player.controls = with_keys(args, defense, source.name)
            stack.callback(player.controls.close)
        error = None
        try:
            frames = for_seconds(islice(source, args.max_frames), args.duration)
            player.play(stop.until_stopped(frames), source)
        except (VideoError, DegradedError) as broken:
            error = str(broken)
        source.close()  # what waits is dropped
        if alarms is not None:
            alarms.close()
        used = settings(args, source, defense.purifier.threads) | {"out": str(args.out)}
        used |= counted(source, player.report.frames)
        used["alarms"] = None if alarms is None else alarms.document()
        race = None if player.race is None else player.race.document()
        return player.report.document(source.dropped) | used | {"race": race, "error": error}


@contextlib.contextmanager
def open_defense(args: StreamOptions) -> Iterator[Defense]:
    """Purifier, classifier and attack as asked for."""
    from demos.play.defense import Attack, Defense
    from puvae_rt.runtime.bundle import resolve
    from puvae_rt.runtime.purifier import Purifier

    model, classifier = args.bundle or args.model, args.classifier or True
    with Purifier.load(model, None, args.threads or DEFAULT_THREADS, classifier) as purifier:
        attack = None
        if args.attack != NO_ATTACK and (file := resolve(model, None, classifier).classifier) is not None:
            attack = Attack(args.attack, file, args.epsilon, args.seed, purifier.threads)
        with contextlib.ExitStack() as stack:
            guard = stack.enter_context(Guard(purifier, args.degraded, args.slo)) if args.degraded else None
            defense = Defense(purifier, attack, guard)
            defense.detector = None if args.detector is None else Detector.read(args.detector)
            yield defense


def open_race(args: StreamOptions, defense: Defense) -> Race:
    """Defense-GAN's process, with the generator kept among the baselines."""
    from demos.play.race import RESTARTS, STEPS, Race

    assert defense.purifier.classifier is not None  # a defense has one
    return Race(args.baselines, args.model, defense.purifier.classifier, STEPS, RESTARTS)


def open_live(args: StreamOptions, frames: int | None = None) -> VideoSource:
    """The source, at the pace and with the policy asked for; `frames` is how many the synthetic clip has."""
    own_times = args.rate == SOURCE_RATE
    pace = Pace(None if own_times or args.rate is None else float(args.rate), own_times)
    policy = None if args.policy is None else Policy.parse(args.policy)
    return open_source(args.source, lambda: synthetic(args, frames), pace=pace, policy=policy)


def for_seconds(frames: Iterable[Frame], seconds: float | None) -> Iterator[Frame]:
    """`frames`, of those of `seconds` from the first one on."""
    end, iterator = math.inf, iter(frames)
    while time.monotonic() < end:  # before one is taken: every frame that was taken is shown
        try:
            frame = next(iterator)
        except StopIteration:
            return
        if end == math.inf and seconds is not None:
            end = time.monotonic() + seconds
        yield frame


def counted(source: VideoSource, shown: int) -> dict[str, Any]:
    """Where every frame went: read = shown + dropped; what could not be decoded was not read, and has failed."""
    failed = source.counts.get(EventKind.CORRUPT.value, 0)
    return {"read": frames_read(source, shown), "failed": failed, "events": dict(source.counts)}


def synthetic(args: StreamOptions, frames: int | None) -> SyntheticClip:
    """The shipped test digits of the model before a made-up camera; without `frames`, as many as --duration needs."""
    from demos.play.synthetic import SyntheticClip, load_shipped

    frames = frames or (SYNTHETIC_FRAMES if args.duration is None else ENDLESS)
    return SyntheticClip(load_shipped(args.model), frames=frames, seed=args.seed)


def open_window(headless: bool, note: Callable[[str], None]) -> Window | None:
    """A window, where one is wanted and possible."""
    if headless or not has_display():
        return None
    try:
        return Window("puvae_rt")
    except VideoError as error:
        note(f"no window: {error}")
        return None


def subtitle(args: StreamOptions) -> str:
    """What is done to the digits, for the picture."""
    if args.attack == NO_ATTACK:
        return "no attack"
    return f"white-box {args.attack.upper()} on the classifier, epsilon {args.epsilon:g}"


def settings(args: StreamOptions, source: VideoSource, threads: int) -> dict[str, Any]:
    """What the numbers were got with."""
    attack: dict[str, Any] = {"name": args.attack}
    if args.attack != NO_ATTACK:
        attack |= {"epsilon": args.epsilon, "seed": args.seed, "targeted": True}
    return {
        "model": args.model,
        "source": source.name,
        "attack": attack,
        "threads": threads,
    } | {"rate": args.rate, "policy": args.policy, "duration": args.duration, "degraded_mode": args.degraded}
