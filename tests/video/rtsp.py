"""An RTSP server of GStreamer's, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SERVE = """
import sys
from puvae_rt.video.gst import load_gst
load_gst()
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, GstRtspServer
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch("( videotestsrc is-live=true pattern=smpte "
                   "! video/x-raw,format=I420,width=%s,height=120,framerate=30/1 ! jpegenc "
                   "! rtpjpegpay name=pay0 )" % sys.argv[2])
server.get_mount_points().add_factory("/live", factory)
print(server.attach(None) and server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@contextmanager
def rtsp_server(port: int = 0, width: int = 160) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", SERVE, str(port), str(width)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline().strip()
            if not line.isdecimal() or not int(line):
                pytest.skip(f"no RTSP server: {process.stderr.read()[-200:]}")
            yield process, int(line)
        finally:
            process.kill()
            process.communicate()
