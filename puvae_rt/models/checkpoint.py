"""Files of trained weights (.safetensors), read as untrusted input and without PyTorch."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from puvae_rt._moved import renamed
from puvae_rt.errors import BuildError, PuvaeError
from puvae_rt.files import open_regular
from puvae_rt.models.header import Header, read_header
from puvae_rt.refusal import printable
from puvae_rt.weights_file import atomic_weights

Array = npt.NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]

MAX_FILE_BYTES = 1 << 30
STORED = ("F32", "F16")  # how tensors may be stored; they are computed with in FP32
_ABSENT = "give the path of a .safetensors file, or train it first with `puvae train`"
_REMEDY = "give a .safetensors that `puvae train` wrote"


@contextmanager
def opened(path: Path, framework: str, error: type[PuvaeError], remedy: str) -> Iterator[Any]:
    """Opens a .safetensors file of at most `MAX_FILE_BYTES`; `framework` ("np" or "pt") says what its tensors become.

    Raises:
        error: absent, not a regular file, too large, or damaged.
    """
    try:
        open_regular(path, MAX_FILE_BYTES).close()
        with safe_open(path, framework) as file:
            yield file
    except (OSError, SafetensorError) as problem:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOENT, errno.ENOTDIR):
            raise error(f"{path}: no such file; {_ABSENT}") from problem
        raise error(f"{path}: not readable as weights ({printable(problem)}); {remedy}") from problem


def read_checkpoint(
    path: Path,
    kind: type[Header],
    shapes: Callable[[Header], Shapes],
) -> tuple[Header, dict[str, Array]]:
    """A checkpoint's header, and exactly the tensors that it calls for, in FP32.

    Args:
        path: a .safetensors file.
        kind: what the header must say it is.
        shapes: name -> shape of every tensor of what the header describes.
    Raises:
        BuildError: absent, damaged, of another kind, or with other tensors than described.
    """
    with opened(path, "np", BuildError, _REMEDY) as file:
        header, _ = read_header(file.metadata() or {}, kind, str(path), _REMEDY, BuildError)
        expected = shapes(header)
        _check_tensors(path, {name: file.get_slice(name) for name in file.keys()}, expected)  # noqa: SIM118
        tensors = {name: file.get_tensor(name).astype(np.float32, copy=False) for name in expected}
    if bad := sorted(name for name, value in tensors.items() if not np.isfinite(value).all()):
        raise BuildError(f"{path}: {bad[0]} holds NaN or infinity, expected finite numbers; train again")
    return header, tensors


def stored_shapes(path: Path) -> Shapes:
    """The shape of every tensor that a checkpoint says it holds; BuildError when it is absent or damaged."""
    with opened(path, "np", BuildError, _REMEDY) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def rewrite_checkpoint(source: Path, path: Path, tensors: Mapping[str, Array]) -> None:
    """Writes `tensors` under the header of the checkpoint `source` to `path`, as `atomic_weights` does."""
    with opened(source, "np", BuildError, _REMEDY) as file:
        metadata = file.metadata()
    with atomic_weights(path) as part:
        save_file({name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}, part, metadata)


def _check_tensors(path: Path, slices: Mapping[str, Any], expected: Shapes) -> None:
    if slices.keys() != expected.keys():
        missing, extra = sorted(expected.keys() - slices.keys()), sorted(slices.keys() - expected.keys())
        raise BuildError(f"{path}: tensors missing: {missing[:3]}, unexpected: {extra[:3]}; {_REMEDY}")
    for name, tensor in slices.items():
        got = (tensor.get_dtype(), tuple(tensor.get_shape()))
        if got[0] not in STORED or got[1] != expected[name]:
            raise BuildError(
                f"{path}: {name}: got {got[0]} {got[1]}, expected {' or '.join(STORED)} {expected[name]}; {_REMEDY}"
            )


_OLD = {name: f"puvae_rt.models.header:{name}" for name in ("META_KEY", "FORMAT")}
__getattr__ = renamed(__name__, _OLD | {"Description": "puvae_rt.graph.description:Description"})
