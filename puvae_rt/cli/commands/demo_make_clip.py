"""Write a clip of real handwritten digits before a made-up camera, and its ground truth as JSON beside it.

`puvae demo video --source CLIP.mp4` then reports accuracies. The same seed gives the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, WRITTEN, option
from puvae_rt.files import refuse_overwrite

_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae demo make-clip`."""

    out: Path = option(Path("out/clip.mp4"), help="video to write", role=WRITTEN)
    frames: int = option(300, help="number of frames; 30 a second", parse=_arguments.positive, metavar="N")
    hold: int = option(15, help="number of frames that show one digit", parse=_arguments.positive, metavar="N")
    model: str = option("mnist", help="shipped model whose test digits are shown")
    samples: Path | None = option(
        None,
        help=f"{shared.SAMPLES_HELP}: images uint8 [N,1,28,28] and labels [N]",
        default_text="those of the model",
        role=READ,
    )
    seed: int = option(0, help="seed of everything random", least=0, most=shared.MAX_SEED)


def run(options: Options) -> Outcome:
    """Write the clip; where it is."""
    from puvae_rt.video.truth import truth_path

    truth = truth_path(options.out)
    refuse_overwrite({"the ground truth of --out": truth}, {"--samples": options.samples})
    make_clip, synthetic = shared.own("demos.make_clip"), shared.own("demos.play.synthetic")
    samples = synthetic.load_samples(options.samples) if options.samples else synthetic.load_shipped(options.model)
    clip = synthetic.SyntheticClip(samples, frames=options.frames, hold=options.hold, seed=options.seed)
    make_clip.write_clip(clip, options.out)
    return Outcome({"video": str(options.out), "truth": str(truth)}, f"written: {options.out}, {truth}")
