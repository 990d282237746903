"""`python -m puvae_rt.bench` is `puvae bench`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "bench")
