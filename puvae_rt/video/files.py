"""A video file as a source: every frame in turn, with the ground truth that lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2

from puvae_rt.errors import VideoError
from puvae_rt.video.capture import announced_fps, check_size, checked_frame
from puvae_rt.video.frames import Frame, Truth
from puvae_rt.video.truth import read_truth, truth_path

# Containers without an index announce a length worked out from the duration; one frame more or less is no damage.
_SLACK, _SLACK_SHARE = 2, 0.02


class FileSource:
    """Frames of a file. A frame whose data is damaged ends it with an error; the decoder tells of nothing subtler."""

    dropped = 0

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            what = "not a regular file; a camera is given by its index" if path.exists() else "no such file"
            raise VideoError(f"{path}: {what}; expected a video file, a camera's index, a URL or 'synthetic'")
        self.name = str(path)
        # The absolute path and the explicit reader keep a strange file name from being taken for a URL or a pattern.
        self._capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError(
                f"{path}: got {path.stat().st_size} bytes that are no readable video, expected one FFmpeg decodes; "
                "it may have been cut short while it was written or copied: copy or convert it again"
            )
        check_size(self._capture, self.name)
        self.fps = announced_fps(self._capture)
        self._announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._truth = read_truth(truth_path(path))

    def __iter__(self) -> Iterator[Frame]:
        for index in count():
            read, image = self._capture.read()
            if not read:
                break
            yield Frame(checked_frame(image, self.name, index), index, self._truth_of(index))
        self._check_complete(index)

    def close(self) -> None:
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

    def _check_complete(self, read: int) -> None:
        missing = self._announced - read
        if read == 0 or missing > max(_SLACK, _SLACK_SHARE * self._announced):
            raise VideoError(
                f"{self.name}: got {read} frames, expected {self._announced or 'at least one'}; the file is damaged or "
                "cut short from there on: copy or convert it again"
            )
