"""`puvae COMMAND ...`: finds the sub-command and runs it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from puvae_rt.cli import streams
from puvae_rt.cli.codes import WRONG_USE
from puvae_rt.cli.registry import BUILT_IN, COMMANDS, GROUPS, SHELLS

_HELP = ("-h", "--help")
_COMPLETION_HELP = """\
usage: puvae completion SHELL

Prints the completion of a shell. To use it:
  bash: eval "$(puvae completion bash)"     in ~/.bashrc
  zsh:  eval "$(puvae completion zsh)"      in ~/.zshrc, behind compinit
  fish: puvae completion fish | source      in ~/.config/fish/config.fish"""
JSON_RULE = (
    "--json prints a command's result as JSON in place of the table; --json PATH writes it to PATH and prints the\n"
    "table. The word after --json is PATH when it ends in .json, and in commands without bare words in any case;\n"
    "--json=PATH always is."
)


def main(argv: Sequence[str], prog: str | None = None) -> int:
    """Run `puvae` with these arguments and return its exit code.

    Args:
        argv: what follows `puvae`.
        prog: how the sub-command was called, for its usage line; None is `puvae COMMAND`.
    """
    first = argv[0] if argv else ""
    if first == "--version":
        from puvae_rt.version import __version__

        return streams.write(f"puvae {__version__}")
    if first in _HELP or list(argv) == ["help"]:
        return streams.write(overview())
    if not argv:
        print(overview(), file=sys.stderr)
        return WRONG_USE
    if first == "help":
        return main([*argv[1:], "--help"])
    if first == "completion":
        return _completion(argv[1:])
    name = next((name for name in (" ".join(argv[:2]), first) if name in COMMANDS), None)
    if name is None:
        return _unknown(argv)
    from puvae_rt.cli.command import load

    return load(name).run(argv[len(name.split()) :], prog)


def run(name: str, argv: Sequence[str]) -> int:
    """Run the sub-command `name` in this process and return its exit code."""
    from puvae_rt.cli.command import load

    return load(name).run(argv)


def overview() -> str:
    """What `puvae --help` prints."""
    width = max(map(len, (*COMMANDS, *BUILT_IN)))
    lines = ["usage: puvae COMMAND [options]", "       puvae COMMAND --help", "       puvae --version"]
    tables = {name: {key: entry.summary for key, entry in group.items()} for name, group in GROUPS.items()}
    for group, entries in (tables | {"about this command": BUILT_IN}).items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {summary}" for name, summary in entries.items()]
    return "\n".join([*lines, "", JSON_RULE])


def _completion(words: Sequence[str]) -> int:
    if any(word in _HELP for word in words):
        return streams.write(_COMPLETION_HELP)
    if len(words) != 1 or words[0] not in SHELLS:
        got = " ".join(words) or "nothing"
        print(f"error: completion: got {got}, expected one of {', '.join(SHELLS)}", file=sys.stderr)
        return WRONG_USE
    from puvae_rt.cli.completion import script

    return streams.write(script(words[0]))


def _unknown(argv: Sequence[str]) -> int:
    """Says which command may have been meant."""
    below = [name for name in COMMANDS if name.startswith(f"{argv[0]} ")]
    if below and any(word in _HELP for word in argv[1:]):
        return streams.write("\n".join(f"puvae {name:<16}  {COMMANDS[name].summary}" for name in below))
    if below and len(argv) == 1:
        meant = " or ".join(f"`puvae {name}`" for name in below)
        print(f"error: {argv[0]}: expected one more word: {meant}", file=sys.stderr)
        return WRONG_USE
    known = below or [*COMMANDS, *BUILT_IN]
    wanted = " ".join(argv[: 2 if below else 1])
    close = difflib.get_close_matches(wanted, known, 1)
    meant = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    print(f"error: no command {wanted!r}; {meant} (puvae --help lists them)", file=sys.stderr)
    return WRONG_USE
