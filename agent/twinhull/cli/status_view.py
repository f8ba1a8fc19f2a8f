"""The status of both nodes as text. Pure: the agent's answer in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .exit_codes import DONE, STATUS_ORANGE, STATUS_RED
from .text import duration_text, paint, printable, progress_text, size_text

Plain = Mapping[str, Any]
CERTIFICATE_WARNING_DAYS = 30
RUNNING_STATES = ("PRIM", "ALONE")
STANDING = ("no witness: ", "ping witness: ")
"""How warnings begin that stand as long as the cluster is configured so: shown always, no alarm of `--check`."""


def render(status: Plain, *, colour: bool, width: int = 0) -> str:
    """The whole view.

    Args:
        status: the agent's answer to `status`.
        colour: whether to use colours (the words say the same without).
        width: columns that sentences are wrapped to; 0: as long as they are.
    """
    return "\n".join(_View(colour, width).lines(status))


def verdict(status: Plain) -> int:
    """The exit code of `status --check`: the worst of what is shown."""
    nodes = list(status.get("nodes", {}).values())
    colours = {module.get("colour") for node in nodes for module in _modules(node).values()}
    if "red" in colours or not all(node.get("reachable") for node in nodes):
        return STATUS_RED
    told = [status, *nodes, *(module for node in nodes for module in _modules(node).values())]
    warned = any(not _stands(warning) for plain in told for warning in plain.get("warnings") or [])
    return STATUS_ORANGE if warned or colours - {"green"} or _differ(status) else DONE


def _modules(node: Plain) -> Mapping[str, Plain]:
    return node.get("modules") or {}


def _stands(warning: object) -> bool:
    return str(warning).startswith(STANDING)


def _differ(status: Plain) -> bool:
    digests = {
        node.get("config_digest") for node in status.get("nodes", {}).values() if node.get("config_digest")
    }
    return len(digests) > 1


def _certificate_warnings(node: Plain) -> Iterator[str]:
    """What the node did not already say itself."""
    days = (node.get("certificate") or {}).get("days_left")
    said = any("node certificate" in str(warning) for warning in node.get("warnings") or [])
    if isinstance(days, int | float) and days <= CERTIFICATE_WARNING_DAYS and not said:
        ends = f"ends in {int(days)} days" if days > 0 else "has expired"
        yield f"the certificate {ends}: renew it (twinhull pki renew)"


def _kind(warning: str) -> str:
    """What makes a warning the same: a standing one is told in other words of the cluster and of a module."""
    return next((start for start in STANDING if warning.startswith(start)), warning)


def _shorter(side: Plain) -> str:
    """What is waited for, without the reason that the sentence below tells."""
    whole = printable(str(side["waiting_for"]))
    what, _, reason = whole.partition(": ")
    return what if reason and reason.rstrip(".") in str(side.get("sentence") or "") else whole


MAX_DIFFERENCES_SHOWN = 20
MAX_CHANGES_SHOWN = 200


def difference_lines(result: object) -> list[str]:
    """The places that a comparison named, with their files; empty for every other result."""
    changes = result.get("changes") if isinstance(result, Mapping) else None
    if changes:
        return _change_lines(changes)
    ranges = result.get("ranges") if isinstance(result, Mapping) else None
    if not ranges or not isinstance(result, Mapping):
        return []
    lines = []
    for each in ranges[:MAX_DIFFERENCES_SHOWN]:
        files = [printable(str(file)) for file in each.get("files") or []]
        where = ", ".join(files) or ("files not known" if each.get("files") is None else "in no file")
        lines.append(f"  at {each['offset_bytes']}: {size_text(each['length_bytes'])} ({where})")
    more = max(0, len(ranges) - MAX_DIFFERENCES_SHOWN) + int(result.get("ranges_left_out") or 0)
    if more > 0:
        lines.append(f"  and {more} more")
    if result.get("files_note"):
        lines.append(f"  {printable(str(result['files_note']))}")
    return lines


def _change_lines(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Files that differ from a rescue."""
    lines = [f"  {'in the rescue':37}  {'now':37}  path"]
    lines += [
        f"  {_file_words(each['rescue']):37}  {_file_words(each['now']):37}  {printable(str(each['path']))}"
        for each in changes[:MAX_CHANGES_SHOWN]
    ]
    if len(changes) > MAX_CHANGES_SHOWN:
        lines.append(f"  and {len(changes) - MAX_CHANGES_SHOWN} more (--json shows all)")
    return lines


def _file_words(seen: Mapping[str, Any] | None) -> str:
    if seen is None:
        return "-"
    return seen["kind"] if seen["kind"] == "directory" else f"{size_text(seen['size_bytes'])} {seen['time']}"


