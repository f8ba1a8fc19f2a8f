# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the answers of many nodes to `twinhull status --json` mean together. Pure: plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Plain = Mapping[str, Any]

RUNNING_STATES = ("PRIM", "ALONE")
WORST_FIRST = ("red", "orange", "green")
STANDING_WARNINGS = ("no witness: ", "ping witness: ")
"""Warnings that stand as long as the cluster is configured so: the agent's own `status --check` counts them neither."""

WORDS_BEFORE_A_REASON = ("Task failed: ", "Failed to connect to the host via ssh: ")
UNKNOWN = "-"
COLUMNS = ("site", "ring", "module", "runs on", "mirror", "colour", "says")


class Answer(NamedTuple):
    """What one host of the inventory said, or why it said nothing."""

    site: str
    ring: str
    host: str
    node: str
    status: Plain | None
    error: str


class Row(NamedTuple):
    """One module of one site, or a site of which nothing is known (then `module` is `-`)."""

    site: str
    ring: str
    module: str
    runs_on: str
    mirror: str
    colour: str
    says: str


def modules_run_by(status: Plain, node: str) -> list[str]:
    """The modules that this node runs (PRIM or ALONE), by name.

    Args:
        status: the answer of either node to `twinhull status --json`.
        node: the node's name in the cluster.
    """
    sides = _node(status, node).get("modules") or {}
    return sorted(name for name, side in sides.items() if side.get("state") in RUNNING_STATES)


def nodes_that_run(status: Plain, module: str) -> list[str]:
    """The nodes on which a module is PRIM or ALONE, by name: one, none, or both after a split.

    Args:
        status: the answer of either node to `twinhull status --json`.
        module: the module's name.
    """
    return [name for name, _ in _nodes(status) if module in modules_run_by(status, name)]


def not_ready(status: Plain, stopped_is_ready: bool = False) -> list[str]:
    """Why the modules of a site may not be moved now, a sentence each.

    Empty when every module is PRIM and SECOND, green and uptodate.

    Args:
        status: the answer of either node to `twinhull status --json`.
        stopped_is_ready: whether a module that a person stopped on both nodes is no obstacle.
    """
    said = [f"node {name} cannot be reached" for name, node in _nodes(status) if not node.get("reachable")]
    if said:
        return said
    for module in _module_names(status):
        sides = [(name, (node.get("modules") or {}).get(module) or {}) for name, node in _nodes(status)]
        if stopped_is_ready and all(side.get("state") == "STOP" for _, side in sides):
            continue
        if sorted(str(side.get("state")) for _, side in sides) != ["PRIM", "SECOND"]:
            said.append(f"module {module} is not mirrored: {_states(sides)}")
        else:
            said.extend(_side_troubles(module, sides))
    return said


def _side_troubles(module: str, sides: Sequence[tuple[str, Plain]]) -> Iterator[str]:
    for name, side in sides:
        if side.get("colour") != "green" or not side.get("uptodate"):
            colour = side.get("colour", "of unknown colour")
            yield f"module {module} is {colour} on {name}: {side.get('sentence', '')}".rstrip(": ")


def _states(sides: Sequence[tuple[str, Plain]]) -> str:
    return ", ".join(f"{name} is {side.get('state', 'unknown')}" for name, side in sides)


def report(answers: Iterable[Answer]) -> dict[str, Any]:
    """The state of a fleet.

    Args:
        answers: one of each host that was asked; both nodes of a site are asked because each sees it from its own side.

    Returns:
        `rows` (a list of the fields of Row), `sites`, `modules` and `colours` (counts), `worst` (red, orange or green)
        and `unreachable` (a list of site, host and error).
    """
    by_site: dict[str, list[Answer]] = {}
    for answer in answers:
        by_site.setdefault(answer.site, []).append(answer)
    rows = [row for site in sorted(by_site) for row in _site_rows(by_site[site])]
    colours = {colour: sum(row.colour == colour for row in rows) for colour in WORST_FIRST}
    return {
        "rows": [row._asdict() for row in rows],
        "sites": len(by_site),
        "modules": sum(row.module != UNKNOWN for row in rows),
        "colours": colours,
        "worst": next((colour for colour in WORST_FIRST if colours[colour]), "green"),
        "unreachable": [
            {"site": answer.site, "host": answer.host, "error": answer.error}
            for site in sorted(by_site)
            for answer in by_site[site]
            if answer.status is None
        ],
    }


