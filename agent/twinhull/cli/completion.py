"""Completion for bash, generated from the parser so that it never differs from it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

FILES = "@files"
MODULES = "@modules"
_HEADER = """\
# bash completion of twinhull. Generated: twinhull completion bash
_twinhull() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local path="" index words=""
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$path ${COMP_WORDS[index]}" in
"""
_MIDDLE = """\
                path="$path ${COMP_WORDS[index]}" ;;
        esac
    done
    case "$path $previous" in
"""
_WORDS = """\
    esac
    if [[ -z $words ]]; then
        case "$path" in
"""
_FOOTER = """\
        esac
    fi
    if [[ $words == *@modules* ]]; then
        words="${words/@modules/$(twinhull completion modules 2>/dev/null)}"
    fi
    if [[ $words == *@files* ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
        words="${words/@files/}"
    fi
    COMPREPLY+=($(compgen -W "$words" -- "$current"))
}
complete -F _twinhull twinhull
"""


class Command(NamedTuple):
    """One command: its path of words, what may follow, and what follows its options."""

    path: tuple[str, ...]
    words: tuple[str, ...]
    values: dict[str, str]


def commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """The command and all below it."""
    words: list[str] = []
    values: dict[str, str] = {}
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            words += below
        elif action.option_strings:
            if action.help == argparse.SUPPRESS:
                continue
            words += action.option_strings
            if action.nargs != 0:
                values |= dict.fromkeys(action.option_strings, _value_words(action))
        else:
            words.append(_value_words(action))
    yield Command(path, tuple(words), values)
    for name, sub in below.items():
        yield from commands(sub, (*path, name))


def _value_words(action: argparse.Action) -> str:
    if action.choices:
        return " ".join(str(choice) for choice in action.choices)
    if action.metavar == "MODULE":
        return MODULES
    if action.metavar in ("FILE", "DIR"):
        return FILES
    return ""


def bash(parser: argparse.ArgumentParser) -> str:
    """The script for bash."""
    all_commands = list(commands(parser))
    paths = [_path(command.path) for command in all_commands if command.path]
    lines = [_HEADER, "            " + "|".join(f'"{path}"' for path in paths) + ")\n", _MIDDLE]
    for command in all_commands:
        for option, value in command.values.items():
            words = value or " "
            lines.append(f'        "{_path(command.path)} {option}") words="{words}" ;;\n')
    lines.append(_WORDS)
    for command in all_commands:
        words = " ".join(word for word in command.words if word)
        lines.append(f'            "{_path(command.path)}") words="{words}" ;;\n')
    return "".join([*lines, _FOOTER])


def _path(path: tuple[str, ...]) -> str:
    return "".join(f" {word}" for word in path)
