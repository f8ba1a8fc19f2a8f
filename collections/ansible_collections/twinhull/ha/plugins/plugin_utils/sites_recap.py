# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a run did to each site: from what was seen of the hosts to outcomes, lines and JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_plan import natural, site_group

RUN = "run"
LEFT_OUT, DONE, UNCHANGED = "left out", "done", "unchanged"
NOT_BEGUN = "not begun"
ORDER = (LEFT_OUT, DONE, UNCHANGED)
FORMAT = 1
_MAX_LINES, _MAX_CHARACTERS = 12, 1200
_MAX_LIMIT = 10
_PREFIX = re.compile(r"^(?:(?:Task|Action|Module) failed: )+")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a site was left out.

    Args:
        host: name in the inventory; empty when it is nobody's in particular.
        node: name in the cluster.
        task: the task's name; empty when there was none.
        kind: ``failed``, ``unreachable``, ``stopped`` (by a failure elsewhere), ``not begun``, or ``run`` (a task that is
            done once for all sites failed: that is no site's own).
        sentence: what was said.
        follows: it only follows from the trouble of another host of the same site.
    """

    host: str
    node: str
    task: str
    kind: str
    sentence: str
    follows: bool = False


@dataclass(frozen=True, slots=True)
class HostRecap:
    """What was seen of one host; ``troubles`` in the order of time, those that were rescued too."""

    host: str
    site: str
    node: str
    processed: bool = False
    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    troubles: tuple[tuple[int, Trouble], ...] = ()
    stopped: Trouble | None = None

    @property
    def failed(self) -> bool:
        """Whether the run gave the host up because of itself."""
        return bool(self.failures or self.unreachable)


@dataclass(frozen=True, slots=True)
class SiteRecap:
    """What happened to one site; ``troubles`` only when it was left out, the cause first."""

    site: str
    outcome: str
    changed: int
    hosts: tuple[HostRecap, ...]
    troubles: tuple[Trouble, ...] = ()


def recap_sites(hosts: Iterable[HostRecap]) -> list[SiteRecap]:
    """One outcome for each site: those left out first, then by name."""
    by_site: dict[str, list[HostRecap]] = {}
    for host in hosts:
        by_site.setdefault(host.site, []).append(host)
    anybody_failed = any(host.failed for members in by_site.values() for host in members)
    recaps = [_recap_site(site, members, anybody_failed) for site, members in by_site.items()]
    return sorted(recaps, key=lambda recap: (ORDER.index(recap.outcome), natural(recap.site)))


def _recap_site(site: str, hosts: list[HostRecap], anybody_failed: bool) -> SiteRecap:
    changed = sum(host.changed for host in hosts)
    members = tuple(sorted(hosts, key=lambda host: natural(host.host)))
    troubles = _troubles(members)
    if not troubles and anybody_failed and not any(host.processed for host in members):
        sentence = "the run ended before it came to this site; nothing was changed there"
        troubles = (Trouble("", "", "", NOT_BEGUN, sentence),)
    outcome = LEFT_OUT if troubles else DONE if changed else UNCHANGED
    return SiteRecap(site, outcome, changed, members, troubles)


def _troubles(hosts: tuple[HostRecap, ...]) -> tuple[Trouble, ...]:
    """The last trouble of each host that failed (earlier ones were rescued), in the order of time, each sentence once."""
    found = [host.troubles[-1] for host in hosts if host.failed and host.troubles]
    last = sorted((item for item in found if item[1].kind != RUN), key=lambda item: item[0])
    causes = [trouble for _time, trouble in last if not trouble.follows] or [
        trouble for _time, trouble in last[:1]
    ]
    if not causes:
        causes = [_unexplained(host) for host in hosts if host.failed and not host.troubles]
    if not causes:
        causes = [host.stopped for host in hosts if host.stopped is not None]
    first: dict[str, Trouble] = {}
    for trouble in causes:
        first.setdefault(trouble.sentence, trouble)
    return tuple(first.values())


def run_troubles(hosts: Iterable[HostRecap]) -> list[Trouble]:
    """What ended the run for all sites together, without being any site's own."""
    last = [host.troubles[-1][1] for host in hosts if host.failed and host.troubles]
    return [trouble for trouble in last if trouble.kind == RUN]


def _unexplained(host: HostRecap) -> Trouble:
    kind = "unreachable" if host.unreachable else "failed"
    return Trouble(host.host, host.node, "", kind, "it failed without a message: run again with -vvv")


def sentence_of(result: Map[str, Any]) -> str:
    """What the result of a task says went wrong, for people."""
    items = [item for item in _list(result.get("results")) if item.get("failed") or item.get("unreachable")]
    said = [sentence_of(item) for item in items]
    if said:
        return "\n".join(dict.fromkeys(said))
    for key in ("msg", "stderr", "module_stderr", "stdout", "module_stdout", "exception", "reason"):
        text = result.get(key)
        if isinstance(text, str) and text.strip():
            return _PREFIX.sub("", text.strip(), count=1)
        if isinstance(text, list) and text:
            return "\n".join(str(line) for line in text)
    if "rc" in result:
        return f"the command ended with {result['rc']} and said nothing"
    return "it failed without a message: run again with -vvv"


def _list(value: Any) -> list[Map[str, Any]]:
    return [item for item in value if isinstance(item, Map)] if isinstance(value, list) else []


def recap_lines(
    recaps: list[SiteRecap], *, check: bool, run: Iterable[Trouble] = ()
) -> list[tuple[str, str]]:
    """Lines for the screen, each with its outcome (empty for the last ones).

    Args:
        recaps: in their order.
        check: it was a check run, so nothing was really changed.
        run: what ended the run for all sites together.
    """
    width = max((len(recap.site) for recap in recaps), default=0)
    lines: list[tuple[str, str]] = []
    for recap in recaps:
        head = f"{recap.outcome:9}  {recap.site:{width}}"
        for text in _site_lines(recap, check):
            lines.append((recap.outcome, f"{head}  {text}".rstrip()))
            head = " " * len(head)
    left_out = [recap.site for recap in recaps if recap.outcome == LEFT_OUT]
    for trouble in run:
        text = f"The run ended for all sites in task '{trouble.task}': {_cut(trouble.sentence)}"
        lines += [(LEFT_OUT, line) for line in ("", *text.splitlines())]
    return lines + [("", line) for line in _summary(left_out, len(recaps))]


def _site_lines(recap: SiteRecap, check: bool) -> list[str]:
    if recap.outcome == UNCHANGED:
        return [""]
    if recap.outcome == DONE:
        count = "1 change" if recap.changed == 1 else f"{recap.changed} changes"
        return [f"{count} to be made" if check else count]
    lines: list[str] = []
    for trouble in recap.troubles:
        first, *rest = _cut(trouble.sentence).splitlines() or [""]
        lines.append(f"{_where(trouble)}{first}")
        lines += [f"  {line}" for line in rest]
    return lines


def _where(trouble: Trouble) -> str:
    if not trouble.host:
        return ""
    if trouble.kind == "unreachable":
        return f"{trouble.host} (node {trouble.node}) cannot be reached: "
    task = f", task '{trouble.task}'" if trouble.task else ""
    return f"{trouble.host} (node {trouble.node}){task}: "


def _cut(sentence: str) -> str:
    lines = sentence[:_MAX_CHARACTERS].splitlines()
    cut = len(lines) > _MAX_LINES or len(sentence) > _MAX_CHARACTERS
    return "\n".join(lines[:_MAX_LINES] + (["... (the rest stands above)"] if cut else []))


def _summary(left_out: list[str], count: int) -> list[str]:
    if not left_out:
        return []
    sites = "1 site" if count == 1 else f"{count} sites"
    were = "was" if len(left_out) == 1 else "were"
    told = f"{len(left_out)} of {sites} {were} left out, the reason stands beside each."
    if len(left_out) > _MAX_LIMIT:
        return ["", told]
    limit = ",".join(site_group(site) for site in left_out)
    return ["", f"{told} When it is repaired, run the same again with: --limit {limit}"]


def recap_json(
    recaps: list[SiteRecap], playbook: str, *, check: bool, ended: str, run: Iterable[Trouble] = ()
) -> dict[str, Any]:
    """The same for programs; ``ended`` is when, UTC."""
    return {
        "format": FORMAT,
        "playbook": playbook,
        "check": check,
        "ended": ended,
        "troubles": [_trouble_json(trouble) for trouble in run],
        "sites": [_site_json(recap) for recap in recaps],
    }


def _trouble_json(trouble: Trouble) -> dict[str, str]:
    return {
        "host": trouble.host,
        "node": trouble.node,
        "task": trouble.task,
        "kind": trouble.kind,
        "sentence": trouble.sentence,
    }


def _site_json(recap: SiteRecap) -> dict[str, Any]:
    return {
        "site": recap.site,
        "outcome": recap.outcome,
        "changed": recap.changed,
        "hosts": [
            {
                "host": host.host,
                "node": host.node,
                "ok": host.ok,
                "changed": host.changed,
                "failures": host.failures,
                "unreachable": host.unreachable,
            }
            for host in recap.hosts
        ],
        "troubles": [_trouble_json(trouble) for trouble in recap.troubles],
    }
