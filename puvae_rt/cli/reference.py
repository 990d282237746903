"""The commands' manual, docs/commands.md, made of what the commands know of themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from puvae_rt.cli.command import load
from puvae_rt.cli.options import OLD_GOES_IN, flag_name, flags_of
from puvae_rt.cli.registry import BUILT_IN, COMMANDS, GROUPS
from puvae_rt.cli.vocabulary import FLAGS

_INTRODUCTION = """\
# Commands

`puvae COMMAND`, or `python -m puvae_rt COMMAND`; those with a third name go by `python -m` of that name as well.
`puvae COMMAND --help` shows the options with their defaults and ranges. Shell completion: `eval "$(puvae completion
bash)"` in `~/.bashrc`; zsh the same behind `compinit`; fish `puvae completion fish | source`.

This page is made by `python -m puvae_rt.cli.reference`; a test holds it to the commands.
"""
_CODES = """\
## Exit codes

| code | meaning |
| --- | --- |
| 0 | done; what was asked for is good |
| 1 | a check failed (the table above says which); nothing else ends with 1 |
| 2 | wrong use, or this machine lacks something: a file, room on the disk, a library, a GPU |
| 130 | interrupted (Ctrl-C) |
| 143 | terminated (SIGTERM) |
| 129 | hung up (SIGHUP) |

A signal ends every command in one line, and temporary files go with it; a second one after a second ends it at once.
Trainings keep the step they are at, and the same command goes on from there. A demo that is stopped ends in good order.
Where the reader of standard output has left (`| head`), the command's own code stays; where the output cannot be
written (a full disk, a closed stream), the code is 2.

## JSON

`--json` prints a command's result as JSON in place of the table; `--json PATH` writes it to PATH and prints the table.
The word behind `--json` is PATH when it ends in `.json`, and in commands that take no bare words in any case;
`--json=PATH` always is. PATH may be `-` for standard output.
"""


def manual() -> str:
    """The whole page, Markdown."""
    parts = [_INTRODUCTION, *_command_tables(), _CODES, "## Flags of several commands\n", _flag_table()]
    parts += [f"## Old spellings\n\nThey work until {OLD_GOES_IN} and warn.\n", _old_table()]
    return "\n".join(parts)


def _command_tables() -> Iterator[str]:
    for group, entries in GROUPS.items():
        rows = [
            f"| `puvae {name}` | {entry.summary} | {f'`{entry.python_m}`' if entry.python_m else ''} "
            f"| {entry.check or ''} |"
            for name, entry in entries.items()
        ]
        head = "| command | what it does | `python -m` | exit code 1 |\n| --- | --- | --- | --- |\n"
        yield f"## To {group}\n\n{head}" + "\n".join(rows) + "\n"
    yield "\n".join(f"- `puvae {name}`: {summary}" for name, summary in BUILT_IN.items()) + "\n"


def _flag_table() -> str:
    used = defaultdict(list)
    for name in COMMANDS:
        for field, flag in flags_of(load(name).module.Options).items():
            if not flag.positional and flag.instead is None:
                used[flag_name(field)].append(name)
    rows = [f"| `{flag}` | {meaning.what} | {', '.join(used[flag])} |" for flag, meaning in FLAGS.items()]
    return "| flag | meaning | commands |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _old_table() -> str:
    rows = []
    for name in COMMANDS:
        for field, flag in flags_of(load(name).module.Options).items():
            rows += [f"| {name} | `{old}` | `{flag_name(field)}` |" for old in flag.old]
            rows += [f"| {name} | `{flag_name(field)}` | `{flag.instead}` |"] if flag.instead else []
    return "| command | old | new |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(manual())
