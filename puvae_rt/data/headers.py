"""What an image file says of itself, read before it is decoded: its format and its size.

A few hundred bytes can announce gigabytes of pixels, and a decoder allocates what the header asks for. Every format
that OpenCV decodes and `puvae_rt.data` accepts has its reader here; a reader looks at the same bytes as the decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

_JPEG_SCANS = 256  # a progressive JPEG has about ten, and each passes over the whole picture
_TEXT_HEADER = 1 << 16  # bytes in which a PNM or PAM header has to end
_MARKER = re.compile(rb"\xff+[\x01-\xfe]")  # of a JPEG segment
_BMP_HEADERS = (12, *range(36, 257))  # bytes; a text can begin with BM as well
_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: start of codestream, then the marker of its size
_BLANK = rb"(?:\s|#[^\n\r]*[\n\r])+"  # between two numbers of a PNM header
_PNM = re.compile(rb"P[1-6]" + _BLANK + rb"(\d{1,10})" + _BLANK + rb"(\d{1,10})")
_TIFF_WIDTHS, _TIFF_HEIGHTS = (256, 322), (257, 323)  # tags: of the image and of a tile
_TIFF_SAMPLES = 277  # tag: values for each pixel
_TIFF_TYPES = {1: "B", 6: "b", 3: "H", 8: "h", 4: "I", 9: "i", 16: "Q", 17: "q"}

PREFIX = 32  # bytes that are enough to know a format


class Header(NamedTuple):
    """Format, and the sides of the largest picture or tile that is announced, in pixels."""

    format: str
    width: int
    height: int


def format_of(prefix: bytes) -> str | None:
    """The image format that begins with these bytes (PREFIX are enough), or None: not an image."""
    for name, starts in _FORMATS.items():
        if prefix.startswith(starts):
            return name
    if prefix[:2] == b"BM" and int.from_bytes(prefix[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return "WebP"
    if prefix[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF sequence"}.get(prefix[8:12], _heif(prefix))
    return None


def _heif(prefix: bytes) -> str | None:
    return "HEIF" if prefix[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1") else None


def read_header(data: bytes) -> Header:
    """Format and announced size of an image file.

    Raises:
        ValueError: not an image, a format that is not read here, or a header that is cut short or damaged.
    """
    name = format_of(data[:PREFIX])
    if name is None:
        raise ValueError("not an image file")
    if name not in _READERS:
        raise ValueError(f"{name} is not read")
    try:
        width, height = _READERS[name](data)
    except struct.error:
        raise ValueError(f"a {name} file whose header is cut short") from None
    if width < 1 or height < 1:
        raise ValueError(f"a {name} file whose header announces {width}x{height} pixels")
    return Header(name, width, height)


def _png(data: bytes) -> tuple[int, int]:
    """Of the picture, or of its largest frame; a decoder allocates what a chunk announces, so each has to be there."""
    if data[12:16] != b"IHDR":
        raise ValueError("a PNG file without a header")
    place, name, sizes = 8, b"", list[tuple[int, int]]()
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, place)
        if length > len(data) - place - 12:
            raise ValueError("a PNG file that is cut short or damaged")
        if name in (b"IHDR", b"fcTL"):
            sizes.append(struct.unpack_from(">II", data, place + (8 if name == b"IHDR" else 12)))
        place += 12 + length
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _jpeg(data: bytes) -> tuple[int, int]:
    size, scans = None, 0
    for marker, place in _jpeg_segments(data):
        if marker == 0xD9 and size:
            return size
        if marker == 0xDA and (scans := scans + 1) > _JPEG_SCANS:
            raise ValueError(f"a JPEG file of more than {_JPEG_SCANS} scans")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size is None:
            height, width = struct.unpack_from(">HH", data, place + 3)
            size = width, height
    raise ValueError("a JPEG file that is cut short")  # what is missing would be decoded as gray


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment, as libjpeg finds them: bytes between segments are passed over."""
    place = 2
    while found := _MARKER.search(data, place):
        place = found.end()
        marker = data[place - 1]
        yield marker, place
        if not 0xD0 <= marker <= 0xD9 and marker != 0x01:  # these have no length
            place += max(2, struct.unpack_from(">H", data, place)[0])


