"""Where a process that runs a command begins and ends. Imports little: Ctrl-C counts from here on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from puvae_rt.cli.codes import GOOD, INTERRUPTED, WRONG_USE

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Main(Protocol):
    """Runs a sub-command in this process and returns its exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


class Parser(Protocol):
    """Returns the parser of a sub-command."""

    def __call__(self) -> ArgumentParser: ...


def puvae() -> None:
    """The console script: `puvae COMMAND ...`."""
    sys.exit(process(sys.argv[1:]))


def forward(module: str, command: str) -> tuple[Main, Parser]:
    """`main` and `parser` of the sub-command `command`, for a module that `python -m` may name as well.

    Args:
        module: `__name__` of that module; where it is "__main__", the command runs here and ends the process.
        command: as `puvae` knows it.
    """
    if module == "__main__":
        spec = sys.modules["__main__"].__spec__
        name = "" if spec is None else spec.name.removesuffix(".__main__")
        sys.exit(process([*command.split(), *sys.argv[1:]], f"python -m {name}"))

    def main(argv: Sequence[str] | None = None) -> int:
        from puvae_rt.cli.main import run

        return run(command, sys.argv[1:] if argv is None else argv)

    def parser() -> ArgumentParser:
        from puvae_rt.cli.command import load

        return load(command).parser()

    return main, parser


def process(argv: Sequence[str], prog: str | None = None) -> int:
    """Run `puvae` with these arguments as the whole of a process; the exit code.

    Args:
        argv: the sub-command and its arguments.
        prog: the sub-command as the user typed it, where that was not `puvae COMMAND`.
    """
    try:
        from puvae_rt.cli import signals, streams

        signals.install()
    except KeyboardInterrupt:  # before there is anything that could be cleaned up
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    streams.prepare()
    code = _run(argv, prog)
    signals.uninstall()
    if error := streams.flush():
        return streams.lost(error)
    return code


def _run(argv: Sequence[str], prog: str | None) -> int:
    from puvae_rt.cli import signals

    try:
        from puvae_rt.cli.main import main

        return main(argv, prog)
    except SystemExit as leaving:  # of argparse
        return leaving.code if isinstance(leaving.code, int) else GOOD if leaving.code is None else WRONG_USE
    except BaseException as error:
        if ended := signals.ending(error):
            print(ended[0], file=sys.stderr)
            return ended[1]
        import traceback

        traceback.print_exc()
        print("error: this is a fault of puvae_rt, not of what you gave it; please report it", file=sys.stderr)
        return WRONG_USE  # 1 would say that a check failed