class _View:
    def __init__(self, colour: bool, width: int) -> None:
        self._colour = colour
        self._width = width
        self._told: set[str] = set()

    def _paint(self, text: str, colour: str) -> str:
        return paint(text, colour, self._colour)

    def lines(self, status: Plain) -> Iterator[str]:
        nodes: Mapping[str, Plain] = status.get("nodes", {})
        seen = f"seen from node {status.get('node', '?')} at {status.get('time', '?')}"
        yield f"{self._paint('cluster ' + str(status.get('cluster', '?')), 'bold')}, {seen}"
        width = max((len(name) for name in nodes), default=1)
        for name, node in nodes.items():
            yield self._node(name.ljust(width), node)
        for warning in self._warnings(status):
            self._told.add(_kind(warning))
            yield from self._wrapped("  ", f"warning: {warning}", "orange")
        for module in dict.fromkeys(module for node in nodes.values() for module in _modules(node)):
            yield ""
            yield from self._module(module, nodes, width)

    def _node(self, name: str, node: Plain) -> str:
        if not node.get("reachable"):
            state = self._paint("not reachable", "red")
        else:
            state = f"agent {node.get('version', '?')}"
        networks = [self._network(*item) for item in (node.get("networks") or {}).items()]
        parts = [state, *networks]
        certificate = node.get("certificate") or {}
        days = certificate.get("days_left")
        if isinstance(days, int | float):
            text = f"certificate {int(days)} days" if days > 0 else "certificate EXPIRED"
            soon = "red" if days <= 0 else "orange" if days <= CERTIFICATE_WARNING_DAYS else ""
            parts.append(self._paint(text, soon))
        return f"  node {self._paint(name, 'bold')}  " + ", ".join(parts)

    def _network(self, name: str, network: Plain) -> str:
        if network.get("up"):
            return f"{name} up"
        heard = network.get("last_heard_s")
        since = f" (last heard {duration_text(heard)} ago)" if isinstance(heard, int | float) else ""
        return self._paint(f"{name} DOWN{since}", "red")

    def _warnings(self, status: Plain) -> Iterator[str]:
        nodes: Mapping[str, Plain] = status.get("nodes", {})
        told = [printable(str(warning)) for warning in status.get("warnings") or []]
        if _differ(status) and not told:
            told.append(
                "the two nodes' configurations differ: apply the same file on both (twinhull config apply FILE)"
            )
        yield from told
        by_warning: dict[str, list[str]] = {}
        shown = {
            f"the network {name} is down" for node in nodes.values() for name in node.get("networks") or {}
        }
        for name, node in nodes.items():
            for warning in (*(node.get("warnings") or []), *_certificate_warnings(node)):
                if warning in shown:
                    continue  # the node's line says it
                by_warning.setdefault(printable(str(warning)), []).append(name)
        for warning, names in by_warning.items():
            everywhere = len(names) == len(nodes) or _stands(warning)
            yield warning if everywhere else f"node {', '.join(names)}: {warning}"

    def _module(self, name: str, nodes: Mapping[str, Plain], width: int) -> Iterator[str]:
        sides = {node: _modules(plain)[name] for node, plain in nodes.items() if name in _modules(plain)}
        first = next(iter(sides.values()))
        facts = [str(first.get("folder", ""))]
        if first.get("size_bytes"):
            facts.append(size_text(first["size_bytes"]))
        if first.get("preferred"):
            facts.append(f"preferred node {first['preferred']}")
        yield f"module {self._paint(name, 'bold')}  " + ", ".join(fact for fact in facts if fact)
        for node, plain in nodes.items():
            if node in sides:
                yield from self._side(
                    node.ljust(width), {**sides[node], "agent_version": plain.get("version")}
                )
            elif not plain.get("reachable"):
                yield f"  {node.ljust(width)}  {self._paint('unknown: the node is not reachable', 'red')}"
            else:
                yield f"  {node.ljust(width)}  {self._paint('not configured on this node', 'red')}"

    def _side(self, node: str, side: Plain) -> Iterator[str]:
        colour = str(side.get("colour", ""))
        state = self._paint(f"{side.get('state', '?'):6} {colour:6}", colour)
        data = "uptodate    " if side.get("uptodate") else self._paint("NOT uptodate", "orange")
        extras = [f"resource {side.get('resource') or '-'}"]
        if side.get("holding"):
            extras.append(self._paint("holding I/O", "orange"))
        if side.get("waiting_for"):
            extras.append(f"waiting for {_shorter(side)}")
        version, agent_version = side.get("worker_version"), side.get("agent_version")
        if version and agent_version and version != agent_version:
            extras.append(self._paint(f"worker of version {version}", "orange"))
        worker = side.get("worker") or {}
        if worker and not worker.get("alive"):
            extras.append(self._paint("worker process DEAD", "red"))
        yield f"  {node}  {state}  {data}  {', '.join(extras)}"
        indent = " " * (len(node) + 4)
        for line, paint_as in (
            *self._facts(side),
            *self._disk(side),
            *self._verify(side),
            *self._health(side),
        ):
            yield from self._wrapped(indent, line, paint_as)

    def _wrapped(self, indent: str, text: str, colour: str) -> Iterator[str]:
        """A sentence below the line that it belongs to, its further lines indented more."""
        lines = [indent + text]
        if self._width > len(indent) + 20:
            lines = textwrap.wrap(text, self._width, initial_indent=indent, subsequent_indent=indent + "  ")
        for line in lines:
            yield self._paint(line, colour) if "\x1b" not in line else line

    def _facts(self, side: Plain) -> Iterator[tuple[str, str]]:
        if side.get("sentence"):
            yield printable(str(side["sentence"])), ""
        sync = side.get("sync")
        if sync:
            losing = bool(sync.get("losing_ground"))
            left, total, rate = (sync.get(key) or 0 for key in ("left_bytes", "total_bytes", "rate_bytes_s"))
            text = progress_text(left, total, rate, None if losing else sync.get("eta_s"))
            ground = ", losing ground: the VM writes faster than this copies" if losing else ""
            yield f"resync: {text}{ground}", "orange"
        gap = side.get("unprotected")
        if gap:
            since, amount = duration_text(gap.get("since_s") or 0), size_text(gap.get("bytes") or 0)
            yield f"UNPROTECTED for {since}: {amount} are on this node only", "orange"

    def _verify(self, side: Plain) -> Iterator[tuple[str, str]]:
        verify = side.get("verify") or {}
        running, last = verify.get("running"), verify.get("last")
        if running and running.get("total_bytes"):
            left = running["total_bytes"] - (running.get("done_bytes") or 0)
            rate = running.get("rate_bytes_s") or 0
            text = progress_text(left, running["total_bytes"], rate, running.get("eta_s"))
            differing = running.get("differing_bytes") or 0
            found = f", {size_text(differing)} differ" if differing else ""
            yield f"verify: {text}{found}", "orange" if differing else ""
        elif last and last.get("message"):
            ended = str(last.get("ended") or "").partition("+")[0].replace("T", " ")
            yield f"verified {printable(ended)}: {printable(str(last['message']))}", ""

    def _disk(self, side: Plain) -> Iterator[tuple[str, str]]:
        if side.get("allocated_bytes") is None:
            return
        text, colour = f"disk: the volume takes {size_text(side['allocated_bytes'])}", ""
        if side.get("disk_total_bytes"):
            free, total = side.get("disk_free_bytes") or 0, side["disk_total_bytes"]
            used = 100 * (1 - free / total)
            text += f"; {size_text(free)} free of {size_text(total)}"
            colour = "red" if used >= 95 else "orange" if used >= 85 else ""
        yield text, colour

    def _health(self, side: Plain) -> Iterator[tuple[str, str]]:
        checkers = side.get("checkers") or {}
        looked_at = {
            name: checker
            for name, checker in (checkers.get("items") or {}).items()
            if checker.get("ok") is not None or side.get("state") in RUNNING_STATES
        }
        items = [self._checker(*item) for item in looked_at.items()]
        if checkers.get("suspended"):
            items.append(self._paint("SUSPENDED", "orange"))
        if items:
            yield "checkers: " + ", ".join(items), ""
        if side.get("restarts"):
            yield (
                f"restarts in the last 24 h: {side['restarts']} (the fourth stops it here and fails over)",
                "",
            )
        for warning in self._new_warnings(side):
            yield f"warning: {warning}", "orange"

    def _new_warnings(self, side: Plain) -> Iterator[str]:
        """What neither the sentence nor a warning of the whole cluster says already."""
        sentence = printable(str(side.get("sentence") or ""))
        for warning in side.get("warnings") or []:
            text = printable(str(warning))
            if text.rstrip(".") not in sentence and _kind(text) not in self._told:
                yield text

    def _checker(self, name: str, checker: Plain) -> str:
        if checker.get("ok") is None:
            return f"{name} waits for its first success"
        if checker["ok"]:
            return f"{name} ok"
        return self._paint(f"{name} FAILING: {printable(str(checker.get('detail', '')))}", "red")
