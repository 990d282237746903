"""engine.puvae under libFuzzer, starting from the smallest sound files; the corpus that they are in is kept.

Makes the corpus anew: python -m tests.native.test_fuzz
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from puvae_rt.native import library
from puvae_rt.native.binding import Instructions, Library, NativeModel
from puvae_rt.native.engine_file import ALIGNMENT, HEADER_BYTES, LAYER_BYTES, MAGIC, VERSION, Kind, Part
from puvae_rt.version import __version__

CORPUS = Path(__file__).parent / "corpus"
TARGET = Path(__file__).parent / "fuzz_file.cpp"
SECONDS = 60

Record = tuple[int, ...]  # part, kind, ReLU, inputs, outputs, kernel's height and width, stride


def layer(part: Part, kind: Kind, inputs: int, outputs: int, side: int = 1, stride: int = 1, relu: int = 0) -> Record:
    return part, kind, relu, inputs, outputs, side, side, stride


def purifier(channels: int, side: int, width: int) -> Iterator[Record]:
    """The layers of a PuVAE whose layers have `width` outputs, and latent variables."""
    conv, linear, table, up = Kind.CONVOLUTION, Kind.LINEAR, Kind.TABLE, Kind.DECONVOLUTION
    yield layer(Part.TRUNK, conv, channels, width, 3, relu=1)
    yield layer(Part.FC1, linear, width * side * side, width)
    yield layer(Part.FC1_TABLE, table, 1, width)
    yield layer(Part.FC2, linear, width, width, relu=1)
    yield layer(Part.FC3, linear, width, width)
    yield layer(Part.DECODER_FC, linear, width, 16)
    yield layer(Part.DECODER_TABLE, table, 1, 16)
    for inputs, outputs, relu in ((1, width, 1), (width, width, 1), (width, channels, 0)):
        yield layer(Part.DECONVS, up, inputs, outputs, 7, 2, relu)


def network(part: Part, channels: int, side: int, classes: int) -> Iterator[Record]:
    yield layer(part, Kind.CONVOLUTION, channels, 1, 5, 2, relu=1)
    yield layer(part, Kind.LINEAR, (side // 2) ** 2, classes)


def contents(channels: int, side: int, classes: int, decoded: int, layers: Sequence[Record]) -> bytes:
    """A file as the fuzzer takes it: without its checksum, and without its weights, which are zeros.

    All layers take their weights from the same place.
    """
    names_at, names = HEADER_BYTES + LAYER_BYTES * len(layers), b"a\0" * classes
    start = -(-(names_at + len(names)) // ALIGNMENT) * ALIGNMENT
    places = [max(i, classes if kind == Kind.TABLE else 1) * o * h * w for _, kind, _, i, o, h, w, _ in layers]
    header = MAGIC + struct.pack("<IIQ5I", VERSION, 0, start + 4 * max(places), channels, side, classes, decoded, 3)
    header += struct.pack("<5f", 0.1, 0, float(decoded < classes), 1e-4, 4) + struct.pack(
        "<QQII", names_at, len(names), len(layers), 0
    )
    return header + b"".join(struct.pack("<8IQQ", *r, start, start).ljust(LAYER_BYTES, b"\0") for r in layers) + names


def corpus() -> dict[str, bytes]:
    """One file of each kind, by name."""
    gray, color = tuple(purifier(1, 28, 1)), tuple(purifier(3, 32, 2))
    both = (*network(Part.PRIOR, 3, 32, 3), *network(Part.CLASSIFIER, 3, 32, 3))
    return {
        "gray": contents(1, 28, 2, 2, gray),
        "labelled": contents(1, 28, 5, 5, (*gray, *network(Part.CLASSIFIER, 1, 28, 5))),
        "listed": contents(3, 32, 3, 2, (*color, *both)),
    }


def sealed(data: bytes) -> bytes:
    """The file that the fuzzer's target makes of an input."""
    (size,) = struct.unpack_from("<Q", data, 16)
    data = data.ljust(size, b"\0")
    return data[:12] + struct.pack("<I", zlib.crc32(data[16:])) + data[16:]


def test_the_corpus_is_what_this_file_makes() -> None:
    assert {path.stem: path.read_bytes() for path in CORPUS.glob("*.puvae")} == corpus()


@pytest.mark.parametrize("instructions", (Instructions.SCALAR, Instructions.AUTO), ids=lambda i: i.name)
@pytest.mark.parametrize("name", corpus())
def test_the_corpus_opens(libpuvae: Library, name: str, instructions: Instructions) -> None:
    assert NativeModel(libpuvae, sealed(corpus()[name]), instructions).info.channels == (3 if name == "listed" else 1)


def build_target(clang: str, program: Path) -> None:
    """The fuzzer. The kernels, which read no file, are compiled without the sanitizers, slow on them."""
    flags = (library.SOURCES / "compile_flags.txt").read_text().replace("-O3", "-O1").split()
    watched = ("-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    objects = []
    for source in (TARGET, *sorted((library.SOURCES / "src").glob("*.cpp"))):
        objects.append(program.with_name(f"{source.stem}.o"))
        kernel = source.stem.startswith("kernels_")
        compiler = (os.environ.get("CXX", "c++"),) if kernel else (clang, *watched)
        version = f'-DPUVAE_VERSION="{__version__}"'
        compiled(*compiler, *flags, version, "-c", source, "-o", objects[-1])
    compiled(clang, *watched, *objects, "-o", program)


def compiled(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=library.SOURCES, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_nothing_in_a_file_breaks_the_reader(tmp_path: Path) -> None:
    clang = shutil.which("clang++")
    if clang is None:
        pytest.skip("needs clang++ with libFuzzer (Debian, Ubuntu: apt-get install clang)")
    program, found, seeds = tmp_path / "fuzz", tmp_path / "found", tmp_path / "seeds"
    build_target(clang, program)
    found.mkdir()
    shutil.copytree(CORPUS, seeds)  # where the fuzzer puts what it finds out
    limits = (
        f"-max_total_time={SECONDS}",
        "-timeout=20",
        "-max_len=8192",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    )
    environment = os.environ | {"ASAN_OPTIONS": "allocator_may_return_null=1"}
    command = (program, *limits, f"-artifact_prefix={found}/", seeds)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 100


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for name, data in corpus().items():
        (CORPUS / f"{name}.puvae").write_bytes(data)
