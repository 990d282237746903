"""What a user may hand over by mistake: every one is a typed error that says what was expected, at once."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.errors import ClosedError, ContractError, InputError, PuvaeError
from tests.runtime import toy

ODD: dict[str, Any] = {
    "number": 3,
    "float": 0.5,
    "bytes": b"mnist",
    "list": ["mnist"],
    "dict": {},
    "object": object(),
    "array": np.array([1, 2]),
    "path of bytes": type("P", (os.PathLike,), {"__fspath__": lambda self: b"mnist"})(),
}
UNNAMEABLE = {
    "NUL": "a\0b",
    "lone surrogate": "a\ud800b",
    "too long": "a" * 5000,
    "too long a path": "a/" * 5000,
}


def by_type(value: object) -> str:
    """A test's name that is the same in every process, as an object's repr is not."""
    return type(value).__name__


@pytest.mark.parametrize("value", [None, True, *ODD.values()], ids=["None", "True", *ODD])
def test_source_of_another_type(value: Any) -> None:
    with pytest.raises(ContractError, match=r"source: got .* expected a shipped model's name or a bundle's folder"):
        Purifier.load(value)


@pytest.mark.parametrize("value", ["", *ODD.values()], ids=["empty", *ODD])
def test_classifier_of_another_type(bundle: Path, value: Any) -> None:
    with pytest.raises(ContractError, match=r"classifier: got .* expected True, False, a shipped classifier's name"):
        Purifier.load(bundle, threads=1, classifier=value)


@pytest.mark.parametrize("name", UNNAMEABLE.values(), ids=UNNAMEABLE)
@pytest.mark.parametrize("convert", [str, Path], ids=["str", "Path"])
def test_what_no_file_can_be_called(bundle: Path, name: str, convert: Callable[[str], Any]) -> None:
    with pytest.raises(ContractError, match="source: got") as raised:
        Purifier.load(convert(name))
    str(raised.value).encode()
    with pytest.raises(ContractError, match="classifier: got"):
        Purifier.load(bundle, threads=1, classifier=convert(name))


@pytest.mark.parametrize("value", [True, *ODD.values()], ids=["True", *ODD])
def test_target_of_another_type(bundle: Path, value: Any) -> None:
    with pytest.raises(ContractError, match=r"target: got .* expected one of cpu, native, rtx, tensorrt"):
        Purifier.load(bundle, target=value)


@pytest.mark.parametrize("value", [True, *ODD.values()], ids=["True", *ODD])
def test_device_of_another_type(bundle: Path, value: Any) -> None:
    with pytest.raises(ContractError, match=r"device: got .* expected a name as in 'cuda:1'"):
        Purifier.load(bundle, device=value)


@pytest.mark.parametrize(
    "value", [-1, True, "5", *(v for k, v in ODD.items() if k != "number")], ids=by_type
)  # fmt: skip
def test_seed_of_another_type(bundle: Path, value: Any) -> None:
    with pytest.raises(ContractError, match=r"seed: got .* expected an integer from 0 up"):
        Purifier.load(bundle, threads=1, seed=value)


@pytest.mark.parametrize("value", [None, 0, 2**70, np.uint8(3)], ids=str)
def test_seeds_that_are_taken(bundle: Path, value: Any) -> None:
    Purifier.load(bundle, threads=1, seed=value).close()


def test_no_classifier_by_none(bundle: Path) -> None:
    with Purifier.load(bundle, threads=1, classifier=None) as purifier:  # type: ignore[arg-type]
        assert purifier.classifier is None


class Unconvertible:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise KeyError("no array today")

    def __iter__(self) -> Any:
        raise OSError("no four values today")


@pytest.mark.parametrize(
    "value",
    [Unconvertible(), object(), None, "text", {}, 1j, np.datetime64("2026-01-01")],
    ids=by_type,
)
def test_images_and_noise_of_another_type(tmp_path: Path, value: Any) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)
    with Purifier.load(bundle, threads=1) as purifier:
        with pytest.raises(InputError, match=r"images: got .* expected|images: got .* give a float32"):
            purifier.purify(value)
        if value is not None:
            with pytest.raises(InputError, match=r"noise: got .* expected"):
                purifier.purify(np.zeros((2, 28, 28), np.uint8), value)
        with pytest.raises(InputError, match="frame: got"):
            purifier(value)


@pytest.mark.parametrize("noise", [[[1.0], [1.0, 2.0]], 3], ids=str)
def test_noise_that_is_no_array(tmp_path: Path, noise: Any) -> None:
    bundle = toy.save_bundle(tmp_path / "sampling", sampling=True)
    with Purifier.load(bundle, threads=1) as purifier, pytest.raises(InputError, match=r"noise: got .* expected"):
        purifier.purify(np.zeros((2, 28, 28), np.uint8), noise)


REGIONS = [
    *(3, "abcd", "1234", (1, 2, 3), (1, 2, 3, 4, 5), (1.0, 2, 3, 4), (True, 0, 5, 5), (None,) * 4, Unconvertible()),
    *({}, object(), np.zeros((2, 2)), (0, 0, 10**30, 10**30), (10**30, 0, 5, 5), (float("nan"),) * 4),
]


@pytest.mark.parametrize("roi", REGIONS, ids=lambda roi: type(roi).__name__)
def test_regions_that_are_none(purifier: Purifier, roi: Any) -> None:
    with pytest.raises(InputError, match=r"roi: got "):
        purifier(np.zeros((40, 40), np.uint8), roi)


@pytest.mark.parametrize("roi", [[1, 2, 9, 9], np.array([1, 2, 9, 9]), tuple(np.uint8([1, 2, 9, 9]))], ids=repr)
def test_regions_of_other_sequences(purifier: Purifier, roi: Any) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    np.testing.assert_array_equal(purifier(frame, roi).image, purifier(frame, (1, 2, 9, 9)).image)


BASE = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
READ_ONLY = BASE.copy()
READ_ONLY.flags.writeable = False
UNALIGNED = np.frombuffer(b"x" + BASE.tobytes(), np.uint8, offset=1).reshape(BASE.shape)
FRAMES = {
    "upside down": BASE[::-1],
    "mirrored": BASE[:, ::-1],
    "RGB as BGR": BASE[..., ::-1],
    "turned": np.rot90(BASE),
    "every other": BASE[::2, 1::3],
    "one channel of three": BASE[..., 1],
    "transposed": BASE[..., 0].T,
    "column order": np.asfortranarray(BASE),
    "read-only": READ_ONLY,
    "unaligned": UNALIGNED,
    "one value spread": np.broadcast_to(np.uint8(9), (40, 40)),
    "one row spread": np.broadcast_to(BASE[:1], (40, 48, 3)),
    "masked": np.ma.masked_array(BASE, BASE > 9),
    "one pixel": BASE[:1, :1],
    "one row": BASE[:1],
    "one column": BASE[:, :1],
    "wide": np.broadcast_to(BASE[:1, :1], (2, 70000, 3)),
    "tall": np.broadcast_to(BASE[:1, :1], (70000, 2, 3)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("roi", [None, (-3, -3, 30, 30)], ids=["whole", "sticking out"])
def test_frames_of_any_stride(purifier: Purifier, frame: np.ndarray, roi: Any) -> None:
    plain = np.array(frame, order="C", subok=False)
    np.testing.assert_array_equal(purifier(frame, roi).image, purifier(plain, roi).image)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint16, np.int64, np.float16, np.float64, bool, complex, "S1", "O", [("b", "u1")]], ids=str
)
def test_frames_of_other_types(purifier: Purifier, dtype: Any) -> None:
    with pytest.raises(InputError, match=r"frame: got dtype .* expected a uint8 array"):
        purifier(np.zeros((40, 40), dtype))


def test_a_closed_purifier_says_so_whatever_it_is_given(purifier: Purifier) -> None:
    purifier.close()
    for call in (lambda: purifier(object()), lambda: purifier.purify(object()), lambda: purifier(object(), object())):
        with pytest.raises(ClosedError):
            call()


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_a_purifier_is_not_sent_elsewhere(purifier: Purifier, send: Callable[[Any], Any]) -> None:
    for thing in (purifier,) if send is copy.copy else (purifier, purifier.classifier, purifier._engine):
        with pytest.raises(ContractError, match=r"cannot be pickled or copied.*in the worker"):
            send(thing)


def test_every_error_at_load_is_one_of_ours_and_leaves_the_purifier_usable(purifier: Purifier) -> None:
    for value in (*ODD.values(), *UNNAMEABLE.values()):
        for argument in ("source", "target", "threads", "classifier", "seed", "device"):
            if argument in ("seed", "threads") and isinstance(value, int):
                continue
            with pytest.raises(PuvaeError):
                Purifier.load(**{argument: value})
    assert len(purifier.purify(np.zeros((2, 28, 28), np.uint8))) == 2


def test_home_is_found_as_in_a_shell(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bundle.parent))
    for source in (f"~/{bundle.name}", Path("~", bundle.name)):
        Purifier.load(source, threads=1, classifier=False).close()
    with pytest.raises(PuvaeError, match="~nosuchuser"):
        Purifier.load("~nosuchuser/bundle")
