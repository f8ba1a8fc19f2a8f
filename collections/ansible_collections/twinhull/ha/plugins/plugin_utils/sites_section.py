# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Reads the keys of one mapping: each getter checks one kind of value and tells what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import (
    Mapping,
    Node,
    Problems,
    Scalar,
    Sequence,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_words import Read, suggestion


class Section:
    """One mapping of the file. Unknown keys are told when it is made.

    Args:
        problems: gets what is wrong.
        subject: whom messages are about, such as ``site lyon``.
        node: the mapping; anything else is told as a problem and read as empty.
        where: its place for people, such as ``modules.VM1.timings``; empty for the whole.
        known: the keys it may have; None when the keys are names.
        homes: for keys that belong elsewhere, where that is.
        line: where the section's own key stands; None: where its value begins.
    """

    def __init__(
        self,
        problems: Problems,
        subject: str,
        node: Node,
        where: str,
        known: Iterable[str] | None,
        homes: Map[str, str] | None = None,
        line: int | None = None,
    ) -> None:
        self.problems = problems
        self.subject = subject
        self.where = where
        self.line = line or node.line
        self.is_mapping = isinstance(node, Mapping)
        self.entries = node.entries if isinstance(node, Mapping) else {}
        if not self.is_mapping:
            name = f"'{where}'" if where else "it"
            self.add(node.line, f"{name} must have keys of its own, not {describe(node)}")
        if known is not None:
            self._refuse_unknown(tuple(known), homes or {})

    def _refuse_unknown(self, known: tuple[str, ...], homes: Map[str, str]) -> None:
        inside = f" in '{self.where}'" if self.where else ""
        for key, entry in self.entries.items():
            if key in known:
                continue
            if key in homes:
                self.add(entry.line, f"the key '{key}' does not belong here{inside}: {homes[key]}")
            else:
                self.add(entry.line, f"unknown key '{key}'{inside}{suggestion(key, known)}")

    def add(self, line: int, message: str) -> None:
        """Tell what is wrong in a line."""
        self.problems.add(line, self.subject, message)

    def path(self, key: str) -> str:
        """The key's full name for people."""
        return f"{self.where}.{key}" if self.where else key

    def line_of(self, key: str) -> int:
        """The line of the key, or of the section when it is not there."""
        return self.entries[key].line if key in self.entries else self.line

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        entry = self.entries.get(key)
        return entry is not None and not (isinstance(entry.value, Scalar) and entry.value.null)

    def problem(self, key: str, message: str) -> None:
        """Tell what is wrong with this key."""
        self.add(self.line_of(key), f"'{self.path(key)}' {message}")

    def node(self, key: str, *, required: bool = False) -> Node | None:
        """The key's value as it stands in the tree; None (and a problem when required) without one."""
        if self.has(key):
            return self.entries[key].value
        if key in self.entries:
            self.problem(key, "has no value: write one, or remove the line")
        elif required and self.is_mapping:
            inside = f" in '{self.where}'" if self.where else ""
            self.add(self.line, f"the key '{key}' is missing{inside}: add it")
        return None

    def section(
        self,
        key: str,
        known: Iterable[str] | None,
        *,
        required: bool = False,
        homes: Map[str, str] | None = None,
    ) -> Section:
        """The mapping below the key; an empty one when it is not there."""
        value = self.node(key, required=required)
        if value is None:
            value = Mapping({}, self.line_of(key))
        return Section(self.problems, self.subject, value, self.path(key), known, homes, self.line_of(key))

    def value(self, key: str, read: Read, fallback: Any = None, *, required: bool = False) -> Any:
        """The scalar read by `read`, whose ValueError is the problem; `fallback` when there is none."""
        node = self.node(key, required=required)
        if node is None:
            return fallback
        if not isinstance(node, Scalar):
            self.problem(key, f"must be a single value, not {describe(node)}")
            return fallback
        try:
            return read(node.text)
        except ValueError as error:
            self.problem(key, f"is wrong: {error}")
            return fallback

    def values(self, readers: Map[str, Read], required: Iterable[str] = ()) -> dict[str, Any]:
        """The scalars of these keys that are there and right, in this order."""
        needed = set(required)
        read = {key: self.value(key, reader, required=key in needed) for key, reader in readers.items()}
        return {key: value for key, value in read.items() if value is not None}

    def items(self, key: str, *, required: bool = False) -> tuple[Node, ...]:
        """The items of a list; empty when it is not there."""
        node = self.node(key, required=required)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.problem(key, f"must be a list, not {describe(node)}: write [{_text(node)}]")
            return ()
        items: tuple[Node, ...] = node.items
        return items

    def texts(self, key: str, read: Read, *, required: bool = False) -> list[Any]:
        """A list of scalars, each read by `read`; those that are wrong are told and left out."""
        result = []
        for item in self.items(key, required=required):
            if not isinstance(item, Scalar):
                self.add(
                    item.line, f"'{self.path(key)}' must be a list of single values, not of {describe(item)}"
                )
                continue
            try:
                result.append(read(item.text))
            except ValueError as error:
                self.add(item.line, f"'{self.path(key)}' is wrong: {error}")
        return result

    def name(self, key: str, what: str, read: Read) -> bool:
        """Whether this key can be a name; if not, it is told."""
        try:
            read(key)
        except ValueError as error:
            self.add(self.line_of(key), f"the {what}'s name is wrong: {error}")
            return False
        return True


def describe(node: Node) -> str:
    """What a value is, for people."""
    if isinstance(node, Mapping):
        return "keys and values"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing" if node.null else f"'{node.text}'"


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else "..."


def merge(default: Node | None, own: Node | None) -> Node | None:
    """The own value over the default: mappings key by key, everything else as a whole.

    Two values with a ``kind`` of their own, and different ones, have nothing in common: then the own one stands alone.
    """
    if own is None:
        return default
    if not isinstance(default, Mapping) or not isinstance(own, Mapping):
        return own
    kinds = (_kind(default), _kind(own))
    if None not in kinds and kinds[0] != kinds[1]:
        return own
    entries = dict(default.entries)
    for key, entry in own.entries.items():
        before = entries.get(key)
        merged = merge(before.value, entry.value) if before else entry.value
        entries[key] = entry._replace(value=merged or entry.value)
    return Mapping(entries, own.line)


def _kind(mapping: Mapping) -> str | None:
    value = mapping.entries["kind"].value if "kind" in mapping.entries else None
    return value.text if isinstance(value, Scalar) else None
