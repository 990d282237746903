"""`python -m puvae_rt.train` is `puvae train`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "train")
