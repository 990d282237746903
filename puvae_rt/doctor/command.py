"""`python -m puvae_rt.doctor` is `puvae doctor`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "doctor")
