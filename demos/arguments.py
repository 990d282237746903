"""What the demos' command lines share; imported for --help, so nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from puvae_rt.cli import shared

NO_ATTACK = "none"
SYNTHETIC_FRAMES = 300
RACES = ("defense_gan",)
BASELINES = Path("results/baselines")
DEGRADED = ("passthrough", "last-good", "stop")  # puvae_rt.stream.guard.MODES
ATTACKS = ("fgsm", "ifgsm")  # functions of puvae_rt.attacks.onnx_attack
LOOPBACK = "127.0.0.1"
SIGN_ATTACKS = ("fgsm", "ifgsm", "patch")  # puvae_rt.driving.attack.ATTACKS
REGIONS = ("auto", "proposals")  # puvae_rt.driving.locating.REGIONS
SCENES = "scenes"  # --source: the street scenes that ship


SOURCE_RATE = "source"  # --rate: each frame at its own time


def positive(text: str) -> int:
    """A whole number from 1; argparse tells of anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1")
    return int(text)


def rate(text: str) -> float | str:
    """Frames a second, or the source's own times."""
    return text if text == SOURCE_RATE else shared.above_zero(text)


def policy(text: str) -> str:
    """latest, queue=N or every; argparse tells of anything else."""
    from puvae_rt.errors import VideoError
    from puvae_rt.video.policy import Policy

    try:
        return str(Policy.parse(text))
    except VideoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
