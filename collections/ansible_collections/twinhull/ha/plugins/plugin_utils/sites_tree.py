# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""YAML text to a small tree that remembers the line of everything.

Scalars keep the text that was written (``off`` stays ``off``, ``02:00`` stays ``02:00``): what a scalar means is decided
by who reads it. Nothing is constructed from the text. Below the keys of ``FREE_KEYS`` the values are the user's own:
there, the tags of Ansible (such as ``!vault``) are let through, and `free_document` cuts the text out, so that Ansible's
own loader can read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

MAX_TEXT_CHARACTERS = 1 << 24
MAX_DEPTH = 40
FREE_KEYS = frozenset({"vars", "compose", "groups", "keyed_groups"})
FREE_TAGS = frozenset({"!vault", "!vault-encrypted", "!unsafe"})
TEMPLATE_MARKS = ("{{", "{%", "{#")
_PLAIN_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Problem(NamedTuple):
    """One thing that is wrong: ``line`` counts from 1, ``subject`` is such as ``site lyon`` (or empty)."""

    line: int
    subject: str
    message: str

    def text(self, file: str) -> str:
        """``file:line: subject: message``."""
        subject = f"{self.subject}: " if self.subject else ""
        return f"{file}:{self.line}: {subject}{self.message}"


@dataclass
class Problems:
    """Collects everything that is wrong with one file, so that all of it is told at once.

    What is wrong with a default is told once, when the defaults are read, and not again for each site that takes it:
    `close_defaults` marks the end of that reading.
    """

    found: list[Problem] = field(default_factory=list)
    _known: set[Problem] = field(default_factory=set)
    _closed_lines: frozenset[int] = frozenset()

    def add(self, line: int, subject: str, message: str) -> None:
        """Remember one problem; the same one twice counts once."""
        problem = Problem(line, subject, message)
        if problem not in self._known and line not in self._closed_lines:
            self._known.add(problem)
            self.found.append(problem)

    def close_defaults(self, first_line: int, last_line: int) -> None:
        """From now on, lines of the defaults (first to last) that had a problem say no more."""
        told = {problem.line for problem in self.found}
        self._closed_lines = frozenset(line for line in told if first_line <= line <= last_line)

    def sorted(self) -> list[Problem]:
        """All problems in the order of their lines."""
        return sorted(self.found, key=lambda problem: problem.line)


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text as it was written; ``null`` when nothing was."""

    text: str
    line: int
    null: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list; ``span`` is where one that stands below a key of FREE_KEYS is in the text."""

    items: tuple[Node, ...]
    line: int
    span: Span | None = None


