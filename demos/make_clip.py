"""A clip of handwritten digits: `python -m demos.make_clip` is `puvae demo make-clip`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo make-clip")  # first: --help needs none of what follows

from pathlib import Path

from tqdm import tqdm

from demos.play.sinks import Mp4Writer
from demos.play.synthetic import SyntheticClip
from puvae_rt.video.truth import truth_path, write_truth


def write_clip(clip: SyntheticClip, path: Path) -> None:
    """`path` (.mp4) and the truth of its frames beside it; the video's compression makes it a little softer."""
    truths = []
    with Mp4Writer(path, clip.fps, (clip.width, clip.height)) as writer:
        for frame in tqdm(clip, total=len(clip), unit="frame", disable=None):
            writer.write(frame.image)
            truths.append(frame.truth)
    write_truth(truth_path(path), truths)
