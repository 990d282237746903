"""engine.puvae from strangers: truncated, flipped, foreign, of another version, or with numbers that do not fit."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import BundleError, EngineError
from puvae_rt.native.binding import Instructions, Library, NativeModel
from puvae_rt.native.engine_file import HEADER_BYTES, LAYER_BYTES, Part, engine_file
from tests.native.models import CASES, random_images

CASE = next(case for case in CASES if case.name == "signs")
RANDOM_CASES = 400


@pytest.fixture(scope="module")
def sound() -> bytes:
    return engine_file(CASE.weights())


def resealed(data: bytes) -> bytes:
    """With a checksum that fits, so that what lies behind it is looked at."""
    return data[:12] + struct.pack("<I", zlib.crc32(data[16:])) + data[16:]


def patched(data: bytes, at: int, form: str, value: float) -> bytes:
    new = bytearray(data)
    struct.pack_into(form, new, at, value)
    return resealed(bytes(new))


def layer_at(data: bytes, part: Part) -> int:
    """Where the first layer of a part is described."""
    count = struct.unpack_from("<I", data, 80)[0]
    places = range(HEADER_BYTES, HEADER_BYTES + count * LAYER_BYTES, LAYER_BYTES)
    return next(at for at in places if struct.unpack_from("<I", data, at)[0] == part)


def refused(library: Library, data: bytes, match: str) -> None:
    for instructions in (Instructions.AUTO, Instructions.SCALAR):
        with pytest.raises(BundleError, match=match):
            NativeModel(library, data, instructions)


def test_a_sound_file_opens_from_disk_and_memory(libpuvae: Library, sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "Größe.puvae"
    path.write_bytes(sound)
    image = random_images(CASE.contract, 1)[0]
    outcomes = []
    for source in (path, sound):
        model = NativeModel(libpuvae, source)
        assert model.class_names == CASE.weights().classes
        outcomes.append(model.context().run_image(image))
    path.unlink()
    np.testing.assert_array_equal(outcomes[0].image, outcomes[1].image)


def test_its_names_are_utf8(libpuvae: Library) -> None:
    weights = CASES[0].weights()
    named = type(weights)(**(vars(weights) | {"classes": ("Straße", "出口", "")}))
    assert NativeModel(libpuvae, engine_file(named)).class_names == named.classes


@pytest.mark.parametrize("share", (0, 0.0001, 0.01, 0.3, 0.999999))
def test_truncated(libpuvae: Library, sound: bytes, share: float) -> None:
    refused(libpuvae, sound[: int(len(sound) * share)] or b"P", "engine.puvae")


def test_longer_than_it_says(libpuvae: Library, sound: bytes) -> None:
    refused(libpuvae, sound + b"\0", "says that it has")


@pytest.mark.parametrize("bit", range(24))
def test_a_flipped_bit(libpuvae: Library, sound: bytes, bit: int) -> None:
    at = bit * len(sound) // 24
    refused(libpuvae, sound[:at] + bytes([sound[at] ^ 1 << bit % 8]) + sound[at + 1 :], "engine.puvae")


@pytest.mark.parametrize("data", (b"\x7fELF" + bytes(200), b"\0" * 4096, b"{}" * 100), ids=("elf", "zeros", "json"))
def test_foreign(libpuvae: Library, data: bytes) -> None:
    refused(libpuvae, data, "no PUVAE mark")


def test_another_version(libpuvae: Library, sound: bytes) -> None:
    refused(libpuvae, patched(sound, 8, "<I", 2), "version 2, expected 1")


@pytest.mark.parametrize("name", ("", "absent.puvae"))
def test_no_file(libpuvae: Library, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"expected an engine\.puvae"):
        NativeModel(libpuvae, tmp_path / name)


HEADER = {
    "channels": (24, "<I", 2),
    "side": (28, "<I", 30),
    "classes": (32, "<I", 0),
    "many_classes": (32, "<I", 2**31),
    "decoded": (36, "<I", 44),
    "flags": (40, "<I", 4),
    "tau": (44, "<f", float("nan")),
    "kl_weight": (48, "<f", -1.0),
    "prior_weight": (52, "<f", float("inf")),
    "epsilon": (56, "<f", 0.0),
    "span": (60, "<f", 1e9),
    "names_offset": (64, "<Q", 2**64 - 1),
    "names_bytes": (72, "<Q", 2**63),
    "layers": (80, "<I", 2**32 - 1),
    "no_layers": (80, "<I", 0),
    "reserved": (84, "<I", 1),
}


@pytest.mark.parametrize("name", HEADER)
def test_a_number_of_the_header(libpuvae: Library, sound: bytes, name: str) -> None:
    refused(libpuvae, patched(sound, *HEADER[name]), "expected|class names|do not fit")


LAYER = {
    "part": (0, "<I", 10),
    "kind": (4, "<I", 4),
    "relu": (8, "<I", 2),
    "inputs": (12, "<I", 2**32 - 1),
    "other_inputs": (12, "<I", 31),
    "outputs": (16, "<I", 0),
    "other_outputs": (16, "<I", 33),
    "even_kernel": (20, "<I", 2),
    "large_kernel": (24, "<I", 2**31),
    "stride": (28, "<I", 3),
    "weights_beyond": (32, "<Q", 2**64 - 64),
    "weights_askew": (32, "<Q", 4),
    "bias_beyond": (40, "<Q", 2**40),
}


@pytest.mark.parametrize("part", Part, ids=lambda part: part.name)
@pytest.mark.parametrize("name", LAYER)
def test_a_number_of_a_layer(libpuvae: Library, sound: bytes, part: Part, name: str) -> None:
    if part == Part.CLASSIFIER:
        pytest.skip("the file has none")
    at, form, value = LAYER[name]
    refused(libpuvae, patched(sound, layer_at(sound, part) + at, form, value), "engine.puvae")


def test_random_damage_is_refused_or_harmless(libpuvae: Library, sound: bytes) -> None:
    """Behind a checksum that fits: whatever the numbers, the library answers or refuses."""
    random = np.random.default_rng(0)
    described = HEADER_BYTES + LAYER_BYTES * struct.unpack_from("<I", sound, 80)[0]
    image, opened = random_images(CASE.contract, 1)[0], 0
    for _ in range(RANDOM_CASES):
        data = bytearray(sound)
        for _ in range(random.integers(1, 4)):
            at = random.integers(24, described)
            data[at] = random.integers(256) if random.random() < 0.5 else data[at] ^ 1 << random.integers(8)
        try:
            context = NativeModel(libpuvae, resealed(bytes(data))).context()
        except (BundleError, EngineError):
            continue
        opened += 1
        outcome = context.run_image(image)
        assert -1 <= outcome.projected < CASE.classes
    assert 0 < opened < RANDOM_CASES
