# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What an upgrade does, in which order. Pure: plain data in, plain data out.

`answer` is always what the module `twinhull.ha.module_info` returned of either node of a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packaging.version import InvalidVersion, Version

RUNS = ("PRIM", "ALONE")
Plain = Mapping[str, Any]


def superfluous_versions(installed: Iterable[str], keep: int, used: Iterable[str]) -> list[str]:
    """Which installed versions are to be removed.

    Args:
        installed: names of the directories of versions; what is no version is left alone.
        keep: how many stay, those in use included: the newest.
        used: what must stay: the current version, and what processes still run from.
    """
    staying = set(used)
    others = sorted(
        (version for name in installed if (version := _version(name)) and name not in staying), reverse=True
    )
    names = {_version(name): name for name in installed}
    return [names[version] for version in others[max(keep - len(staying), 0) :]]


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def _side(answer: Plain, module: str, node: str) -> Plain:
    side = answer["modules"][module]["nodes"].get(node)
    return side if isinstance(side, Mapping) else {}


def modules_of(answer: Plain, node: str, states: Sequence[str]) -> list[str]:
    """The modules that are in one of some states on a node, by name."""
    return sorted(name for name in answer["modules"] if _side(answer, name, node).get("state") in states)


def upgrade_order(answer: Plain) -> list[str]:
    """The two nodes in the order of their upgrade: first the one that runs fewer modules, else by name."""
    return sorted(answer["nodes"], key=lambda node: (len(modules_of(answer, node, RUNS)), node))


def upgrade_plan(answer: Plain, node: str, version: str) -> dict[str, Any]:
    """What is left to do on a node to have all of it run a version.

    Args:
        answer: the status of the site.
        node: the node.
        version: of the agent and every worker afterwards.

    Returns:
        `needed` (bool), `restart` (whether its agent is another one), `leaving` (modules that it runs and that must run on
        the other node meanwhile), `renewing` (modules that it mirrors with a worker of another version; those that leave
        will be among them afterwards), `version` (of its agent now).
    """
    now = str(answer["nodes"][node].get("version", ""))
    restart = now != version
    old = [
        name
        for name in sorted(answer["modules"])
        if _side(answer, name, node).get("worker_version") != version
    ]
    running = modules_of(answer, node, RUNS)
    leaving = running if restart else [name for name in running if name in old]
    renewing = [name for name in modules_of(answer, node, ("SECOND",)) if name in old]
    return {
        "needed": restart or bool(leaving) or bool(renewing),
        "restart": restart,
        "leaving": leaving,
        "renewing": renewing,
        "version": now,
    }


def left_stopped(answer: Plain, node: str) -> list[str]:
    """The modules that are stopped on a node while the other one runs them: what an interrupted upgrade leaves."""
    others = [name for name in answer["nodes"] if name != node]
    return [
        module
        for module in modules_of(answer, node, ("STOP",))
        if any(_side(answer, module, other).get("state") in RUNS for other in others)
    ]


def upgrade_batches(hosts: Iterable[Plain], sites_at_once: int) -> dict[str, int]:
    """Which sites are upgraded together: ring by ring, at most some at once, in the order of the hosts.

    Args:
        hosts: each with `host`, `site` and `ring_order` (an int).
        sites_at_once: how many sites a batch has at most.

    Returns:
        The number of its batch, counted from 0, by host.
    """
    hosts = list(hosts)
    rings: dict[int, list[str]] = {}
    for host in hosts:
        ring = rings.setdefault(int(host["ring_order"]), [])
        if host["site"] not in ring:
            ring.append(str(host["site"]))
    batch_of: dict[str, int] = {}
    batch = 0
    for _order, sites in sorted(rings.items()):
        for start in range(0, len(sites), max(sites_at_once, 1)):
            batch_of.update(dict.fromkeys(sites[start : start + max(sites_at_once, 1)], batch))
            batch += 1
    return {str(host["host"]): batch_of[str(host["site"])] for host in hosts}
