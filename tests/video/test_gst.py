"""Pipelines and RTSP through GStreamer, where Debian's packages are."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video import gst
from puvae_rt.video.frames import Frame
from puvae_rt.video.live import LiveSource
from puvae_rt.video.opening import open_pipeline, open_stream
from puvae_rt.video.policy import EVERY
from puvae_rt.video.reconnect import Reconnect
from puvae_rt.video.sources import open_source
from tests.video.rtsp import rtsp_server

needs_gst = pytest.mark.skipif(
    not gst.has_elements("videotestsrc", "videoconvert", "appsink"), reason=f"no GStreamer: {gst.INSTALL}"
)
needs_rtsp = pytest.mark.skipif(
    not gst.has_elements("rtspsrc", "decodebin", "jpegenc", "rtpjpegpay", "videotestsrc"),
    reason="no RTSP: apt-get install gstreamer1.0-plugins-good gir1.2-gst-rtsp-server-1.0",
)
SECRET = "hidden"


@needs_gst
def test_a_pipeline_is_stamped_by_its_own_clock() -> None:
    source = open_source("gstreamer://videotestsrc is-live=true ! video/x-raw,width=101,height=50,framerate=30/1", None)
    frames = [frame for _, frame in zip(range(5), source, strict=False)]
    ages = [time.monotonic() - frame.captured for frame in frames]
    source.close()
    assert all(frame.image.shape == (50, 101, 3) and frame.clock == "gstreamer" for frame in frames)
    assert frames[0].image.std() > 20 and all(0 <= age < 5 for age in ages)
    assert source.fps == pytest.approx(30, abs=0.1)


@needs_gst
def test_a_pipeline_that_ends_was_lost() -> None:
    line = gst.pipeline_of("videotestsrc num-buffers=3 ! video/x-raw,width=64,height=64")
    source = LiveSource("pipeline", partial(open_pipeline, line, "pipeline"), 5, 5, policy=EVERY)
    with pytest.raises(VideoError, match="frames, then it ended or the connection was lost"):
        list(source)


@needs_gst
@pytest.mark.parametrize("line", ["nosuchelement", f"filesrc location=/absent/{SECRET} ! decodebin", "videotestsrc !"])
def test_pipelines_that_do_not_run(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VideoError, match=r"gstreamer://") as refused:
        list(open_source(f"gstreamer://{line}", None, reconnect=None))
    assert SECRET not in str(refused.value) + "".join(capfd.readouterr())


def test_without_gstreamer_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gst, "load_gst", lambda: None)
    for source in ("csi://0", "gstreamer://v4l2src"):
        with pytest.raises(VideoError, match="apt-get install python3-gi"):
            open_source(source, None)


def test_a_jetsons_camera_is_a_pipeline() -> None:
    line = gst.csi_pipeline("1", {"width": 640, "rate": 60})
    assert line.startswith(
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=640,height=720,framerate=60/1"
    )
    assert "nvvidconv flip-method=0" in line and line.endswith("enable-last-sample=false")


@needs_rtsp
def test_an_rtsp_server_is_killed_and_restarted_with_another_size() -> None:
    found: list[str | tuple[int, ...]] = []
    with rtsp_server() as (process, port):
        url = f"rtsp://user:{SECRET}@127.0.0.1:{port}/live?token={SECRET}"
        rule = Reconnect(first=0.1, most=0.3, give_up=20)
        source = LiveSource("camera", partial(open_stream, url, 3, 1.5), 15, 5, reconnect=rule)
        frame = next(iter(source))
        assert frame.clock == "gstreamer" and frame.image.shape == (120, 160, 3) and frame.image.std() > 20
        process.kill()
        process.wait()
    with rtsp_server(port, 320):
        for item in source.items():
            found.append(item.image.shape if isinstance(item, Frame) else item.kind.value)
            assert not isinstance(item, Frame) or item.image.std() > 20, "a black frame"
            if found[-1] == (120, 320, 3):
                break
        source.close()
    assert "reconnected" in found and "resized" in found and {"lost", "stalled"} & set(found)
    assert np.all([SECRET not in str(each) for each in found])
