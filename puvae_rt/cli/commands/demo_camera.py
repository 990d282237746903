"""A camera with handwritten digits shown to it, attacked and purified live, with keys.

a: the next attack; + and -: epsilon; p: purifier on and off; space: pause; r: record, into record-001.mcap beside
--out; s: snapshot; q or Escape: the end. What `demo video` takes is taken here as well; headless there are no keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.commands import demo_video
from puvae_rt.cli.commands.demo_video import also_read, at_end
from puvae_rt.cli.options import WRITTEN, option

__all__ = ["HINT", "Options", "also_read", "at_end", "run"]
HINT = demo_video.HINT


@dataclass(frozen=True)
class Options(demo_video.Options):
    """Arguments of `puvae demo camera`."""

    source: str = option("0", help="camera to show: its index or device, or any source of `demo video`")
    out: Path = option(Path("out/camera.mp4"), help="annotated video to write, .mp4 or .mkv", role=WRITTEN)


def run(options: Options) -> Outcome:
    """Show the camera; accuracies, latencies and counts."""
    return demo_video.play(options, shared.own("demos.camera").run)
