"""A video file as a source: every frame in turn, with the ground truth that lies beside it."""

from __future__ import annotations

import logging
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import cv2

from puvae_rt.errors import VideoError
from puvae_rt.video.capture import announced_fps, check_video, checked_frame, codec_of, opencv_path
from puvae_rt.video.container import read_layout
from puvae_rt.video.frames import Frame, Truth
from puvae_rt.video.truth import read_truth, truth_path
from puvae_rt.video.uri import EXPECTED
from puvae_rt.video.urls import redact_url

logger = logging.getLogger(__name__)

_SLACK, _SLACK_SHARE = 2, 0.02  # frames that the decoder may leave out at either end of a healthy video

_KINDS = {
    stat.S_IFDIR: "a folder, not a file; give the text, or a folder of images",
    stat.S_IFIFO: "a FIFO, not a regular file; write the video to a file, or stream it to a URL",
    stat.S_IFSOCK: "a socket, not a regular file; give its URL",
    stat.S_IFCHR: "a device, not a regular file; a camera is given by its index",
    stat.S_IFBLK: "a disk, not a regular file",
}


class FileSource:
    """Frames of a file. A frame whose data is damaged ends it with an error; the decoder tells of nothing subtler.

    Raises:
        VideoError: it is no video file, or cannot be read; while it is iterated: it was cut short.
    """

    dropped = 0
    counts: Mapping[str, int] = Counter()  # a file has no events but its end

    def __init__(self, path: Path) -> None:
        _check_regular(path)
        self.name = str(path)
        # The absolute path and the explicit reader keep a strange file name from being taken for a URL or a pattern.
        self._capture = cv2.VideoCapture(opencv_path(path.resolve()), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError(
                f"{path}: got {path.stat().st_size} bytes that are no readable video, expected one FFmpeg decodes; "
                "it may have been cut short while it was written or copied: copy or convert it again"
            )
        check_video(self._capture, self.name)
        self.fps = announced_fps(self._capture)
        self._truth = read_truth(truth_path(path))

    def __iter__(self) -> Iterator[Frame]:
        seconds = 0.0
        for index in count():
            read, image = self._capture.read()
            if not read:
                break
            captured = time.monotonic()
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            image = checked_frame(image, self.name, index)
            yield Frame(image, index, self._truth_of(index), captured, seconds=seconds)
        self._check_complete(index, seconds)

    def close(self) -> None:
        """Lets go of the file."""
        self._capture.release()

    def _truth_of(self, index: int) -> Truth | None:
        if self._truth is None:
            return None
        if index >= len(self._truth):
            raise VideoError(
                f"{truth_path(Path(self.name))}: tells of {len(self._truth)} frames, {self.name} has more; "
                "it belongs to another clip: make both again or remove it"
            )
        return self._truth[index]

    def _check_complete(self, read: int, seconds: float) -> None:
        """An error where frames are known to be missing, a warning where more were announced; `seconds`: of the last.

        The count that the decoder announces is the duration times the rate in most containers, and counts the hidden
        frames of trimmed clips in the others: no promise.
        """
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if read and not _short(read, announced):
            return
        layout = read_layout(Path(self.name))
        expected = announced if layout.shown is None else layout.shown
        reached = (seconds + 1 / self.fps) * self.fps  # frames, had they come at an even rate
        cut = layout.cut and _short(reached, announced)
        if read == 0 and not layout.cut:
            raise VideoError(
                f"{self.name}: got 0 frames, expected {max(0, expected) or 'at least one'}; OpenCV's FFmpeg decodes "
                f"none: convert the video (its codec is {codec_of(self._capture)}) to H.264, unless it is damaged"
            )
        if read == 0 or (_short(read, expected) if layout.shown is not None else cut):
            raise VideoError(
                f"{self.name}: got {read} frames, expected {max(0, expected) or 'at least one'}; the file is damaged "
                "or cut short from there on: copy or convert it again"
            )
        if layout.shown is None and _short(reached, announced):
            logger.warning("%s: its header announced %d frames, its end came after %d", self.name, announced, read)


def _short(frames: float, expected: int) -> bool:
    return expected - frames > max(_SLACK, _SLACK_SHARE * expected)


def _check_regular(path: Path) -> None:
    """VideoError that names what is there instead of a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        what = "a symbolic link to nothing" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:
        what = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    else:
        if stat.S_ISREG(mode):
            return
        what = f"got {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}"
    shown = redact_url(str(path)).encode("utf-8", "backslashreplace").decode("utf-8")
    raise VideoError(f"{shown}: {what}; {EXPECTED}")
