"""What the page is told of a frame, as JSON, and the frame as JPEG behind it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import cv2
import msgspec
import numpy as np

from demos.play.defense import Outcome, Stage
from demos.play.digits import Digit
from demos.play.race import BUDGETS, DONE, GAN, PUVAE, Race, Round, budget_name
from puvae_rt.runtime.results import Floats
from puvae_rt.video.frames import Pixels

MAX_SIDE = 640  # of a picture on its way to a page
QUALITY = 80
_LENGTH = struct.Struct(">I")


def packed(document: dict[str, Any], jpeg: bytes = b"") -> bytes:
    """One binary message: the length of the JSON, the JSON, the JPEG. NaN and infinity become null."""
    text = msgspec.json.encode(document)
    return _LENGTH.pack(len(text)) + text + jpeg


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    """What `packed` was given."""
    end = _LENGTH.size + _LENGTH.unpack_from(message)[0]
    return msgspec.json.decode(message[_LENGTH.size : end]), message[end:]


def picture(image: Pixels) -> bytes:
    """A frame as JPEG, its longer side at most `MAX_SIDE`."""
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(scale * side)) for side in (image.shape[1], image.shape[0]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1])


def seen(image: Pixels, digit: Digit | None, outcome: Outcome | None, classes: Sequence[str]) -> dict[str, Any]:
    """What was made of a frame: the digit's box as shares of the frame, the images, the labels, the distances."""
    height, width = image.shape[:2]
    box = None
    if digit is not None:
        x, y, w, h = digit.box
        box = [x / width, y / height, w / width, h / height]
    return {"box": box, "outcome": None if outcome is None else _outcome(outcome, classes)}


def _outcome(outcome: Outcome, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "input": _stage(outcome.clean, classes),
        "attacked": None if outcome.attacked is None else _stage(outcome.attacked, classes),
        "purified": _stage(outcome.purified, classes),
        "chosen": outcome.chosen,
        "rmse": outcome.rmse.tolist(),
        "degraded": outcome.degraded,
        "reason": outcome.reason,
        "shown": outcome.shown,
        "suspicion": outcome.suspicion,
        "alarm": outcome.alarm,
        "timings_ms": dict(outcome.timings_ms),
    }


def _stage(stage: Stage, classes: Sequence[str]) -> dict[str, Any]:
    return {"label": stage.label, "name": name_of(stage.label, classes), "pixels": pixels(stage.image)}


def name_of(label: int, classes: Sequence[str]) -> str:
    """The class's name; "?" for none."""
    return classes[label] if 0 <= label < len(classes) else "?"


def pixels(image: Floats) -> str | None:
    """An image [1,H,W] in [0,1] as its gray levels, base64; None where it is NaN."""
    if not np.isfinite(image).all():
        return None
    levels = np.round(255 * np.clip(image[0], 0, 1)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")


def race(contest: Race, classes: Sequence[str]) -> dict[str, Any]:
    """The round under way: what both have at each budget, and how often each was right so far."""
    accuracy, now = contest.accuracy(), contest.now
    budgets = [budget_name(each) for each in (*BUDGETS, None)]
    return {
        "rounds": contest.rounds,
        "form": contest.form,
        "truth": None if now is None else now.truth,
        "ms": {
            PUVAE: None if now is None else now.puvae_ms,
            GAN: None if now is None or DONE not in now.gan else now.gan[DONE][2],
        },
        "budgets": budgets,
        "racers": {
            racer: [{"accuracy": accuracy[racer][budget], **_cell(now, racer, budget, classes)} for budget in budgets]
            for racer in (PUVAE, GAN)
        },
    }


def _cell(now: Round | None, racer: str, budget: str, classes: Sequence[str]) -> dict[str, Any]:
    label = None if now is None else now.label(racer, budget)
    if now is None or label is None:
        return {"label": None, "name": "", "pixels": None}
    image = now.gan[budget][1] if racer == GAN else now.purified
    if racer == PUVAE and budget != DONE and now.puvae_ms > float(budget):
        image = now.attacked
    return {"label": label, "name": name_of(label, classes), "pixels": pixels(image)}
