"""Where frames come from: a file, folder, camera, stream, or the synthetic clip. They differ in what slowness does.

A file waits: every frame is seen, unless it is paced as a camera. A camera or a stream does not wait: a policy says
which of its frames are kept, and those that went by unseen are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from puvae_rt.errors import VideoError
from puvae_rt.video.files import FileSource
from puvae_rt.video.folder import FolderSource
from puvae_rt.video.live import LiveSource
from puvae_rt.video.opening import device_of, opener
from puvae_rt.video.paced import PacedSource
from puvae_rt.video.policy import EVERY, LATEST, Policy
from puvae_rt.video.reconnect import Reconnect
from puvae_rt.video.source import VideoSource
from puvae_rt.video.truth import truth_path
from puvae_rt.video.uri import SourceKind, SourceUri, parse_source

__all__ = ["AS_FAST", "AS_RECORDED", "Pace", "VideoSource", "files_of", "frames_read", "open_source"]


@dataclass(frozen=True)
class Pace:
    """How fast frames come that could come at any speed.

    Attributes:
        rate: frames a second; a camera is asked for it. None with `own_times` is the source's own.
        own_times: each frame at its own place in the file or recording.
    """

    rate: float | None = None
    own_times: bool = False


AS_FAST, AS_RECORDED = Pace(), Pace(own_times=True)  # as they are wanted; at their own times


def open_source(
    what: str | Path,
    synthetic: Callable[[], VideoSource],
    *,
    pace: Pace = AS_FAST,
    policy: Policy | None = None,
    reconnect: Reconnect | None = Reconnect(),  # frozen
) -> VideoSource:
    """An open source; what `what` may be, `puvae_rt.video.uri` says.

    Args:
        what: a path, or the text behind --source.
        synthetic: makes the synthetic clip.
        pace: of what could come at any speed.
        policy: which frames are kept for a slow consumer; None is `latest` for what is live or paced, else `every`.
        reconnect: how a lost camera or stream is tried again; None is not at all.
    Raises:
        VideoError: it cannot be opened, or is not a video; `what` is of another type.
    """
    uri = parse_source(what)
    if uri.live:
        return LiveSource(
            uri.name,
            opener(uri, pace.rate),
            policy=policy or LATEST,
            reconnect=reconnect,
            device=device_of(uri),
        )
    source = _open_stored(uri, synthetic)
    if pace == AS_FAST and policy in (None, EVERY):
        return source
    return PacedSource(source, pace.rate, policy or LATEST)


def _open_stored(uri: SourceUri, synthetic: Callable[[], VideoSource]) -> VideoSource:
    if uri.kind is SourceKind.SYNTHETIC:
        return synthetic()
    if uri.kind is SourceKind.FOLDER:
        return FolderSource(uri.path)
    if uri.kind is SourceKind.RECORDING:
        from puvae_rt.video.recording import RecordingSource

        return RecordingSource(uri.path)
    return FileSource(uri.path)


def frames_read(source: VideoSource, shown: int) -> int:
    """Frames that a source has read so far; one without a thread has read those that were `shown`."""
    return source.read if isinstance(source, (LiveSource, PacedSource)) else shown


def files_of(what: str) -> dict[str, Path]:
    """The files that `open_source(what)` reads, by what they are; none of a camera, a URL or the synthetic clip."""
    try:
        uri = parse_source(what)
        found = uri.kind in (SourceKind.FILE, SourceKind.RECORDING) and uri.path.is_file()
    except (OSError, ValueError, VideoError):  # a name that no file can have
        return {}
    if not found:
        return {}
    return {"--source": uri.path, "the ground truth of --source": truth_path(uri.path)}
