"""Usage reports of the libraries below this package, switched off: nothing leaves the machine."""

from __future__ import annotations

import os
import sys

# Variable -> its value that means "send nothing". ONNX Runtime (1.29 and later) reads its own once, while it is
# imported: hence before any other import of a process of ours.
SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
# OpenVINO reports through a package of its own and knows no variable; without that package it reports nothing.
REPORTERS = ("openvino_telemetry",)


def switch_off() -> None:
    """Switches every report off, in this process and those it starts.

    A variable that the user has set to some value keeps it, and so does a reporter that is already imported.
    """
    for variable, value in SWITCHES.items():
        os.environ[variable] = os.environ.get(variable) or value
    for module in REPORTERS:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # None makes its import fail
