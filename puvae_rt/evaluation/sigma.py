"""The search of sigma_eps, the scale of the sampling noise (the second half of the paper's Figure 4)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from puvae_rt.data import Dataset
from puvae_rt.defenses.protocol import classify
from puvae_rt.defenses.puvae import Puvae
from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.cells import Cell
from puvae_rt.evaluation.results import IDENTITY, SIGMA_FILE, Row, accuracy_fields, measure_once
from puvae_rt.evaluation.run import Note, Options, cell_images, label
from puvae_rt.training.device import clock_of

SIGMAS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)  # the paper's
PICTURES = 8  # purified images stored with each row
_IDENTITY = (*IDENTITY, "sigma_eps")


def search_sigma(cells: Sequence[Cell], dataset: Dataset, options: Options, note: Note) -> list[Row]:
    """Accuracy of PuVAE's cells at every sigma_eps; finished ones are kept and skipped."""
    folder, rows = options.folder(dataset.name), []
    for cell in cells:
        names = (cell.defense, f"classifier_{cell.classifier.lower()}")
        weights = {name: folder.digest(name) for name in names}
        n = options.images(cell.defense, len(dataset.test))
        for sigma in SIGMAS:
            wanted = vars(cell) | {"sigma_eps": sigma, "n": n, "seed": options.seed, "weights": weights}
            measure = partial(_measure, cell, sigma, dataset, n, options)
            row, _ = measure_once(options.results / SIGMA_FILE, wanted, _IDENTITY, measure, options.gpu)
            rows.append(row)
            note(f"{label(cell)} sigma_eps {sigma:g}: {100 * row['accuracy']:.1f}%")
    return rows


def _measure(cell: Cell, sigma: float, dataset: Dataset, n: int, options: Options) -> Row:
    folder = options.folder(dataset.name)
    chooser, _ = folder.selector(cell.defense)
    images, labels = cell_images(cell, dataset, n, options)
    clock = clock_of(options.device)
    start = clock()
    purified = Puvae(chooser.vae, chooser.score, sigma, options.seed, chooser.prior, chooser.shortlist).purify(images)
    hits = int((classify(folder.classifier(cell.classifier), purified) == labels).sum())
    seconds = clock() - start
    return accuracy_fields(hits, n) | {"seconds": seconds, "pictures": encode(images[:PICTURES], purified[:PICTURES])}


def encode(images: Tensor, purified: Tensor) -> str:
    """Two rows of pictures, the input above its purified image, as a PNG in base64."""
    strips = [torch.cat(list(part), dim=2) for part in (images, purified)]  # [C,H,PICTURES*W]
    sheet = torch.cat(strips, dim=1).permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
    ok, data = cv2.imencode(".png", sheet[:, :, ::-1])  # RGB -> BGR; gray stays
    if not ok:
        raise ResultsError("pictures: OpenCV could not write a PNG; expected 1 or 3 channels")
    return base64.b64encode(data.tobytes()).decode("ascii")


def decode(pictures: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pictures of a row, RGB [2*H, PICTURES*W, 3]."""
    try:
        data = np.frombuffer(base64.b64decode(pictures, validate=True), np.uint8)
        sheet = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except ValueError as error:
        raise ResultsError(f"pictures: not base64 ({error}); measure the row again") from error
    if sheet is None:
        raise ResultsError("pictures: not a PNG; measure the row again")
    return np.asarray(sheet[:, :, ::-1], np.uint8)
