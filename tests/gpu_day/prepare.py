"""Fills .gpu, on any machine: images with what the CPU makes of them, wheels, kernels, data; and weighs it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt import Purifier
from puvae_rt.data import DATA_VARIABLE, KNOWN, load_dataset
from puvae_rt.errors import DataError, PuvaeError
from puvae_rt.evaluation.results import commit
from puvae_rt.files import write_json
from puvae_rt.kernels import binary
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names
from tests.gpu_day.plan import DONE_FILE, LIMIT_BYTES, PREPARED_FILE, ROOT, TRAINED
from tests.gpu_day.sheet import packed

# Of the runtime, what a machine made for PyTorch may lack.
WHEELS = ("msgspec>=0.18.6,<1", "platformdirs>=4,<5", "pooch>=1.8,<2")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
TENSORRT8 = "tensorrt8"
STEP = 100  # images of a call


def prepare(asked: argparse.Namespace) -> bool:
    """Whether what travels fits; earlier results in the folder stay, so that finished stages are not run again."""
    to: Path = asked.to
    for name in ("samples", "wheels", "cubin", "data"):
        shutil.rmtree(to / name, ignore_errors=True)
        (to / name).mkdir(parents=True)
    _ignore(to)
    models, left_out = _write_samples(asked.models or list(shipped_names()), asked.images, to / "samples")
    notes = [*left_out, *([] if asked.no_wheels else _fetch_wheels(asked.python, to / "wheels"))]
    notes += _compile(asked.capability, to / "cubin")
    for name in asked.train:
        shutil.copy(_data_file(name), to / "data")
    if asked.tensorrt8 is not None:
        shutil.copytree(asked.tensorrt8, to / TENSORRT8, dirs_exist_ok=True)
    document = {"commit": commit(ROOT / "puvae_rt"), "models": models, "images": asked.images, "notes": notes}
    write_json(to / PREPARED_FILE, document)
    _tell(to, document)
    return _fits(to)


def _ignore(to: Path) -> None:
    """Git leaves the folder alone wherever it lies in a checkout."""
    (to / ".gitignore").write_text("*\n")


def _write_samples(models: list[str], count: int, folder: Path) -> tuple[list[str], list[str]]:
    """The models that have images here, and why the others have none."""
    written, left_out = [], []
    for model in models:
        try:
            images = _images(model, count)
        except PuvaeError as error:
            left_out.append(f"{model} is left out: {error}")
            continue
        projected, labels = expected(model, images)
        color = images.shape[1] == 3
        pixels = {"sheet": packed(images)} if color else {"images": images}
        np.savez_compressed(folder / f"{model}.npz", projected=projected, labels=labels, **pixels)
        written.append(model)
    return written, left_out


def _images(model: str, count: int) -> Any:
    """uint8 [N,C,H,W] of a model's test images: those that ship, or the data set's."""
    found = shipped(model)
    if SAMPLES_FILE in found.sha256:
        images = np.load(found.path(SAMPLES_FILE))["images"][:count]
    else:
        dataset = load_dataset(model, _data_file(model))
        images = np.rint(dataset.test.batch(slice(0, count))[0] * 255).astype(np.uint8)
    return images.reshape(len(images), *found.contract.shape)


def expected(model: str, images: Any) -> tuple[Any, Any]:
    """The classes that the CPU's FP32 engine chooses, and the classifier's labels behind it; both [N] int64."""
    projected, labels = [], []
    with Purifier.load(model) as purifier:
        assert purifier.classifier is not None, "every shipped model has one"
        for i in range(0, len(images), STEP):
            purified = purifier.purify(images[i : i + STEP])
            projected.append(purified.projected)
            labels.append(purifier.classifier.labels(purified.images))
    return np.concatenate(projected), np.concatenate(labels)


def _fetch_wheels(python: str, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *WHEELS], capture_output=True, text=True, check=False)
    return [f"no wheels: {done.stderr.strip()[-200:]}"] if done.returncode else []


def _compile(capability: str, folder: Path) -> list[str]:
    """The kernels as nvcc makes them; NVRTC compiles them there where none is here."""
    if shutil.which("nvcc") is None:
        return ["no nvcc here: NVRTC compiles the kernels on the other machine"]
    told = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    toolkit = told.partition("release ")[2].partition(",")[0]
    target = folder / f"sm_{capability}.cuda{toolkit}.{binary.source_digest()}.cubin"
    command = ["nvcc", "-std=c++17", "-O3", "-cubin", f"-arch=sm_{capability}", "-o", str(target)]
    subprocess.run([*command, str(binary.SOURCE)], check=True)
    return []


def _data_file(name: str) -> Path:
    """A data set's file where PUVAE_DATA says; DataError without it: nothing is downloaded here."""
    path = Path(os.environ.get(DATA_VARIABLE, "")) / KNOWN[name].file
    if DATA_VARIABLE not in os.environ or not path.is_file():
        raise DataError(f"no {KNOWN[name].file}, expected it in the folder that {DATA_VARIABLE} names")
    return path


def travelling(to: Path) -> dict[str, int]:
    """Bytes of each part of what travels: the checkout's folders, and the prepared ones. TensorRT 8 is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    sizes: dict[str, int] = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():  # a sparse checkout leaves some out, and they stay behind
            part = "/".join(name.split("/")[:3][: name.count("/")]) or name
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    for path in to.rglob("*"):
        if path.is_file() and TENSORRT8 not in path.relative_to(to).parts:
            part = f"{to.name}/{path.relative_to(to).parts[0]}"
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return sizes


def _fits(to: Path) -> bool:
    sizes = travelling(to)
    total = sum(sizes.values())
    print(f"travels: {total / 2**20:.1f} MiB of at most {LIMIT_BYTES / 2**20:.0f}")
    if total <= LIMIT_BYTES:
        return True
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    print("too much; the largest parts:", *(f"  {size / 2**20:6.1f} MiB  {part}" for part, size in largest), sep="\n")
    print("leave out what the stages do not read, as docs/howto/gpu_day.md says, or give fewer --images or --models")
    return False


def _tell(to: Path, document: dict[str, Any]) -> None:
    print(f"{to}: {json.dumps({key: document[key] for key in ('commit', 'models', 'images')})}")
    for note in document["notes"]:
        print(f"  {note}")
    for name in (DONE_FILE, *(path.name for path in to.glob(f"{TRAINED}.*"))):
        if (to / name).exists():
            print(f"  goes on from {name}")