class Entry(NamedTuple):
    """One key of a mapping: where the key stands, and its value."""

    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in the order of the file; ``span`` is where a mapping below a key of FREE_KEYS stands in the text."""

    entries: dict[str, Entry]
    line: int
    span: Span | None = None


class Span(NamedTuple):
    """A piece of the text: characters from ``start`` to ``end``, beginning in a line (from 0) and column (from 0)."""

    start: int
    end: int
    line: int
    column: int
    end_line: int


Node = Scalar | Sequence | Mapping


@dataclass
class _Open:
    """A list or mapping whose end was not read yet."""

    is_mapping: bool
    line: int
    free: bool
    begin: Any
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    key: Scalar | None = None
    key_expected: bool = True


class _Builder:
    """Takes parser events one by one; ``root`` is the result."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.root: Node | None = None
        self.documents = 0
        self._stack: list[_Open] = []

    def take(self, event: Any) -> None:
        """One event. Raises _TooDeepError."""
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            self._check_template(event)
            null = event.style in (None, "") and event.value in _NULLS
            self._add(Scalar(event.value, line, null))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(event)
        elif isinstance(event, yaml.AliasEvent):
            self.problems.add(
                line,
                "",
                "anchors and aliases (&, *) are not supported: write the value out, or use 'defaults'",
            )
            self._add(Scalar("", line, True))
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents == 2:
                self.problems.add(line, "", "a second document begins here: remove the line '---'")

    def _free(self) -> bool:
        if not self._stack:
            return False
        top = self._stack[-1]
        return top.free or (top.is_mapping and top.key is not None and top.key.text in FREE_KEYS)

    def _check_tag(self, event: Any) -> None:
        tag = event.tag
        if (
            tag is None
            or tag == "!"
            or (tag.startswith(_PLAIN_TAG) and not tag.startswith(_PLAIN_TAG + "python"))
        ):
            return
        if tag in FREE_TAGS and self._free():
            return
        where = "outside of 'vars'" if tag in FREE_TAGS else "here"
        self.problems.add(
            event.start_mark.line + 1, "", f"the tag '{tag}' is not supported {where}: write a plain value"
        )

    def _check_template(self, event: Any) -> None:
        if any(mark in event.value for mark in TEMPLATE_MARKS) and not self._free():
            message = "templates are read under 'vars' only: write the value itself"
            self.problems.add(event.start_mark.line + 1, "", f"'{event.value[:60]}': {message}")

    def _open(self, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _TooDeepError(event.start_mark.line + 1)
        self._check_tag(event)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._stack.append(_Open(is_mapping, event.start_mark.line + 1, self._free(), event.start_mark))

    def _close(self, event: Any) -> None:
        done = self._stack.pop()
        span = None
        if done.free and not (self._stack and self._stack[-1].free):
            begin, end = done.begin, event.end_mark
            span = Span(begin.index, end.index, begin.line, begin.column, end.line)
        if done.is_mapping:
            self._add(Mapping(done.entries, done.line, span))
        else:
            self._add(Sequence(tuple(done.items), done.line, span))

    def _add(self, node: Node) -> None:
        if not self._stack:
            if self.documents == 1:
                self.root = node
            return
        top = self._stack[-1]
        if not top.is_mapping:
            top.items.append(node)
        elif top.key_expected:
            top.key_expected = False
            top.key = node if isinstance(node, Scalar) else None
            if top.key is None:
                self.problems.add(node.line, "", "a key must be a plain word")
        else:
            top.key_expected = True
            self._add_entry(top, node)

    def _add_entry(self, top: _Open, node: Node) -> None:
        key, top.key = top.key, None
        if key is None:
            return
        if key.text in top.entries:
            first = top.entries[key.text].line
            self.problems.add(
                key.line,
                "",
                f"the key '{key.text}' stands here twice (first in line {first}): remove one of them",
            )
        else:
            top.entries[key.text] = Entry(key.line, node)


class _TooDeepError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def parse(text: str, problems: Problems) -> Mapping | None:
    """The document as a tree; None (and a problem) when it is no mapping at all.

    Args:
        text: YAML 1.1, at most `MAX_TEXT_CHARACTERS`, without a byte order mark.
        problems: gets what is wrong; syntax errors end the reading, duplicate keys do not.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        problems.add(1, "", f"the file is larger than {MAX_TEXT_CHARACTERS >> 20} Mi characters")
        return None
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _TooDeepError as error:
        problems.add(error.line, "", f"nested deeper than {MAX_DEPTH} levels")
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(
            mark.line + 1 if mark else 1,
            "",
            f"this is not valid YAML: {error.problem or error.context}. Look at the indentation and the quotes here",
        )
        return None
    except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
        position = error.start if isinstance(error, UnicodeEncodeError) else error.position
        line = text[:position].count("\n") + 1
        problems.add(line, "", "this is not valid YAML: a character that is not allowed")
        return None
    if not isinstance(builder.root, Mapping):
        line = builder.root.line if builder.root else 1
        problems.add(line, "", "the file must begin with keys and values: plugin: twinhull.ha.sites")
        return None
    return builder.root


def free_document(text: str, spans: list[Span]) -> str:
    """A YAML list of these pieces of the text, each in its own line and column of the file.

    So a loader that knows more than this one (Ansible's) reads them, and its own messages name the right lines.
    The spans must be in the order of the file, none inside another.
    """
    return "".join(_pieces(text, spans))


def _pieces(text: str, spans: list[Span]) -> Iterator[str]:
    line, at_start = 0, True
    for span in spans:
        gap = span.line - line
        yield "\n" * (gap if gap > 0 or at_start else 1)
        piece = text[span.start : span.end].rstrip(" ")
        yield "-" + " " * (max(span.column, 2) - 1) + piece
        line, at_start = span.end_line, piece.endswith("\n")
    yield "\n"
