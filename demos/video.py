"""A camera, a video file, a stream or a synthetic clip with handwritten digits, attacked and purified live.

Each digit is found, cut out and brought into MNIST's form; attacked if asked, white-box on the classifier that is
defended, towards a random wrong class; purified; and classified before and after. A file is read frame by frame;
of a camera or a stream only the newest frame is taken, and `dropped` counts the others. Ctrl-C ends the demo in good
order: the video is playable and the JSON is written. Exit codes: 0, 2 after an error, 130 after Ctrl-C, 143 after
SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demos.arguments import ATTACKS, NO_ATTACK, positive
from demos.play.stopping import Stop, Stopped, leave_at_exit
from demos.play.window import Window, has_display
from puvae_rt.attacks.constants import EPSILON
from puvae_rt.errors import PuvaeError, VideoError
from puvae_rt.files import refuse_overwrite, write_json
from puvae_rt.runtime.machine import thread_count
from puvae_rt.video.sources import SYNTHETIC, VideoSource, files_of, open_source

if TYPE_CHECKING:
    from demos.play.defense import Defense
    from demos.play.synthetic import SyntheticClip

SYNTHETIC_FRAMES = 300


def run(args: argparse.Namespace, stop: Stop) -> dict[str, Any]:
    """Plays the source; the demo's JSON, written even when the source breaks off, with the reason as `error`."""
    from demos.play.overlay import SIZE, Overlay  # these bring the engine: --help does without
    from demos.play.player import Player
    from demos.play.sinks import Mp4Writer

    check_paths(args)
    with contextlib.ExitStack() as stack:
        defense = stack.enter_context(open_defense(args))
        with stop.waiting():
            source = open_source(args.source, lambda: synthetic(args))
        stack.callback(source.close)
        writer = stack.enter_context(Mp4Writer(args.out, source.fps, SIZE))
        window = open_window(args.headless)
        if window is not None:
            stack.callback(window.close)
        overlay = Overlay("PuVAE: live purification", subtitle(args), defense.purifier.classes)
        player = Player(defense, overlay, writer, window)
        error = None
        try:
            player.play(stop.until_stopped(islice(source, args.max_frames)), source)
        except VideoError as broken:
            error = str(broken)
        document = player.report.document(source.dropped) | settings(args, source) | {"error": error}
        if args.json:
            write_json(args.json, document)
    return document


def check_paths(args: argparse.Namespace) -> None:
    """ContractError where the video or the JSON would be written over what is read."""
    inputs: dict[str, Path | str | None] = {**files_of(args.source), "--classifier": args.classifier}
    sealed = {} if args.bundle is None else {"--bundle": args.bundle}
    refuse_overwrite({"--out": args.out, "--json": args.json}, inputs, sealed)


@contextlib.contextmanager
def open_defense(args: argparse.Namespace) -> Iterator[Defense]:
    """Purifier, classifier and attack as asked for."""
    from demos.play.defense import Attack, Defense
    from puvae_rt.runtime.bundle import resolve
    from puvae_rt.runtime.purifier import Purifier

    model, classifier, threads = args.bundle or args.model, args.classifier or True, thread_count(args.threads)
    with Purifier.load(model, None, threads, classifier) as purifier:
        attack = None
        if args.attack != NO_ATTACK and (file := resolve(model, None, classifier).classifier) is not None:
            attack = Attack(args.attack, file, args.epsilon, args.seed, threads)
        yield Defense(purifier, attack)


def synthetic(args: argparse.Namespace) -> SyntheticClip:
    """The shipped test digits of the model before a made-up camera."""
    from demos.play.synthetic import SyntheticClip, load_shipped

    return SyntheticClip(load_shipped(args.model), frames=args.max_frames or SYNTHETIC_FRAMES, seed=args.seed)


def open_window(headless: bool) -> Window | None:
    """A window, where one is wanted and possible."""
    if headless or not has_display():
        return None
    try:
        return Window("puvae_rt")
    except VideoError as error:
        print(f"no window: {error}", file=sys.stderr)
        return None


def subtitle(args: argparse.Namespace) -> str:
    """What is done to the digits, for the picture."""
    if args.attack == NO_ATTACK:
        return "no attack"
    return f"white-box {args.attack.upper()} on the classifier, epsilon {args.epsilon:g}"


def settings(args: argparse.Namespace, source: VideoSource) -> dict[str, Any]:
    """What the numbers were got with."""
    attack = {"name": args.attack}
    if args.attack != NO_ATTACK:
        attack |= {"epsilon": args.epsilon, "seed": args.seed, "targeted": True}
    threads = thread_count(args.threads)
    return {"model": args.model, "source": source.name, "attack": attack, "threads": threads, "out": str(args.out)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m demos.video", description=__doc__)
    p.add_argument("--source", default=SYNTHETIC, help="a video file (ground truth is taken from clip.json beside "
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
    p.add_argument("--threads", type=int, help="of the engine, for one frame (default: 1)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    code = play(args)
    leave_at_exit(code)
    return code


def play(args: argparse.Namespace) -> int:
    """`run` with its result printed and its errors in one line."""
    from demos.play.report import table

    try:
        with Stop() as stop:
            document = run(args, stop)
        print(table(document))
        if document["frames"]:
            written = ", ".join(str(path) for path in (args.out, args.json) if path)
            printable = written.encode("utf-8", "backslashreplace").decode("utf-8")
            print(f"{'stopped, ' if stop.code else ''}written: {printable}")
        sys.stdout.flush()
        if document["error"]:
            print(f"error: {document['error']}", file=sys.stderr)
            return 2
        return stop.code
    except Stopped:
        print("stopped before the first frame", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:  # the second one
        return 130
    except (PuvaeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
