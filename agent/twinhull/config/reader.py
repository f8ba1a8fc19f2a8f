"""Reads the keys of one mapping: each getter checks one kind of value and tells what is wrong with it."""

from __future__ import annotations

import difflib
import enum
import ipaddress
import re
from collections import abc
from collections.abc import Callable, Iterable
from pathlib import PurePath, PurePosixPath
from typing import TypeVar

from .paths import read_absolute_path
from .tree import Mapping, Node, Problems, Scalar, Sequence
from .units import parse_duration_s, parse_size_bytes

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
LABEL_RULE = "use letters, digits and '-' inside, at most 63 (certificates carry it)"
NAME_RULE = "use letters, digits, '-' and '_', beginning with a letter or digit, at most 63"
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})

MEANT = {
    "address": "addresses", "auto_start": "boot", "autostart": "boot", "cmd": "command", "dir": "folder",
    "directory": "folder", "path": "folder", "disk": "size", "disk_size": "size", "fs": "file_system",
    "fstype": "file_system", "filesystem": "file_system", "id": "number", "failback": "return",
    "primary": "preferred", "preferred_node": "preferred", "split_brain": "keep", "type": "kind",
    "vm": "domain", "uri": "libvirt_uri", "hosts": "nodes", "volumes": "modules", "name": "cluster",
}  # fmt: skip
"""What people write for keys of ours when they come from other products."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when one of the known words is near, otherwise the list of them."""
    words = list(known)
    lower = {item.lower(): item for item in words}
    near = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    meant = MEANT.get(word.lower())
    if near:
        return f": did you mean '{lower[near[0]]}'?"
    if meant in words:
        return f": did you mean '{meant}'?"
    return f": use {', '.join(words)}" if words else ""


