"""What every command does round its work: options, errors in one line, JSON or text, exit codes."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from puvae_rt._moved import renamed
from puvae_rt.cli import signals, streams
from puvae_rt.cli.codes import CHECK_FAILED, GOOD, WRONG_USE
from puvae_rt.cli.options import READ, SEALED, WRITTEN, add_options, flags_of, paths_of, read_options
from puvae_rt.cli.registry import COMMANDS, Entry
from puvae_rt.errors import ContractError, PuvaeError
from puvae_rt.files import refuse_overwrite, write_json

# module -> extra that installs it
EXTRAS = {
    "torch": "train",
    "matplotlib": "train",
    "tensorrt_rtx": "rtx",
    "cv2": "opencv",
    "mcap": "demos",
    **dict.fromkeys(("starlette", "uvicorn", "websockets", "prometheus_client"), "web"),
}
STDOUT = "-"
_PATHS = "expected a path that can be read and written, and room on its disk"
JSON_HELP = "print the result as JSON, or write it to PATH and print the table (see `puvae help`)"
EXIT_CODES = (
    "exit codes: 0, done; 1, a check failed{check}; 2, wrong use, or this machine lacks something; "
    "130, interrupted (Ctrl-C); 143, terminated; 129, hung up"
)


@dataclass(frozen=True)
class Outcome:
    """What a command has found.

    Attributes:
        document: for --json.
        text: for people.
        passed: False where the command's check failed: exit code 1.
        error: why the result is not all that was asked for: exit code 2, told behind the result.
        beside: writes what belongs beside the file of --json, given its path.
        code: of a command that a signal ended in good order.
    """

    document: Any
    text: str
    passed: bool = True
    error: str | None = None
    beside: Callable[[Path], None] | None = None
    code: int = GOOD


class _Parser(argparse.ArgumentParser):
    """One whose help may be cut short by its reader."""

    def print_help(self, file: Any = None) -> None:
        """Print it, to standard output unless told otherwise."""
        if file is not None:
            super().print_help(file)
        elif (code := streams.write(self.format_help().rstrip())) != GOOD:
            self.exit(code)


class Command:
    """A sub-command: its module's docstring, `Options` and `run`.

    The module may have HINT, told after a signal; CHECKS, errors that are a failed check; `beside_json(options)`, what
    is written beside the file of --json and its suffix; `also_read(options)`, paths that are read and are no flag's;
    `sealed_around(options, path)`, the folder that the command writes and in which the path of --json lies, if it lies
    in one that is no flag's; and `at_end(code)`, called last.
    """

    def __init__(self, name: str, entry: Entry, module: ModuleType) -> None:
        self.name, self.entry, self.module = name, entry, module

    def parser(self, prog: str | None = None) -> argparse.ArgumentParser:
        """Its arguments; `prog` is how the user called it."""
        check = f" ({self.entry.check})" if self.entry.check else ""
        p = _Parser(
            prog=prog or f"puvae {self.name}",
            description=self.module.__doc__,
            epilog=EXIT_CODES.format(check=check),
        )
        add_options(p, self.module.Options)
        p.add_argument("--json", nargs="?", const=STDOUT, metavar="PATH", help=JSON_HELP)
        return p

    def run(self, argv: Sequence[str], prog: str | None = None) -> int:
        """Parse, work, print; the exit code."""
        parser = self.parser(prog)
        args = parser.parse_args(json_settled(argv, self._takes_words()))
        checks = getattr(self.module, "CHECKS", ())

        def work() -> Outcome:
            options = read_options(parser, self.module.Options, args)
            self._check_paths(options, args.json)
            found: Outcome = self.module.run(options)
            return found

        code = run_command(work, args.json, getattr(self.module, "HINT", ""), checks)
        getattr(self.module, "at_end", lambda _: None)(code)
        return code

    def _check_paths(self, options: Any, json_path: str | None) -> None:
        """ContractError where a path cannot be written, or writing it would destroy what is read."""
        outputs, sealed = paths_of(options, WRITTEN), paths_of(options, SEALED)
        if json_path is not None and json_path != STDOUT:
            check_json(json_path)
            outputs["--json"] = Path(json_path)
            sealed |= getattr(self.module, "sealed_around", lambda *_: {})(options, Path(json_path))
            if beside := getattr(self.module, "beside_json", lambda _: None)(options):
                outputs[f"the {beside[0]} of --json"] = Path(json_path).with_suffix(beside[1])
        inputs = paths_of(options, READ) | getattr(self.module, "also_read", lambda _: {})(options)
        refuse_overwrite(outputs, inputs, sealed)

    def _takes_words(self) -> bool:
        return any(flag.positional for flag in flags_of(self.module.Options).values())


def load(name: str) -> Command:
    """The sub-command `name`, a key of COMMANDS."""
    return Command(name, COMMANDS[name], importlib.import_module(COMMANDS[name].path))


def json_settled(argv: Sequence[str], takes_words: bool) -> list[str]:
    """`argv` with each `--json` as `--json=PATH`, PATH being "-" where none is given.

    The word behind `--json` is its PATH when it ends in .json, and in commands that take no bare words in any case.
    Otherwise `--json` stands alone; `--json=PATH` always has a path.
    """
    settled: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*settled, word, *words]
        if word == "--json":
            path = words[0] if words else ""
            named = path == STDOUT or (bool(path) and not path.startswith("-"))
            takes = named and (path == STDOUT or path.endswith(".json") or not takes_words)
            word = f"--json={words.pop(0) if takes else STDOUT}"
        settled.append(word)
    return settled


def check_json(path: str | None) -> None:
    """ContractError for a PATH of --json that cannot be written, before any work is done."""
    if path is None or path == STDOUT:
        return
    if not path or Path(path).is_dir():
        raise ContractError(f"--json={path}: expected a file to write, or --json alone to print it")
    folder = Path(os.path.realpath(path)).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ContractError(f"--json {path}: {folder} cannot be written; give another path")


def run_command(
    work: Callable[[], Outcome],
    json_path: str | None = None,
    hint: str = "",
    checks: tuple[type[PuvaeError], ...] = (),
) -> int:
    """Print what `work` has found and return the exit code.

    Args:
        work: what the command does.
        json_path: of --json: None for text, "-" for JSON on standard output, or a file for it beside the text.
        hint: printed after a signal.
        checks: errors that are a failed check.
    """
    try:
        found = work()
        if json_path is not None and json_path != STDOUT:
            write_json(json_path, found.document)
    except BaseException as error:
        return _ended(error, hint, checks)
    text = json.dumps(found.document, indent=2, allow_nan=False) if json_path == STDOUT else found.text
    if (code := streams.write(text)) != GOOD:
        return code
    if found.beside is not None and json_path not in (None, STDOUT):
        try:
            found.beside(Path(json_path))
        except BaseException as error:
            return _ended(error, hint, checks)
    if found.error is not None:
        return _fail(f"error: {found.error}", WRONG_USE)
    return found.code if found.passed else CHECK_FAILED


def _ended(error: BaseException, hint: str, checks: tuple[type[PuvaeError], ...]) -> int:
    """Say in one line what ended the command; an error that is ours goes on."""
    if ended := signals.ending(error):
        return _fail(f"{ended[0]}{': ' if hint else ''}{hint}", ended[1])
    if isinstance(error, checks):
        return _fail(f"error: {error}", CHECK_FAILED)
    if (told := _told(error)) is None:
        raise error
    return _fail(f"error: {told}", WRONG_USE)


def _told(error: BaseException) -> str | None:
    """What is said of an error that the user can mend; None for one that is ours."""
    if isinstance(error, PuvaeError):
        unhelpful = isinstance(error, OSError) and "expected" not in str(error)
        return f"{error}; {_PATHS}" if unhelpful else str(error)
    if isinstance(error, ModuleNotFoundError) and (missing := (error.name or "").partition(".")[0]) in EXTRAS:
        from puvae_rt.refusal import install

        return f"{missing} is not installed; install it with {install(EXTRAS[missing])}"
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or ask for less at once"
    if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        return f"{error}; {_PATHS}"
    return None


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


_OLD = {"FAILED": "puvae_rt.cli.codes:WRONG_USE"}
__getattr__ = renamed(__name__, _OLD)
