from __future__ import annotations

from pathlib import Path

import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.sources import files_of, open_source
from puvae_rt.video.uri import SourceKind, parse_source

SECRET = "hidden"
GRAMMAR = {
    "synthetic": (SourceKind.SYNTHETIC, ""),
    "synthetic://": (SourceKind.SYNTHETIC, ""),
    "0": (SourceKind.CAMERA, "0"),
    "007": (SourceKind.CAMERA, "7"),
    "/dev/video12": (SourceKind.CAMERA, "/dev/video12"),
    "/dev/v4l/by-id/usb-cam-index0": (SourceKind.CAMERA, "/dev/v4l/by-id/usb-cam-index0"),
    "csi://": (SourceKind.CSI, "0"),
    "csi://1?width=640&height=480&rate=60&flip=2": (SourceKind.CSI, "1"),
    "clip.mp4": (SourceKind.FILE, "clip.mp4"),
    "/dev/null": (SourceKind.FILE, "/dev/null"),
    "run.MCAP": (SourceKind.RECORDING, "run.MCAP"),
    "RTSP://cam/x": (SourceKind.STREAM, "RTSP://cam/x"),
    "https://cam/x?a=1": (SourceKind.STREAM, "https://cam/x?a=1"),
    "gstreamer://v4l2src device=/dev/video0": (SourceKind.GSTREAMER, "v4l2src device=/dev/video0"),
}


@pytest.mark.parametrize("text", GRAMMAR)
def test_the_grammar(text: str) -> None:
    kind, target = GRAMMAR[text]
    uri = parse_source(text)
    assert (uri.kind, uri.target) == (kind, target)
    assert uri.live == (kind in (SourceKind.CAMERA, SourceKind.CSI, SourceKind.STREAM, SourceKind.GSTREAMER))


def test_a_folder_and_a_path(tmp_path: Path) -> None:
    assert parse_source(str(tmp_path)).kind is SourceKind.FOLDER
    assert parse_source(tmp_path / "a.mp4").kind is SourceKind.FILE
    assert files_of(str(tmp_path)) == files_of("0") == files_of("csi://0") == files_of("a://b") == {}


MISTAKES = {
    "csi://x": "expected csi://N.name=number",
    "csi://0?width=1": "width 64 to 8192",
    "csi://0?iso=100": "width 64 to 8192",
    "csi://0?flip=2 ! filesink location=x": "expected csi://N",
    "gstreamer://": "expected one without a sink",
    "gstreamer:// ": "expected one without a sink",
    "synthetic://x": "expected nothing behind it",
    "ftp://host/a": "expected one of rtsp",
    "://": "expected one of rtsp",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_have_one_style(text: str) -> None:
    with pytest.raises(VideoError, match=MISTAKES[text]) as refused:
        open_source(text, lambda: None)
    assert "got" in str(refused.value) or "expected" in str(refused.value)


SECRETS = (
    f"rtsp://admin:{SECRET}@cam/x?token={SECRET}",
    f"gstreamer://rtspsrc location=rtsp://admin:{SECRET}@cam/x user-pw={SECRET} ! decodebin",
    f"gstreamer://souphttpsrc location=http://cam/?token={SECRET}!decodebin name={SECRET}",
    f"GSTREAMER://rtspsrc user-pw={SECRET}",
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_shown(text: str) -> None:
    uri = parse_source(text)
    assert SECRET not in uri.name + repr(uri) + str(uri)


def test_a_pipeline_is_told_by_its_elements() -> None:
    uri = parse_source("gstreamer://v4l2src device=/dev/video0 ! videoscale ! video/x-raw,width=640")
    assert uri.name == "gstreamer://v4l2src ! videoscale ! video"
