"""A camera, a video file, a stream or a synthetic clip with handwritten digits, attacked and purified live.

Each digit is found, cut out and brought into MNIST's form; attacked if asked, white-box on the classifier that is
defended, towards a random wrong class; purified; and classified before and after. A file is read frame by frame;
of a camera or a stream only the newest frame is taken, and `dropped` counts the others. Ctrl-C ends the demo in good
order: the video is playable and the JSON is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from demos.arguments import positive
from demos.play.defense import ATTACKS, NO_ATTACK, Attack, Defense
from demos.play.digits import find_digit
from demos.play.overlay import SIZE, Overlay
from demos.play.report import Report, table
from demos.play.sinks import Mp4Writer
from demos.play.synthetic import SyntheticClip, load_shipped
from demos.play.window import Window, has_display
from puvae_rt.attacks.constants import EPSILON
from puvae_rt.errors import PuvaeError, VideoError
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.machine import thread_count
from puvae_rt.runtime.purifier import Purifier, Stopwatch
from puvae_rt.video.sources import VideoSource, open_source

SYNTHETIC_FRAMES = 300


class Player:
    """Runs frames through the defense and shows them, until the source ends or somebody says stop."""

    def __init__(self, defense: Defense, overlay: Overlay, writer: Mp4Writer, window: Window | None) -> None:
        self.report = Report()
        self._defense, self._overlay, self._writer, self._window = defense, overlay, writer, window

    def play(self, source: VideoSource, frames: int | None, stop: threading.Event) -> None:
        for frame in islice(source, frames):
            clock = Stopwatch()
            truth = frame.truth.label if frame.truth else None
            digit = find_digit(frame.image)
            clock.lap("find")
            outcome = None if digit is None else self._defense(digit.image, truth, clock)
            self.report.add(outcome, truth)
            picture = self._overlay.draw(frame, digit, outcome, self.report, source.dropped)
            clock.lap("draw")
            watched = self._show(picture)
            clock.lap("write")
            self.report.time(clock.timings_ms())
            if stop.is_set() or not watched:
                return

    def _show(self, picture: Any) -> bool:
        """False once the user has closed the window."""
        self._writer.write(picture)
        return self._window is None or self._window.show(picture)


def run(args: argparse.Namespace, stop: threading.Event) -> dict[str, Any]:
    """Plays the source; the demo's JSON, written even when the source breaks off, with the reason as `error`."""
    threads = thread_count(args.threads)
    files = resolve(args.bundle or args.model, None, args.classifier or True)
    with contextlib.ExitStack() as stack:
        purifier = stack.enter_context(Purifier.load(args.bundle or args.model, None, threads, args.classifier or True))
        attack = None
        if args.attack != NO_ATTACK and files.classifier is not None:
            attack = Attack(args.attack, files.classifier, args.epsilon, args.seed, threads)
        defense = Defense(purifier, attack)
        source = open_source(args.source, lambda: synthetic(args))
        stack.callback(source.close)
        writer = stack.enter_context(Mp4Writer(args.out, source.fps, SIZE))
        window = open_window(args.headless)
        if window is not None:
            stack.callback(window.close)
        player = Player(defense, Overlay("PuVAE: live purification", subtitle(args), purifier.classes), writer, window)
        error = None
        try:
            player.play(source, args.max_frames, stop)
        except VideoError as broken:
            error = str(broken)
        document = player.report.document(source.dropped) | settings(args, source, threads) | {"error": error}
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return document


def synthetic(args: argparse.Namespace) -> SyntheticClip:
    """The shipped test digits of the model before a made-up camera."""
    return SyntheticClip(load_shipped(args.model), frames=args.max_frames or SYNTHETIC_FRAMES, seed=args.seed)


def open_window(headless: bool) -> Window | None:
    if headless or not has_display():
        return None
    try:
        return Window("puvae_rt")
    except VideoError as error:
        print(f"no window: {error}", file=sys.stderr)
        return None


def subtitle(args: argparse.Namespace) -> str:
    if args.attack == NO_ATTACK:
        return "no attack"
    return f"white-box {args.attack.upper()} on the classifier, epsilon {args.epsilon:g}"


def settings(args: argparse.Namespace, source: VideoSource, threads: int) -> dict[str, Any]:
    """What the numbers were got with."""
    attack = {"name": args.attack}
    if args.attack != NO_ATTACK:
        attack |= {"epsilon": args.epsilon, "seed": args.seed, "targeted": True}
    return {"model": args.model, "source": source.name, "attack": attack, "threads": threads, "out": str(args.out)}


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for an orderly end, a second one is not held back."""

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demos.video", description=__doc__)
    p.add_argument("--source", default="synthetic", help="a video file (ground truth is taken from clip.json beside "
                   "clip.mp4), a camera's index, a URL, or 'synthetic' (default)")  # fmt: skip
    p.add_argument(
        "--model", default="mnist", help="shipped model; also whose digits 'synthetic' shows (default: mnist)"
    )
    p.add_argument("--bundle", type=Path, help="folder that export.build wrote, in place of the shipped engine")
    p.add_argument("--classifier", help="shipped classifier's name or .onnx file (default: the model's own)")
    p.add_argument("--attack", choices=(NO_ATTACK, *ATTACKS), default=NO_ATTACK, help="(default: %(default)s)")
    p.add_argument(
        "--epsilon", type=float, default=EPSILON, help="largest change of a pixel, of 1 (default: %(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the attack's classes and of 'synthetic' (default: 0)")
    p.add_argument("--out", type=Path, default=Path("out/demo.mp4"), help="annotated video (default: %(default)s)")
    p.add_argument("--json", type=Path, help="write accuracies, latencies and counts to this file")
    p.add_argument("--headless", action="store_true", help="no window, even with a display")
    p.add_argument("--max-frames", type=positive, help=f"stop after so many (synthetic: {SYNTHETIC_FRAMES})")
    p.add_argument("--threads", type=int, help="of the engine (default: every processor)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            document = run(args, stop)
    except (PuvaeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second one
        return 130
    print(table(document))
    if document["frames"]:
        print(
            f"{'stopped, ' if stop.is_set() else ''}written: {', '.join(map(str, filter(None, (args.out, args.json))))}"
        )
    if document["error"]:
        print(f"error: {document['error']}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
