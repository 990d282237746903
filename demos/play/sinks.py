"""Where annotated frames go: an MP4 file, or a Matroska file that can be played however the process ends."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

import cv2

from puvae_rt.errors import FileError, VideoError
from puvae_rt.scratch import scratch_folder, sync, told
from puvae_rt.video.capture import opencv_path
from puvae_rt.video.frames import Pixels

_MP4, _MKV = ".mp4", ".mkv"
_CODEC = "mp4v"  # in every build of OpenCV, unlike H.264


class Mp4Writer:
    """Writes frames of one size to a scratch folder beside `path`; the file takes its name when it is whole.

    An MP4 file gets its index at the end: it is playable once closed, however early, and leaving a `with` block closes
    it, an error or an interrupt included. A process that is killed leaves the scratch folder, which the next one there
    removes, and no broken `path`.

    A `path` that ends in .mkv is written in place: of a process that is killed, what it has is a video that plays.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        width, height = size
        if path.suffix.lower() not in (_MP4, _MKV):
            raise VideoError(f"{path}: got the suffix {path.suffix!r}, expected .mp4 or .mkv")
        if width % 2 or height % 2:
            raise VideoError(f"{path}: got frames of {width}x{height}, MPEG-4 takes even sides; crop a row or column")
        self.path, self.frames, self._size = path, 0, size
        opencv_path(path)
        with contextlib.ExitStack() as stack:
            try:
                self._part = self._place(path, stack)
            except FileError as error:
                raise VideoError(
                    f"{path}: its folder cannot be made or written ({error.strerror}); choose another"
                ) from error
            self._writer = cv2.VideoWriter(opencv_path(self._part), cv2.VideoWriter.fourcc(*_CODEC), fps, size)
            if not self._writer.isOpened():
                raise VideoError(f"{path}: cannot be written ({width}x{height}, {fps:g} fps); choose a writable folder")
            self._scratch = stack.pop_all()

    @staticmethod
    def _place(path: Path, stack: contextlib.ExitStack) -> Path:
        """Where frames go; FileError where that cannot be made."""
        if path.suffix.lower() == _MP4:
            return stack.enter_context(scratch_folder(path.parent, path)) / "video.mp4"
        with told(path, "cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, image: Pixels) -> None:
        """BGR uint8 [H,W,3] of the size given at construction."""
        if image.shape != (self._size[1], self._size[0], 3):  # OpenCV would drop it without a word
            raise VideoError(f"{self.path}: got a frame {image.shape}, expected {(*self._size[::-1], 3)}")
        self._writer.write(image)
        self.frames += 1

    def close(self) -> None:
        """Ends the file; VideoError when less arrived on the disk than was written. Nothing written: no file."""
        if not self._writer.isOpened():
            return
        self._writer.release()
        with self._scratch:
            if not self.frames:
                self._part.unlink(missing_ok=True)
            else:
                self._check()
                try:
                    sync(self._part)
                    self._part.replace(self.path)
                except OSError as error:
                    raise VideoError(f"{self.path}: cannot be written ({error.strerror}); choose another") from error

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        """OpenCV tells nobody of a full disk."""
        written = cv2.VideoCapture(str(self._part), cv2.CAP_FFMPEG)
        stored = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        # Matroska tells the duration, which is rounded.
        if abs(stored - self.frames) > (self._part.suffix.lower() == _MKV):
            raise VideoError(f"{self.path}: got {stored} frames stored of {self.frames} written; is the disk full?")
