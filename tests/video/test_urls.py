from __future__ import annotations

import pytest

from puvae_rt.video.urls import redact_url

SHOWN = {
    "rtsp://admin:s3cr:et@cam:554/x": "rtsp://***@cam:554/x",
    "rtsp://admin:hid/den@cam/x": "rtsp://***@cam/x",
    "rtsp://admin:hid?den@cam/x": "rtsp://***@***",
    "rtsp://admin:hid#den@cam/x": "rtsp://***@***",
    "rtsp://admin:a@hid/den@cam/x": "rtsp://***@cam/x",
    "https://hidden@cam/x": "https://***@cam/x",
    "https://hidden:x-oauth-basic@cam/x": "https://***@cam/x",
    "HTTP://A:hidden@CAM": "HTTP://***@CAM",
    "rtsp:/admin:hidden@cam/x": "rtsp:/***@cam/x",
    "rtsp:admin:hidden@cam/x": "rtsp:***@cam/x",
    "admin:hidden@cam/x": "***@cam/x",
    "http://cam:80/a?token=hidden&n=1": "http://cam:80/a?token=***&n=***",
    "http://cam/a?token=hid/den?#@": "http://cam/a?token=***",
    "http://cam/a?hidden": "http://cam/a?***",
    "http://cam/a#access_token=hidden": "http://cam/a#access_token=***",
    "srt://cam:9?mode=caller;passphrase=hidden": "srt://cam:9?mode=***&passphrase=***",
    "rtsp://cam:554/user=admin_password=hidden_channel=1.sdp": "rtsp://cam:554/user=***",
    "http://cam/x:y@z": "http://cam/x:y@z",
    "http://[::1]:80/x": "http://[::1]:80/x",
    "rtmp://cam/live/hidden": "rtmp://cam/live/***",
    "rtmp://u:hidden@cam:1935/live/hid/den?a=1": "rtmp://***@cam:1935/live/***?a=***",
    "rtmp://cam/live": "rtmp://cam/live",
    "udp://239.0.0.1:5000": "udp://239.0.0.1:5000",
    "/data/a.mp4": "/data/a.mp4",
    "n=3.mp4": "n=3.mp4",
    "C:/data/a@b.mp4": "C:/data/a@b.mp4",
    "": "",
}


@pytest.mark.parametrize("url, shown", SHOWN.items(), ids=[str(i) for i in range(len(SHOWN))])
def test_secrets_are_hidden_and_the_rest_is_told(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact_url(shown) == shown, "redacting twice is redacting once"
