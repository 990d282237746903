"""`python -m puvae_rt.evaluate` is `puvae evaluate`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "evaluate")
