"""A web page with handwritten digits attacked and purified live: of a source here, or of the browser's own camera.

The page and all that it needs come from this process; it works without a network. It is served to this machine alone
unless --host says otherwise, and then to those alone who know the token in --token-file. Browsers give their camera to
pages of localhost and of HTTPS only: elsewhere --tls is needed for it. Ctrl-C ends the server in good order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.commands import demo_video
from puvae_rt.cli.commands.demo_video import also_read, at_end
from puvae_rt.cli.options import READ, option
from puvae_rt.cli.streaming import StreamOptions

__all__ = ["HINT", "Options", "also_read", "at_end", "run"]
HINT = demo_video.HINT
_arguments = shared.own("demos.arguments")


@dataclass(frozen=True)
class Options(StreamOptions):
    """Arguments of `puvae demo web`."""

    rate: float | str | None = option(
        _arguments.SOURCE_RATE,
        help="frames a second, at which a file, folder or clip is played as by a camera, or 'source' for each frame at "
        "its own time; a camera is asked for it",
        parse=_arguments.rate,
        metavar="X",
    )
    host: str = option(_arguments.LOOPBACK, help="address to listen on; 0.0.0.0 and :: are all of this machine's")
    port: int = option(8080, help="port to listen on; 0 takes a free one", least=0, most=65535)
    token_file: Path | None = option(
        None,
        help="file with the token that a visitor has to know; needed with any --host but this machine's own",
        default_text="none: everybody on this machine may look",
        role=READ,
    )
    tls: tuple[Path, Path] | None = option(
        None, help="certificate and key, PEM, for HTTPS", metavar=("CERT", "KEY"), default_text="none", role=READ
    )
    visitors: int = option(16, help="browsers that may be connected at once", least=1, most=256)


def run(options: Options) -> Outcome:
    """Serve the page until a signal; accuracies, latencies and counts."""
    return demo_video.play(options, shared.own("demos.web").run)
