"""`python -m puvae_rt COMMAND ...` is `puvae COMMAND ...`."""

from puvae_rt.cli.entry import puvae

if __name__ == "__main__":
    puvae()
