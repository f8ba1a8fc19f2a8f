# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The sites of a file as typed, immutable values."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Span


@dataclass(frozen=True, slots=True)
class FleetNode:
    """One node of a site.

    Args:
        host_name: its name in the inventory.
        target: what Ansible connects to.
        addresses: literal addresses by network.
        port: the text of ``ansible_port`` that holds for it, else empty.
        variables: where its own ``vars`` stand in the text.
        lines: lines of the file by what stands there (``name``, ``host``, ``host_name``, networks' names).
    """

    name: str
    host_name: str
    target: str
    addresses: Map[str, str]
    port: str
    variables: Span | None
    lines: Map[str, int]


@dataclass(frozen=True, slots=True)
class Site:
    """One site; ``cluster`` is all of cluster.yml, ``line`` where its name stands."""

    name: str
    line: int
    platform: str
    nodes: tuple[FleetNode, ...]
    cluster: Map[str, Any]
    tags: Map[str, str]
    tag_lines: Map[str, int]
    ring: str
    ring_order: int
    control_addresses: tuple[str, ...]
    isolated_networks: tuple[str, ...]
    variables: Span | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All sites of a file, in its order, and where the user's own values stand in the text."""

    sites: tuple[Site, ...] = ()
    variables: Span | None = None
    options: Map[str, Span | str] = field(default_factory=dict)

    def spans(self) -> list[Span]:
        """All pieces of the text that Ansible's own loader has to read, in the order of the file."""
        found = [self.variables, *(value for value in self.options.values() if isinstance(value, Span))]
        for site in self.sites:
            found += [site.variables, *(node.variables for node in site.nodes)]
        return sorted(span for span in found if isinstance(span, Span))
