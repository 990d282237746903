"""`python -m puvae_rt.doctor` is `puvae doctor`."""

from puvae_rt.cli.entry import forward

forward(__name__, "doctor")
