"""`python -m puvae_rt.purify` is `puvae purify`."""

from puvae_rt.cli.entry import forward

forward(__name__, "purify")
