# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
# ruff: noqa: E402 - imports stand below the documentation, as ansible-test wants it
"""Callback plugin: at the end of a run, what happened to each site."""

from __future__ import annotations

DOCUMENTATION = r"""
name: recap
type: aggregate
short_description: Tells for each site whether the run was done, changed nothing or was left out, and why
version_added: 0.1.0
author: Twinhull contributors (@twinhull)
description:
  - After Ansible's own recap, prints one line for each site of the run. Sites that were left out come first, each with
    the node, the task and the sentence that was said there.
  - A site is left out when one of its hosts failed or could not be reached, when a failure elsewhere stopped the run in
    the middle of it, or when the run ended before it came to the site.
  - A task that is done once for all sites (C(run_once)) and fails is no site's own failure; it is told by itself.
  - Says nothing in runs without hosts of Twinhull (hosts without the variable C(twinhull_site)).
requirements:
  - To be enabled by C(callbacks_enabled = twinhull.ha.recap) in ansible.cfg.
options:
  output_dir:
    description:
      - When it is set, the recap is also written there as JSON, to C(recap-PLAYBOOK-TIME.json). The directory is made.
    type: path
    env:
      - name: TWINHULL_OUTPUT_DIR
    ini:
      - section: callback_twinhull_recap
        key: output_dir
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.callback import CallbackBase

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_recap import (
    DONE,
    LEFT_OUT,
    RUN,
    UNCHANGED,
    HostRecap,
    SiteRecap,
    Trouble,
    recap_json,
    recap_lines,
    recap_sites,
    run_troubles,
    sentence_of,
)

GUARD = "guard_site.yml"
"""Where one node of a site is stopped because the other one failed."""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Collects what went wrong on which host, and tells it by site at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "twinhull.ha.recap"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None) -> None:
        super().__init__(display=display)
        self._playbook = "playbook"
        self._places: dict[str, tuple[str, str]] = {}
        self._looked_at: set[str] = set()
        self._batch: tuple[str, ...] = ()
        self._troubles: dict[str, list[tuple[int, Trouble]]] = {}
        self._stopped: dict[str, list[Trouble]] = {}
        self._time = 0

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Remembers the playbook's name."""
        self._playbook = Path(playbook._file_name).stem

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remembers all sites of the play, those of later batches too."""
        inventory = play.get_variable_manager()._inventory
        self._batch = tuple(host.name for host in inventory.get_hosts(play.hosts))
        for host in inventory.get_hosts(play.hosts, ignore_restrictions=True):
            self._look_at(host)

    def _look_at(self, host: Any) -> None:
        if host.name in self._looked_at:
            return
        self._looked_at.add(host.name)
        variables = (
            host.vars if "twinhull_site" in host.vars else get_group_vars(host.get_groups()) | host.vars
        )
        if "twinhull_site" in variables:
            self._places[host.name] = (
                str(variables["twinhull_site"]),
                str(variables.get("twinhull_node", "")),
            )

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remembers a failure; at the end it counts unless it was rescued."""
        if not ignore_errors:
            self._remember(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Remembers a host that cannot be reached."""
        self._remember(result, "unreachable")

    def _remember(self, result: Any, kind: str) -> None:
        host, task, said = _parts(result)
        if host.name not in self._places:
            return
        follows = GUARD in str(task.get_path() or "")
        node = self._places[host.name][1]
        kind = RUN if task.run_once else kind
        trouble = Trouble(host.name, node, task.get_name(), kind, sentence_of(said), follows)
        self._time += 1
        self._troubles.setdefault(host.name, []).append((self._time, trouble))
        if task.any_errors_fatal and not task.run_once:
            for other in self._batch:
                if other != host.name:
                    self._stopped.setdefault(other, []).append(_stop_of(trouble, self._places[host.name][0]))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Prints the recap, and writes it when a directory is set."""
        hosts = list(self._hosts(stats))
        recaps, run = recap_sites(hosts), run_troubles(hosts)
        if not recaps:
            return
        check = bool(context.CLIARGS.get("check"))
        self._display.banner("SITES")
        colours = {
            LEFT_OUT: constants.COLOR_ERROR,
            DONE: constants.COLOR_CHANGED,
            UNCHANGED: constants.COLOR_OK,
        }
        for outcome, line in recap_lines(recaps, check=check, run=run):
            self._display.display(line, color=colours.get(outcome))
        self._display.display("")
        self._write(recaps, run, check)

    def _hosts(self, stats: Any) -> Iterable[HostRecap]:
        failed = {host for host in self._places if _has_failed(stats.summarize(host))}
        for host, (site, node) in self._places.items():
            summary = stats.summarize(host)
            stops = [trouble for trouble in self._stopped.get(host, []) if trouble.host in failed]
            yield HostRecap(
                host=host,
                site=site,
                node=node,
                processed=host in stats.processed,
                ok=summary["ok"],
                changed=summary["changed"],
                failures=summary["failures"],
                unreachable=summary["unreachable"],
                troubles=tuple(self._troubles.get(host, ())),
                stopped=stops[-1] if stops else None,
            )

    def _write(self, recaps: list[SiteRecap], run: list[Trouble], check: bool) -> None:
        directory = self.get_option("output_dir")
        if not directory:
            return
        now = datetime.now(UTC)
        path = Path(directory, f"recap-{self._playbook}-{now:%Y%m%dT%H%M%S}Z.json")
        ended = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        content = recap_json(recaps, self._playbook, check=check, ended=ended, run=run)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            self._display.error(
                f"The recap was not written to {path}: {error.strerror}. Set another output_dir."
            )
        else:
            self._display.display(f"The recap was written to {path}")


def _parts(result: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Host, task and result (ansible-core 2.19 has public names for them; earlier ones do not)."""
    if hasattr(result, "host"):
        return result.host, result.task, dict(result.result)
    return result._host, result._task, dict(result._result)


def _stop_of(trouble: Trouble, site: str) -> Trouble:
    sentence = f"the run was stopped by the failure of site {site}: {trouble.sentence}"
    return Trouble(trouble.host, trouble.node, trouble.task, "stopped", sentence)


def _has_failed(summary: dict[str, int]) -> bool:
    return bool(summary["failures"] or summary["unreachable"])