def _gif(data: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _bmp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return width, abs(height)  # a negative height: the first row is on top


def _sun_raster(data: bytes) -> tuple[int, int]:
    return struct.unpack_from(">II", data, 4)


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low = struct.unpack_from("<HBHB", data, 24)
        return (low[1] << 16 | low[0]) + 1, (low[3] << 16 | low[2]) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("a WebP file without a picture")


def _tiff(data: bytes) -> tuple[int, int]:
    """Of the first picture; the largest values of image and tile."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2) == (43,)
    (start,) = struct.unpack_from(f"{order}Q", data, 8) if big else struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, start)
    head, step = (8, 20) if big else (2, 12)
    if count * step > len(data):
        raise ValueError("a TIFF file whose directory is damaged")
    widths, heights = [0], [0]
    for entry in range(start + head, start + head + count * step, step):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in (*_TIFF_WIDTHS, *_TIFF_HEIGHTS, _TIFF_SAMPLES) and kind in _TIFF_TYPES:
            (value,) = struct.unpack_from(order + _TIFF_TYPES[kind], data, entry + (12 if big else 8))
            if tag != _TIFF_SAMPLES:
                (widths if tag in _TIFF_WIDTHS else heights).append(value)
            elif value == 2:
                raise ValueError("a TIFF file of gray pixels with alpha")  # which OpenCV would leave out silently
    return max(widths), max(heights)


def _pnm(data: bytes) -> tuple[int, int]:
    if not (found := _PNM.match(data[:_TEXT_HEADER])):
        raise ValueError("a PNM file whose header is damaged")
    return int(found[1]), int(found[2])


def _pam(data: bytes) -> tuple[int, int]:
    header = data[:_TEXT_HEADER].partition(b"ENDHDR")[0]
    sides = [max(map(int, re.findall(key + rb"\s+(\d{1,10})", header)), default=0) for key in (b"WIDTH", b"HEIGHT")]
    return sides[0], sides[1]


def _jpeg2000(data: bytes) -> tuple[int, int]:
    """The largest of all codestreams: a box in front of the picture can look like one."""
    sizes = [struct.unpack_from(">II", data, found.start() + 8) for found in re.finditer(re.escape(_CODESTREAM), data)]
    if not sizes:
        raise ValueError("a JPEG 2000 file without a picture")
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _avif(data: bytes) -> tuple[int, int]:
    """The largest "image spatial extents" property: a grid of pictures has one for all and one for each."""
    sizes = [struct.unpack_from(">II", data, found.start() + 8) for found in re.finditer(b"ispe", data)]
    if not sizes:
        raise ValueError("an AVIF file without a size")
    return max(width for width, _ in sizes), max(height for _, height in sizes)


_FORMATS: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PNM": tuple(b"P%d%c" % (kind, blank) for kind in range(1, 7) for blank in b" \t\n\r\v\f#"),
    "PAM": (b"P7\n", b"P7 ", b"P7\r"),
    "Sun raster": (b"\x59\xa6\x6a\x95",),
    "JPEG 2000": (_JP2_SIGNATURE, _CODESTREAM),
    # Known, so that such pictures are not passed over as if they were none:
    "PFM (floating point)": (b"PF\n", b"Pf\n", b"PF ", b"Pf "),
    "HDR (floating point)": (b"#?RADIANCE", b"#?RGBE"),
    "OpenEXR (floating point)": (b"\x76\x2f\x31\x01",),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "Photoshop": (b"8BPS",),
}
_READERS: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "BMP": _bmp,
    "WebP": _webp,
    "TIFF": _tiff,
    "PNM": _pnm,
    "PAM": _pam,
    "Sun raster": _sun_raster,
    "JPEG 2000": _jpeg2000,
    "AVIF": _avif,
}
READ = tuple(_READERS)  # formats, by name
