"""Writes a clip of real handwritten digits before a made-up camera, and its ground truth as JSON beside it.

`python -m demos.video --source CLIP.mp4` then reports accuracies. The same seed gives the same frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from demos.arguments import positive
from demos.play.sinks import Mp4Writer
from demos.play.synthetic import SyntheticClip, load_samples, load_shipped
from puvae_rt.errors import PuvaeError
from puvae_rt.files import refuse_overwrite
from puvae_rt.video.truth import truth_path, write_truth


def write_clip(clip: SyntheticClip, path: Path) -> None:
    """`path` (.mp4) and the truth of its frames beside it; the video's compression makes it a little softer."""
    truths = []
    with Mp4Writer(path, clip.fps, (clip.width, clip.height)) as writer:
        for frame in tqdm(clip, total=len(clip), unit="frame", disable=None):
            writer.write(frame.image)
            truths.append(frame.truth)
    write_truth(truth_path(path), truths)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demos.make_clip", description=__doc__)
    p.add_argument("--out", type=Path, default=Path("out/clip.mp4"), help="(default: %(default)s)")
    p.add_argument("--frames", type=positive, default=300, help="(default: %(default)s, ten seconds)")
    p.add_argument("--hold", type=positive, default=15, help="frames that show one digit (default: %(default)s)")
    p.add_argument("--model", default="mnist", help="shipped model whose test digits are shown (default: mnist)")
    p.add_argument("--samples", type=Path, help=".npz with images uint8 [N,1,28,28] and labels [N], in their place")
    p.add_argument("--seed", type=int, default=0, help="(default: 0)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        truth = truth_path(args.out)
        refuse_overwrite({"--out": args.out, "the ground truth of --out": truth}, {"--samples": args.samples})
        samples = load_samples(args.samples) if args.samples else load_shipped(args.model)
        write_clip(SyntheticClip(samples, frames=args.frames, hold=args.hold, seed=args.seed), args.out)
    except (PuvaeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"written: {args.out}, {truth}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