def _site_rows(answers: Sequence[Answer]) -> Iterator[Row]:
    silent = [answer for answer in answers if answer.status is None]
    speaking = [answer for answer in answers if answer.status is not None]
    first = answers[0]
    if not speaking:
        yield Row(first.site, first.ring, UNKNOWN, UNKNOWN, UNKNOWN, "red", _silence(silent))
        return
    names = sorted({name for answer in speaking for name in _module_names(answer.status or {})})
    if not names or silent:
        colour, says = _site_colour(speaking, silent)
        yield Row(first.site, first.ring, UNKNOWN, UNKNOWN, UNKNOWN, colour, says)
    for name in names:
        yield _module_row(first, name, speaking)


def _silence(silent: Sequence[Answer]) -> str:
    """Who gave no answer, and the tool's own reason without the words that Ansible puts before it."""
    told = []
    for answer in silent:
        reason = answer.error
        for words in WORDS_BEFORE_A_REASON:
            reason = reason.removeprefix(words)
        told.append(f"{answer.host} gives no answer: {reason}")
    return "; ".join(told)


def _site_colour(speaking: Sequence[Answer], silent: Sequence[Answer]) -> tuple[str, str]:
    if silent:
        return "red", _silence(silent)
    nodes = [node for answer in speaking for _, node in _nodes(answer.status or {})]
    if not all(node.get("reachable") for node in nodes):
        return "red", "the nodes do not reach each other; no module is configured"
    return "green", "no module is configured yet"


def _module_row(first: Answer, module: str, speaking: Sequence[Answer]) -> Row:
    """A module as its own two nodes tell it; what only the other one tells of a node counts where that node is silent."""
    sides = _sides(module, speaking)
    running = [node for node, side in sides.items() if side.get("state") in RUNNING_STATES]
    mirrors = [node for node, side in sides.items() if side.get("state") == "SECOND"]
    colours = [str(side.get("colour", "red")) for side in sides.values()]
    unseen = sorted(_unseen(speaking))
    if len(running) > 1 or unseen:
        colours.append("red")
    warned = [text for text in _warnings(module, speaking) if not text.startswith(STANDING_WARNINGS)]
    if warned:
        colours.append("orange")
    says = [str(side.get("sentence", "")) for side in sides.values() if side.get("colour") != "green"]
    says += [f"node {name} is not reachable" for name in unseen] + warned
    return Row(
        first.site,
        first.ring,
        module,
        " and ".join(running) or UNKNOWN,
        " and ".join(mirrors) or UNKNOWN,
        next((colour for colour in WORST_FIRST if colour in colours), "red"),
        " ".join(dict.fromkeys(text for text in says if text)) or "mirrored and ready to take over",
    )


def _sides(module: str, speaking: Sequence[Answer]) -> dict[str, Plain]:
    sides: dict[str, Plain] = {}
    for answer in speaking:
        for name, node in _nodes(answer.status or {}):
            side = (node.get("modules") or {}).get(module)
            if side is not None and (name not in sides or name == answer.node):
                sides[name] = side
    return dict(sorted(sides.items()))


def _unseen(speaking: Sequence[Answer]) -> set[str]:
    return {
        name for answer in speaking for name, node in _nodes(answer.status or {}) if not node.get("reachable")
    }


def _warnings(module: str, speaking: Sequence[Answer]) -> Iterator[str]:
    for answer in speaking:
        status = answer.status or {}
        yield from (str(text) for text in status.get("warnings") or [])
        for _, node in _nodes(status):
            if node.get("reachable"):
                yield from (str(text) for text in node.get("warnings") or [])
            side = (node.get("modules") or {}).get(module) or {}
            yield from (str(text) for text in side.get("warnings") or [])


def table(told: Plain, width_columns: int = 160) -> str:
    """The report as a table for people, the worst first, with a summary line.

    Args:
        told: what `report` gave.
        width_columns: how wide a line may be; the last column is cut to it.
    """
    order = {colour: place for place, colour in enumerate(WORST_FIRST)}
    rows = [Row(**row) for row in told["rows"]]
    rows.sort(key=lambda row: (order[row.colour], row.site, row.module))
    lines = [COLUMNS, *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS) - 1)]
    room = max(20, width_columns - sum(widths) - 2 * len(widths))
    text = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), _cut(line[-1], room)]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, summary(told)])


def summary(told: Plain) -> str:
    """One sentence about the whole fleet."""
    colours = told["colours"]
    silent = len(told["unreachable"])
    words = f"{told['sites']} sites, {told['modules']} modules: " + ", ".join(
        f"{colours[colour]} {colour}" for colour in reversed(WORST_FIRST)
    )
    return f"{words}; {silent} hosts gave no answer" if silent else words


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def _nodes(status: Plain) -> list[tuple[str, Plain]]:
    return sorted((status.get("nodes") or {}).items())


def _node(status: Plain, name: str) -> Plain:
    return (status.get("nodes") or {}).get(name) or {}


def _module_names(status: Plain) -> list[str]:
    return sorted({name for _, node in _nodes(status) for name in node.get("modules") or {}})
