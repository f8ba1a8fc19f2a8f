"""The words of the preflight: findings, hosts, limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Level = Literal["error", "warning", "ok"]

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
_UNITS_BYTES = {
    "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        level: `error` stops the installation, `warning` does not, `ok` is as it should be.
        code: two words that stay the same, such as `disk.space`; `preflight_accept` names it.
        site: name of the site.
        nodes: names of the nodes that it is about.
        sentence: what is, without the site's name.
        remedy: what to do; empty when nothing is to be done.
        module: the module that it is about, or empty.
    """

    level: Level
    code: str
    site: str
    nodes: tuple[str, ...]
    sentence: str
    remedy: str = ""
    module: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "level": self.level,
            "code": self.code,
            "site": self.site,
            "nodes": list(self.nodes),
            "module": self.module,
            "sentence": self.sentence,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Module:
    """What the preflight needs of a module's configuration."""

    name: str
    number: int
    folder: str
    size_bytes: int
    thick: bool
    kind: str
    domain: str
    preferred: str
    stop_mode: str


@dataclass(frozen=True)
class Site:
    """What the preflight needs of a site's configuration.

    Args:
        nodes: the two names, in the order of the configuration.
        networks: roles of each network.
        addresses: node -> network -> address.
        ports: `control`, `heartbeat`, `data`.
    """

    name: str
    nodes: tuple[str, ...]
    networks: Mapping[str, tuple[str, ...]]
    addresses: Mapping[str, Mapping[str, str]]
    ports: Mapping[str, int]
    modules: tuple[Module, ...]

    def all_ports(self) -> list[int]:
        """Every TCP port that Twinhull listens on at this site."""
        data = [self.ports["data"] + module.number for module in self.modules]
        return sorted({self.ports["control"], self.ports["heartbeat"], *data})

    def other(self, node: str) -> str:
        """The other node."""
        return next((name for name in self.nodes if name != node), "")


@dataclass(frozen=True)
class Host:
    """One node and what was gathered on it (`twinhull_preflight`)."""

    node: str
    platform: str
    facts: Mapping[str, Any]

    def get(self, path: str, default: Any = None) -> Any:
        """The fact at this dotted path, or the default where it was not gathered."""
        value: Any = self.facts
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return default if value is None else value


@dataclass(frozen=True)
class Limits:
    """Where a warning or an error begins; every one can be set by a variable of the role."""

    rtt_warning_ms: float = 2.0
    bandwidth_warning_bytes_per_s: float = 100e6
    clock_warning_s: float = 2.0
    clock_error_s: float = 30.0
    memory_minimum_bytes: int = 512 * MIB
    memory_reserve_bytes: int = 1 * GIB
    install_bytes: int = 300 * MIB
    agent_version: str = ""
    accept: tuple[str, ...] = field(default=())


class Collector:
    """Takes findings of one site in their order."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.findings: list[Finding] = []

    def add(
        self, level: Level, code: str, nodes: Sequence[str], sentence: str, remedy: str = "", module: str = ""
    ) -> None:
        """One more finding."""
        self.findings.append(Finding(level, code, self.site, tuple(nodes), sentence, remedy, module))

    def error(self, code: str, nodes: Sequence[str], sentence: str, remedy: str, module: str = "") -> None:
        """Something that stops the installation."""
        self.add("error", code, nodes, sentence, remedy, module)

    def warning(self, code: str, nodes: Sequence[str], sentence: str, remedy: str, module: str = "") -> None:
        """Something to know or to do."""
        self.add("warning", code, nodes, sentence, remedy, module)

    def ok(self, code: str, nodes: Sequence[str], sentence: str, module: str = "") -> None:
        """Something that is as it should be."""
        self.add("ok", code, nodes, sentence, "", module)


def parse_size_bytes(value: object) -> int:
    """Bytes of a size such as `64 GiB`. Raises ValueError with a sentence that says what is accepted."""
    text = str(value).strip()
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)", text, re.ASCII)
    if match is None:
        raise ValueError(f"'{text}' is no size: write a number and a unit, such as '100 GiB'")
    if not match.group(2):
        raise ValueError(f"'{text}' has no unit: write for example '{text} GiB'")
    unit = _UNITS_BYTES.get(match.group(2).lower())
    if unit is None:
        raise ValueError(f"'{match.group(2)}' is no unit of size: use MiB, GiB or TiB")
    size = Decimal(match.group(1)) * unit
    if size != size.to_integral_value():
        raise ValueError(f"'{text}' is no whole number of bytes")
    return int(size)


def size_text(size_bytes: float) -> str:
    """A size for people: three digits and a unit."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def listing(items: Sequence[str], limit: int = 6) -> str:
    """Items for a sentence, the rest counted."""
    shown = list(items[:limit])
    rest = len(items) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
