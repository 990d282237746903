"""Videos: a lossless one (FFV1 in Matroska) of the purified frames, and a table of results beside it."""

from __future__ import annotations

import csv
import io
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from puvae_rt.errors import VideoError
from puvae_rt.purify import arrays
from puvae_rt.purify.arrays import plan, write
from puvae_rt.purify.batch import COLUMNS
from puvae_rt.purify.chunks import Chunk, Finished, Items
from puvae_rt.purify.job import Job, Report, Task
from puvae_rt.purify.rows import CHANNELS_FIRST, Form, Inputs
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.video.files import FileSource

__all__ = ["assemble", "load", "plan", "write"]

SUFFIX, CODEC = ".mkv", "FFV1"


def load(job: Job, task: Task, purifier: Purifier) -> Items:
    """The chunks of a video that are not done; every frame is decoded. VideoError where it is damaged."""
    name, stamp = task.files[0], task.stamps[0]
    with job.reads.as_path(name) as path:
        source = FileSource(path)
        try:
            frames, start = iter(source), 0
            while images := [as_input(frame.image, None, purifier.contract) for frame in islice(frames, job.batch)]:
                if start not in task.done:
                    keys = [f"{name}#{row}" for row in range(start, start + len(images))]
                    inputs = Inputs(np.concatenate(images), [""] * len(images))
                    yield Chunk(name, stamp, start, keys, inputs, Form(CHANNELS_FIRST))
                start += len(images)
            yield Finished(name, stamp, start, {"fps": source.fps})
        finally:
            source.close()


def assemble(job: Job, finished: Finished) -> Report:
    """Writes the video and its table out of the parts, which go."""
    parts, rows = arrays.collect(job, finished)
    images = rows.pop("image")
    with tempfile.TemporaryDirectory(prefix="puvae-") as folder:
        path = Path(folder, "video" + SUFFIX)
        _write_video(path, images, finished.beside["fps"])
        job.writes.publish(out_name(finished.file), path)
    job.writes.write({finished.file + ".csv": _table(finished.file, rows)})
    arrays.close(job, finished, parts)
    return Report(0)


def out_name(name: str) -> str:
    """Of the video that is made of one: the same, with .mkv behind another suffix."""
    return name if name.lower().endswith(SUFFIX) else name + SUFFIX


def _write_video(path: Path, images: Any, fps: float) -> None:
    """Frames uint8 [N,C,H,W] as a lossless video."""
    size = images.shape[3], images.shape[2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), fps, size)
    try:
        if not writer.isOpened():
            raise VideoError(
                f"{path.name}: OpenCV {cv2.__version__} cannot write {CODEC}, expected its FFmpeg; install "
                "opencv-python-headless"
            )
        for image in images:
            shown = np.repeat(image, 3, 0) if len(image) == 1 else image[::-1]
            writer.write(np.ascontiguousarray(shown.transpose(1, 2, 0)))
    finally:
        writer.release()


def _table(name: str, rows: dict[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["row", *COLUMNS])
    for index, values in enumerate(zip(*(rows[column].tolist() for column in COLUMNS), strict=True)):
        table.writerow([f"{name}#{index}", *("" if value != value else value for value in values)])
    return text.getvalue().encode()
