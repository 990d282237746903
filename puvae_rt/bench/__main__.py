"""`python -m puvae_rt.bench` is `puvae bench`."""

from puvae_rt.cli.entry import forward

forward(__name__, "bench")
