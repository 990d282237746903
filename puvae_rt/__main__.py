"""`python -m puvae_rt COMMAND ...` is `puvae COMMAND ...`."""

try:
    from puvae_rt.cli.entry import puvae
except KeyboardInterrupt:  # before there is anything that could be cleaned up
    import sys

    sys.stderr.write("interrupted\n")
    sys.exit(130)

if __name__ == "__main__":
    puvae()
