"""YAML text to a small tree that remembers the line of everything, without YAML's surprises.

Scalars keep the text that was written (`off` stays `off`, `02:00` stays `02:00`): what a scalar means is
decided by who reads it. Duplicate keys, aliases, foreign tags and deep nesting are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml

from ..errors import ConfigError

MAX_TEXT_BYTES = 1 << 20
MAX_DEPTH = 20
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Problem(NamedTuple):
    """One thing that is wrong in a file; `line` counts from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class InvalidConfigError(ConfigError):
    """Everything that is wrong with a configuration, one `file:line: message` per line of the message."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with one file, so that all of it is told at once."""

    file: str
    found: list[Problem] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        """Remember one problem; the same one twice counts once."""
        problem = Problem(self.file, line, message)
        if problem not in self.found:
            self.found.append(problem)

    def raise_if_any(self) -> None:
        """Raises InvalidConfigError with all problems, in the order of their lines."""
        if self.found:
            raise InvalidConfigError(tuple(sorted(self.found, key=lambda problem: problem.line)))


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text as it was written; `null` when nothing was."""

    text: str
    line: int
    null: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int


class Entry(NamedTuple):
    """One key of a mapping: where the key stands, and its value."""

    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in the order of the file."""

    entries: dict[str, Entry]
    line: int


Node = Scalar | Sequence | Mapping


class _Refused(yaml.MarkedYAMLError):
    """What is YAML but not accepted here."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases and deep nesting before they cost anything."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._refuse("anchors and aliases are not supported: write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse(self, problem: str) -> NoReturn:
        mark: yaml.error.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        raise _Refused(problem=problem, problem_mark=mark)


def read_text(path: Path, remedy: str = "Check the path and the permissions.") -> str:
    """The file's text. Raises ConfigError when it cannot be read, is too large or is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {error.strerror}.",
            remedy,
        ) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidConfigError((Problem(str(path), line, "this is not UTF-8 text"),)) from error


def parse(text: str, problems: Problems) -> Mapping | None:
    """The document as a tree; None (and a problem) when it is no mapping at all.

    Args:
        text: YAML 1.1, at most `MAX_TEXT_BYTES`.
        problems: gets what is wrong; syntax errors end the reading, duplicate keys do not.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        problems.add(1, f"the file is larger than {MAX_TEXT_BYTES >> 20} MiB")
        return None
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(
            mark.line + 1 if mark else 1, f"this is not valid YAML: {error.problem or error.context}"
        )
        return None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problems.add(line, "this is not valid YAML: a character that is not allowed")
        return None
    if root is None:
        problems.add(1, "the file is empty")
        return None
    node = _convert(root, problems)
    if not isinstance(node, Mapping):
        problems.add(
            root.start_mark.line + 1, "the file must begin with keys and values, such as 'cluster: NAME'"
        )
        return None
    return node


def _convert(node: yaml.Node, problems: Problems) -> Node:
    line = node.start_mark.line + 1
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        problems.add(line, f"the tag {node.tag!r} is not supported: write a plain value")
    if isinstance(node, yaml.ScalarNode):
        null = node.style is None and node.value in _NULLS
        return Scalar(str(node.value), line, null)
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_convert(item, problems) for item in node.value), line)
    return Mapping(_entries(node, problems), line)


def _entries(node: yaml.Node, problems: Problems) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        value = _convert(value_node, problems)
        if not isinstance(key_node, yaml.ScalarNode):
            problems.add(line, "a key must be a plain word")
        elif key_node.value in entries:
            first = entries[key_node.value].line
            problems.add(line, f"the key '{key_node.value}' stands here twice (first in line {first})")
        else:
            entries[str(key_node.value)] = Entry(line, value)
    return entries
