"""Shell completion, made of the parsers: every command, flag and choice, for bash, zsh and fish."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from puvae_rt.cli.command import load
from puvae_rt.cli.registry import BUILT_IN, COMMANDS, SHELLS

_TOP = (*dict.fromkeys(name.split()[0] for name in COMMANDS), *BUILT_IN, "--help", "--version")


class _Flag(NamedTuple):
    """A flag, the values it allows (none where any goes), and whether a value follows."""

    name: str
    choices: tuple[str, ...]
    takes: bool
    help: str


def script(shell: str) -> str:
    """What `puvae completion SHELL` prints."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _flags(command: str) -> Iterator[_Flag]:
    for action in load(command).parser()._actions:
        for name in action.option_strings:
            if name.startswith("--") and action.help != argparse.SUPPRESS:
                choices = tuple(map(str, action.choices or ()))
                first = (action.help or "").replace("%%", "%")
                yield _Flag(name, choices, action.nargs != 0, first)


def _words(command: str) -> tuple[str, ...]:
    """What may follow a command of two words' first, or a built-in."""
    if command == "help":
        return tuple(dict.fromkeys(name.split()[0] for name in COMMANDS))
    if command == "completion":
        return SHELLS
    return tuple(name.split()[1] for name in COMMANDS if name.startswith(f"{command} "))


_BASH = """\
_puvae() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} flag= i
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W {top} -- "$word"))
        return
    fi
    case $command in
{words}
    esac
    for (( i = COMP_CWORD - 1; i > 1; i-- )); do  # a flag may have several values
        if [[ ${{COMP_WORDS[i]}} == --* ]]; then flag=${{COMP_WORDS[i]}}; break; fi
    done
    if [[ $word == -* ]]; then case $command in
{flags}
    esac; else case "$command $flag" in
{choices}
    esac; fi
}}
complete -o default -F _puvae puvae
"""


def _bash() -> str:
    words, choices, flags = [], [], []
    for first in (*dict.fromkeys(name.split()[0] for name in COMMANDS), *BUILT_IN):
        if follow := _words(first):
            reply = f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(follow))} -- "$word")); return'
            words.append(
                f'        {first}) if (( COMP_CWORD == 2 )); then {reply}; fi; command+=" ${{COMP_WORDS[2]}}";;'
            )
    for name in COMMANDS:
        names = " ".join(flag.name for flag in _flags(name))
        flags.append(f'            {_pattern(name)}) COMPREPLY=($(compgen -W {shlex.quote(names)} -- "$word"));;')
        for flag in _flags(name):
            if flag.choices:
                reply = f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(flag.choices))} -- "$word")); return'
                choices.append(f"        {_pattern(f'{name} {flag.name}')}) {reply};;")
    top = shlex.quote(" ".join(_TOP))
    return _BASH.format(top=top, words="\n".join(words), choices="\n".join(choices), flags="\n".join(flags))


def _pattern(words: str) -> str:
    """Of a `case`."""
    return words.replace(" ", "\\ ")


def _zsh() -> str:
    """Bash's, through zsh's own reader of such functions."""
    return "autoload -Uz bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = ["complete -c puvae -f"]
    for word in _TOP:
        if not word.startswith("-"):
            lines.append(f"complete -c puvae -n __fish_use_subcommand -a {word}")
    for first in (*dict.fromkeys(name.split()[0] for name in COMMANDS), *BUILT_IN):
        for word in _words(first):
            lines.append(f"complete -c puvae -n '__fish_seen_subcommand_from {first}' -a {word}")
    for name in COMMANDS:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        for flag in _flags(name):
            values = f" -x -a {shlex.quote(' '.join(flag.choices))}" if flag.choices else " -r -F" if flag.takes else ""
            told = shlex.quote(flag.help).replace("'\"'\"'", "\\'")
            lines.append(f"complete -c puvae -n {shlex.quote(seen)} -l {flag.name[2:]}{values} -d {told}")
    return "\n".join(lines)
