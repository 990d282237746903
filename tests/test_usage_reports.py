"""Nothing leaves the machine: no socket, no file outside our own cache, no thread that would send something later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from puvae_rt.usage_reports import SWITCHES

ROOT = Path(__file__).parent.parent
SEND_SECONDS = 12  # ONNX Runtime's first look-up of its server comes some ten seconds after the import

# What Python code does is told by an audit hook; what native code does, by the process's open files and threads.
SCRIPT = """
import json, os, sys, time
sockets, written = [], []

def hook(event, args):
    if event.startswith("socket."):
        sockets.append(event)
    if event == "open" and isinstance(args[0], (str, bytes)) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(os.fsdecode(args[0]))

sys.addaudithook(hook)
import numpy as np
from puvae_rt import Purifier

with Purifier.load("mnist", threads=1) as purifier:
    purifier.purify(np.zeros((1, 28, 28), np.uint8))
    purifier(np.zeros((40, 40), np.uint8))
time.sleep(float(sys.argv[1]))
targets = []
for number in os.listdir("/proc/self/fd"):
    try:
        targets.append(os.readlink(f"/proc/self/fd/{number}"))
    except OSError:
        pass  # the listing's own
print(json.dumps({
    "sockets": sockets + [target for target in targets if target.startswith("socket:")],
    "written": written,
    "threads": len(os.listdir("/proc/self/task")),
    "reporter": sys.modules.get("openvino_telemetry", "importable"),
}))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize(
    ("switch", "seconds"),
    [("", 0), (None, 0), pytest.param(None, SEND_SECONDS, marks=pytest.mark.slow)],
    ids=["empty", "absent", "some time later"],
)
def test_a_purified_image_leaves_nothing_but_our_cache(tmp_path: Path, switch: str | None, seconds: int) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k not in SWITCHES}
    if switch is not None:
        environment["ORT_DISABLE_TELEMETRY"] = switch
    environment |= {"HOME": str(home), "TMPDIR": str(home), "PUVAE_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(seconds)]
    done = subprocess.run(
        command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    report = json.loads(done.stdout)
    assert report["sockets"] == []
    assert [path for path in report["written"] if not path.startswith((str(cache), os.devnull))] == []
    assert list(home.rglob("*")) == []
    assert report["threads"] == 1
    assert report["reporter"] is None


@pytest.mark.parametrize(
    "module",
    ["puvae_rt", "export", "calib", "demos", "export.build", "puvae_rt.bench.worker", "puvae_rt.attacks.onnx_attack"],
)
def test_reports_are_off_before_onnx_runtime_is_imported(module: str) -> None:
    script = f"""
import os, sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1", "imported too early"

sys.meta_path.insert(0, Watch())
import {module}
print({{name: os.environ.get(name) for name in {sorted(SWITCHES)}}} == {SWITCHES})
"""
    environment = {k: v for k, v in os.environ.items() if k not in SWITCHES} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_what_the_user_decided_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from puvae_rt.usage_reports import switch_off

    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    switch_off()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
