"""How the demo ends: streams that stall, signals, secrets, and what --help costs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from demos import video
from tests.video import clips

SOON = 8.0  # seconds, on a busy machine; FFmpeg's limits are longer
SECRET = "hidden"


class Stalling(BaseHTTPRequestHandler):
    """A camera that sends ten frames and then nothing, with its connection open."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(10):
            jpeg = cv2.imencode(".jpg", clips.textured(index))[1].tobytes()
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            self.wfile.write(head + jpeg + b"\r\n")
        self.wfile.flush()
        self.server.stalled.set()
        self.server.go_on.wait(60)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    (tmp_path / "outputs").mkdir()
    return tmp_path / "outputs"


def command(source: str, folder: Path, bundle: Path) -> list[str]:
    written = ["--out", str(folder / "demo.mp4"), "--json", str(folder / "demo.json")]
    options = ["--source", source, "--bundle", str(bundle), "--headless", "--threads", "1", *written]
    return [sys.executable, "-m", "demos.video", *options]


def ended(process: subprocess.Popen[str], number: int) -> tuple[str, float]:
    """What it said on stderr, and the seconds it took."""
    started = time.perf_counter()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return errors, time.perf_counter() - started


ENDS = {"SIGTERM": (signal.SIGTERM, 143), "Ctrl-C": (signal.SIGINT, 130), "SIGHUP": (signal.SIGHUP, 129)}


@pytest.mark.parametrize("number, code", ENDS.values(), ids=ENDS)
def test_a_camera_that_never_answers_holds_nobody_up(
    outputs: Path, means_bundle: Path, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://user:{SECRET}@127.0.0.1:{mute.getsockname()[1]}/x?token={SECRET}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command(url, outputs, means_bundle), **pipes) as process:
            mute.settimeout(60)
            connection, _ = mute.accept()
            with connection:  # it is waiting for an answer now
                time.sleep(0.2)
                errors, seconds = ended(process, number)
    assert process.returncode == code, errors
    assert "stopped before the first frame" in errors and "terminate called" not in errors
    assert seconds < SOON and SECRET not in errors
    assert list(outputs.iterdir()) == []


def test_a_stream_that_stalls_is_left_at_once(outputs: Path, means_bundle: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        server.stalled, server.go_on = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{SECRET}@127.0.0.1:{server.server_port}/live.mjpg?token={SECRET}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command(url, outputs, means_bundle), **pipes) as process:
            assert server.stalled.wait(60)
            time.sleep(1)  # the last frame is taken; it waits for the next
            errors, seconds = ended(process, signal.SIGTERM)
        server.go_on.set()
        server.shutdown()
    assert process.returncode == 143, errors
    assert seconds < SOON and "terminate called" not in errors
    text = (outputs / "demo.json").read_text()
    document = json.loads(text)
    assert document["frames"] >= 1 and document["error"] is None
    assert document["source"] == f"http://***@127.0.0.1:{server.server_port}/live.mjpg?token=***"
    assert SECRET not in text + errors
    assert sorted(path.name for path in outputs.iterdir()) == ["demo.json", "demo.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_camera_that_never_answers_is_an_error(outputs: Path, means_bundle: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"{scheme}://admin:{SECRET}@127.0.0.1:{mute.getsockname()[1]}/x"
        done = subprocess.run(command(url, outputs, means_bundle), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert f"error: {scheme}://***@127.0.0.1" in done.stderr and "got no frame within 1" in done.stderr
    assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert list(outputs.iterdir()) == []


@pytest.mark.parametrize("module", ["demos.video", "demos.camera", "demos.make_clip"])
def test_help_brings_no_engine(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{module!r}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as left: code = left.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


def test_a_name_that_opencv_cannot_be_told(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenCV ends the process over it."""
    assert video.main(["--source", "synthetic", "--headless", "--out", str(outputs / "\udcff.mp4")]) == 2
    assert "got a name that is not UTF-8" in capsys.readouterr().err
    assert list(outputs.iterdir()) == []


def test_an_address_longer_than_any_file_name_is_no_secret_told(
    outputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://{SECRET}:{SECRET * 60}@127.0.0.1:{port}/x?token={SECRET * 60}"
    for source in (url, url.replace("://", ":/"), url.removeprefix("http://"), SECRET.join(("ftp://a:", "@b"))):
        assert video.main(["--source", source, "--headless", "--out", str(outputs / "a.mp4")]) == 2
        printed = "".join(capfd.readouterr())
        assert "error: " in printed and SECRET not in printed and "***@" in printed