class Section:
    """One mapping of the file. Unknown keys are told when it is made.

    Args:
        node: the mapping; anything else is told as a problem and read as empty.
        where: its place for people, such as `modules.VM1.timings`; empty for the whole file.
        known: the keys it may have; None when the keys are names.
        homes: for keys that belong elsewhere, where that is.
        line: where the section's own key stands; None: where its value begins.
    """

    def __init__(
        self,
        problems: Problems,
        node: Node,
        where: str,
        known: Iterable[str] | None,
        homes: dict[str, str] | None = None,
        line: int | None = None,
    ) -> None:
        self.problems = problems
        self.where = where
        self.line = line or node.line
        self.is_mapping = isinstance(node, Mapping)
        self.entries = node.entries if isinstance(node, Mapping) else {}
        if not self.is_mapping:
            problems.add(node.line, f"'{where}' must have keys of its own, not {describe(node)}")
        if known is not None:
            self._refuse_unknown(tuple(known), homes or {})

    def _refuse_unknown(self, known: tuple[str, ...], homes: dict[str, str]) -> None:
        for key, entry in self.entries.items():
            if key in known:
                continue
            inside = f" in '{self.where}'" if self.where else ""
            if key in homes:
                self.problems.add(entry.line, f"the key '{key}' does not belong here{inside}: {homes[key]}")
            else:
                self.problems.add(entry.line, f"unknown key '{key}'{inside}{suggestion(key, known)}")

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
        self.problems.add(self.line_of(key), f"'{self.path(key)}' {message}")

    def problem_here(self, message: str) -> None:
        """Tell what is wrong with the section itself."""
        self.problems.add(self.line, message)

    def node(self, key: str, *, required: bool = False) -> Node | None:
        """The key's value as it stands in the tree."""
        if self.has(key):
            return self.entries[key].value
        if key in self.entries:
            self.problem(key, "has no value")
        elif required and self.is_mapping:
            inside = f" in '{self.where}'" if self.where else ""
            self.problems.add(self.line, f"the key '{key}' is missing{inside}")
        return None

    def section(
        self,
        key: str,
        known: Iterable[str] | None,
        *,
        required: bool = False,
        homes: dict[str, str] | None = None,
    ) -> Section:
        """The mapping below the key; an empty one when it is not there."""
        value = self.node(key, required=required)
        if value is None:
            value = Mapping({}, self.line_of(key))
        return Section(self.problems, value, self.path(key), known, homes, self.line_of(key))

    def value(self, key: str, read: Callable[[str], T], fallback: T, *, required: bool = False) -> T:
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

    def items(self, key: str) -> tuple[Node, ...]:
        """The items of a list; empty when it is not there."""
        node = self.node(key)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.problem(key, f"must be a list, not {describe(node)}")
            return ()
        return node.items

    def has_empty_list(self, key: str) -> bool:
        """Whether the key is there with a list that holds nothing."""
        return self.has(key) and self.entries[key].value == Sequence((), self.entries[key].value.line)

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts, such as the arguments of a command."""
        if required and self.node(key, required=True) is None:
            return ()
        result = []
        for item in self.items(key):
            if isinstance(item, Scalar):
                result.append(item.text)
            else:
                self.problems.add(item.line, f"'{self.path(key)}' must be a list of texts")
        return tuple(result)

    def choice(self, key: str, kind: type[E], fallback: E) -> E:
        """One of the values of an enumeration whose values are texts."""
        return self.value(key, lambda text: read_choice(text, kind), fallback)

    def duration_s(self, key: str, fallback: float, low_s: float, high_s: float) -> float:
        """A duration within bounds, seconds."""

        def read(text: str) -> float:
            seconds = parse_duration_s(text)
            if not low_s <= seconds <= high_s:
                raise ValueError(f"{seconds:g} s is outside {low_s:g} s to {high_s:g} s")
            return seconds

        return self.value(key, read, fallback)

    def integer(self, key: str, fallback: int, low: int, high: int, *, required: bool = False) -> int:
        """A whole number within bounds."""

        def read(text: str) -> int:
            if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
                raise ValueError(f"'{text}' is no whole number")
            if not low <= int(text) <= high:
                raise ValueError(f"{text} is outside {low} to {high}")
            return int(text)

        return self.value(key, read, fallback, required=required)

    def boolean(self, key: str, fallback: bool) -> bool:
        """True or false."""

        def read(text: str) -> bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError(f"'{text}' is neither true nor false")
            return text.lower() in _TRUE

        return self.value(key, read, fallback)

    def size_bytes(self, key: str, low_bytes: int, high_bytes: int, step_bytes: int, step_text: str) -> int:
        """A size within bounds, a multiple of `step_bytes`; 0 when it is wrong."""

        def read(text: str) -> int:
            size = parse_size_bytes(text)
            if not low_bytes <= size <= high_bytes:
                raise ValueError(f"{text} is outside {low_bytes >> 30} GiB to {high_bytes >> 40} TiB")
            if size % step_bytes:
                raise ValueError(
                    f"{text} is {size} bytes, no whole number of {step_text} blocks; "
                    f"write '{size >> 20} MiB', or use GiB (1024^3) in place of GB (1000^3)"
                )
            return size

        return self.value(key, read, 0, required=True)

    def absolute_path(
        self, key: str, fallback: PurePath | None = None, *, required: bool = False
    ) -> PurePath:
        """An absolute path of either platform, without `.` and `..` and without a separator at its end."""
        return self.value(key, read_absolute_path, fallback or PurePosixPath(), required=required)


def describe(node: Node) -> str:
    """What a value is, for people."""
    if isinstance(node, Mapping):
        return "keys and values"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing" if node.null else f"'{node.text}'"


def read_choice(text: str, kind: type[E]) -> E:
    """The member of this value, or ValueError."""
    for member in kind:
        if member.value == text:
            return member
    raise ValueError(f"'{text}' is not one of them{suggestion(text, [str(m.value) for m in kind])}")


def typed_section(
    problems: Problems, node: Node, where: str, keys: abc.Mapping[E, tuple[str, ...]], line: int | None = None
) -> tuple[E, Section] | None:
    """A mapping whose key `kind` says which other keys it has; None when the kind is not known."""
    probe = Section(problems, node, where, None, line=line)
    kinds = type(next(iter(keys)))
    kind: E | None = probe.value("kind", lambda text: read_choice(text, kinds), None, required=True)
    if kind is None:
        return None
    return kind, Section(problems, node, where, keys[kind], line=line)


def read_name(text: str) -> str:
    """A name of a network, module or checker, or ValueError."""
    if not NAME.fullmatch(text):
        raise ValueError(f"'{text}' is no name: {NAME_RULE}")
    return text


def read_label(text: str) -> str:
    """A name of a cluster or node, which is a part of its certificates' names, or ValueError."""
    if not LABEL.fullmatch(text):
        raise ValueError(f"'{text}' is no name: {LABEL_RULE}")
    return text


def read_ip(text: str) -> str:
    """A literal IP address of one host in its usual spelling, or ValueError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is no IP address: host names are not looked up, write the address"
        ) from None
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255":
        raise ValueError(f"'{text}' is no address of one host")
    return str(address)
