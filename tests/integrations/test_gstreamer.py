"""puvaepurify: built on the library, driven by GstHarness (integrations/gstreamer/tests), and in pipelines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from puvae_rt.native import library
from puvae_rt.native.engine_file import engine_file
from puvae_rt.version import __version__
from tests.native.models import CASES
from tests.video.rtsp import rtsp_server

SOURCE = library.SOURCES.parent / "integrations" / "gstreamer"
MODULES = ("gstreamer-1.0", "gstreamer-base-1.0", "gstreamer-video-1.0", "gstreamer-check-1.0")
ELEMENTS = ("videotestsrc", "jpegenc", "avimux", "rtspsrc", "rtpjpegdepay", "videoconvert")
PACKAGES = (
    "apt-get install cmake pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
MODELS = {"gray": "as_shipped", "color": "signs"}
TESTS = re.findall(r'g_test_add_func\("/([\w-]+)"', (SOURCE / "tests" / "harness.c").read_text())
SOAK_SECONDS = 600
# What CMake finds in place of an installed libpuvae: the library that the other tests built.
STAND_IN = """
set(puvae_VERSION {version})
add_library(puvae::puvae SHARED IMPORTED)
set_target_properties(puvae::puvae PROPERTIES IMPORTED_LOCATION "{library}" INTERFACE_INCLUDE_DIRECTORIES "{include}")
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def missing() -> str | None:
    """What the tests need and this machine lacks."""
    for program in ("cmake", "pkg-config", "gst-launch-1.0", "gst-inspect-1.0"):
        if shutil.which(program) is None:
            return program
    if subprocess.run(["pkg-config", "--exists", *MODULES]).returncode:
        return "GStreamer's headers"
    lacking = (name for name in ELEMENTS if subprocess.run(["gst-inspect-1.0", "--exists", name]).returncode)
    return next(lacking, None)


@pytest.fixture(scope="module")
def built(library_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the plugin and the harness, compiled without a warning."""
    if lack := missing():
        pytest.skip(f"no {lack}: {PACKAGES}")
    found, folder = tmp_path_factory.mktemp("found"), tmp_path_factory.mktemp("plugin")
    text = STAND_IN.format(version=__version__, library=library_file, include=library.SOURCES / "include")
    (found / "puvae-config.cmake").write_text(text)
    flags = (f"-Dpuvae_DIR={found}", "-DPUVAE_HARNESS=ON", "-DCMAKE_C_FLAGS=-Werror")
    run("cmake", "-S", SOURCE, "-B", folder, *flags)
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bundles, a clip, and a registry of the tests' own."""
    folder = tmp_path_factory.mktemp("gstreamer")
    for name, case in MODELS.items():
        (folder / name).mkdir()
        weights = next(c for c in CASES if c.name == case).weights()
        (folder / name / "engine.puvae").write_bytes(engine_file(weights))
    (folder / "foreign").write_bytes(b"no engine" * 100)
    variables = {
        "GST_PLUGIN_PATH": str(built),
        "GST_REGISTRY": str(folder / "registry"),
        "PUVAE_FOREIGN": str(folder / "foreign"),
        "PUVAE_CLIP": str(folder / "clip.avi"),
    } | {f"PUVAE_{name.upper()}": str(folder / name) for name in MODELS}
    source = "videotestsrc num-buffers=60 ! video/x-raw,width=160,height=120,framerate=30/1 ! jpegenc ! avimux"
    launch(f"{source} ! filesink location={variables['PUVAE_CLIP']}", variables)
    return variables


def launch(line: str, environment: dict[str, str]) -> list[str]:
    """Runs a pipeline to its end; the messages of puvaepurify, a line each."""
    told = run("gst-launch-1.0", "-m", *line.split(), **environment)
    return [line for line in told.splitlines() if "(element): puvaepurify," in line]


@pytest.fixture(scope="module", params=MODELS)
def harness(request: pytest.FixtureRequest, built: Path, environment: dict[str, str]) -> dict[str, str]:
    """Test of the harness -> "ok", "not ok" with what it said; in one process."""
    bundle = environment[f"PUVAE_{request.param.upper()}"]
    command = [str(built / "harness"), "-k", "--tap", *(f"-p=/{name}" for name in TESTS if name != "soak")]
    variables = os.environ | environment | {"PUVAE_BUNDLE": bundle}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=300)
    found = {name: verdict for verdict, name in re.findall(r"^(ok|not ok) \d+ /([\w-]+)", done.stdout, re.MULTILINE)}
    return found | {"output": done.stdout + done.stderr}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TESTS if name != "soak"])
def test_harness(harness: dict[str, str], name: str) -> None:
    assert harness.get(name) == "ok", harness["output"][-3000:]


@pytest.mark.slow
def test_a_pipeline_labels_every_frame(environment: dict[str, str]) -> None:
    roi = "roi=10,10,60,60;-5,0,30,30"
    line = f"videotestsrc num-buffers=7 ! puvaepurify bundle={environment['PUVAE_COLOR']} {roi} overlay=true ! fakesink"
    messages = launch(line, environment)
    assert len(messages) == 7
    assert all(message.count("label-name") == 2 for message in messages)


@pytest.mark.slow
def test_the_plugin_tells_of_itself(environment: dict[str, str]) -> None:
    told = run("gst-inspect-1.0", "puvaepurify", **environment)
    assert __version__ in told and "Apache 2.0" in told
    for name in ("bundle", "roi", "roi-meta", "threads", "overlay", "deadline", "post-messages", "stats"):
        assert f"\n  {name} " in told
    guide = (library.SOURCES.parent / "docs" / "howto" / "gstreamer.md").read_text()
    assert all(f"`{name}`" in guide for name in ("bundle", "roi", "roi-meta", "threads", "overlay", "deadline"))


@pytest.mark.slow
def test_an_rtsp_stream(environment: dict[str, str]) -> None:
    with rtsp_server() as (_, port):
        messages = launch(
            f"rtspsrc location=rtsp://127.0.0.1:{port}/live latency=0 ! rtpjpegdepay ! jpegdec ! videoconvert "
            f"! puvaepurify bundle={environment['PUVAE_GRAY']} deadline=5000000000 ! fakesink num-buffers=5",
            environment,
        )
    assert len(messages) >= 5
    assert all("age=(guint64)" in message for message in messages)


@pytest.mark.long
def test_ten_minutes_without_growth(built: Path, environment: dict[str, str]) -> None:
    variables = {"PUVAE_BUNDLE": environment["PUVAE_COLOR"], "PUVAE_SECONDS": str(SOAK_SECONDS)}
    run(built / "harness", "-p", "/soak", **environment, **variables)
