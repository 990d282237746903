"""What the demos' command lines share; imported for --help, so nothing heavy."""

from __future__ import annotations

import argparse

NO_ATTACK = "none"
SYNTHETIC_FRAMES = 300
ATTACKS = ("fgsm", "ifgsm")  # functions of puvae_rt.attacks.onnx_attack


def positive(text: str) -> int:
    """A whole number from 1; argparse tells of anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1")
    return int(text)
