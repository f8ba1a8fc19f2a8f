# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The callback collects what Ansible tells it and prints the recap, whatever kind of inventory there is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.executor.stats import AggregateStats
from ansible.inventory.group import Group
from ansible.inventory.host import Host

from ansible_collections.twinhull.ha.plugins.callback.recap import CallbackModule


@dataclass
class Screen:
    """A display that keeps what is shown; it implements what the callback uses."""

    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    verbosity: int = 0

    def banner(self, text: str) -> None:
        self.lines.append(text)

    def display(self, text: str, color: str | None = None) -> None:
        self.lines.append(text)

    def error(self, text: str) -> None:
        self.errors.append(text)


@dataclass
class Inventory:
    """The hosts of a play, and those of the present batch."""

    hosts: list[Host]
    batch: list[Host]

    def get_hosts(self, _pattern: object, ignore_restrictions: bool = False) -> list[Host]:
        return self.hosts if ignore_restrictions else self.batch


@dataclass
class Play:
    """A play as the callback looks at it."""

    inventory: Inventory
    hosts: str = "twinhull"

    def get_variable_manager(self) -> Any:
        return type("Manager", (), {"_inventory": self.inventory})()


@dataclass
class Task:
    """A task as the callback looks at it."""

    name: str = "Start the agent"
    path: str = "/play.yml:3"
    run_once: bool = False
    any_errors_fatal: bool = False

    def get_name(self) -> str:
        return self.name

    def get_path(self) -> str:
        return self.path


@dataclass
class Result:
    """A result with the names of ansible-core before 2.19."""

    _host: Host
    _task: Task
    _result: dict[str, Any]


@dataclass
class Run:
    """One run with its callback."""

    callback: CallbackModule
    screen: Screen
    hosts: dict[str, Host]
    stats: AggregateStats = field(default_factory=AggregateStats)

    def fail(self, host: str, message: str, task: Task | None = None) -> None:
        self.stats.increment("failures", host)
        self.callback.v2_runner_on_failed(Result(self.hosts[host], task or Task(), {"msg": message}))

    def end(self) -> str:
        self.callback.v2_playbook_on_stats(self.stats)
        return "\n".join(self.screen.lines)


def begin(
    *names: str, output_dir: str | None = None, group_variables: bool = False, batch: int | None = None
) -> Run:
    hosts = {}
    for name in names:
        host = hosts[name] = Host(name)
        site, node = name.rsplit("-", 1)
        if group_variables:
            group = Group(f"site_{site}")
            group.set_variable("twinhull_site", site)
            group.add_host(host)
            host.set_variable("twinhull_node", node)
        elif site != "other":
            host.set_variable("twinhull_site", site)
            host.set_variable("twinhull_node", node)
    screen = Screen()
    callback = CallbackModule(display=screen)
    callback._plugin_options = {"output_dir": output_dir}
    everybody = list(hosts.values())
    callback.v2_playbook_on_start(type("Playbook", (), {"_file_name": "/x/install.yml"})())
    callback.v2_playbook_on_play_start(Play(Inventory(everybody, everybody[:batch])))
    return Run(callback, screen, hosts)


def test_a_run_without_hosts_of_twinhull_is_quiet() -> None:
    run = begin("other-a")
    run.fail("other-a", "No room.")
    assert run.end() == ""


def test_a_failure_is_told_with_site_node_task_and_sentence() -> None:
    run = begin("lyon-a", "lyon-b", "basel-a")
    run.fail("lyon-b", "No room. Make some.")
    run.stats.increment("changed", "basel-a")
    shown = run.end()
    assert "left out   lyon   lyon-b (node b), task 'Start the agent': No room. Make some." in shown
    assert "done       basel  1 change" in shown


def test_the_site_may_come_from_a_group_of_any_inventory() -> None:
    run = begin("lyon-a", group_variables=True)
    run.fail("lyon-a", "No room.")
    assert "left out   lyon  lyon-a (node a)" in run.end()


def test_the_guard_of_a_site_is_not_told_as_the_cause() -> None:
    run = begin("lyon-a", "lyon-b")
    run.fail("lyon-b", "No room.")
    run.fail("lyon-a", "lyon-b failed.", Task(path="/playbooks/tasks/guard_site.yml:11"))
    shown = run.end()
    assert "No room." in shown
    assert "lyon-b failed." not in shown


def test_an_unreachable_host_is_told() -> None:
    run = begin("lyon-a")
    run.stats.increment("dark", "lyon-a")
    run.callback.v2_runner_on_unreachable(Result(run.hosts["lyon-a"], Task(), {"msg": "No route to host"}))
    assert "lyon-a (node a) cannot be reached: No route to host" in run.end()


def test_a_failure_that_is_ignored_leaves_nothing_out() -> None:
    run = begin("lyon-a")
    run.stats.increment("ok", "lyon-a")
    run.callback.v2_runner_on_failed(
        Result(run.hosts["lyon-a"], Task(), {"msg": "No room."}), ignore_errors=True
    )
    assert "unchanged  lyon" in run.end()


def test_a_failure_that_stops_everybody_leaves_everybody_out() -> None:
    run = begin("lyon-a", "basel-a")
    run.stats.increment("changed", "basel-a")
    run.fail("lyon-a", "No room.", Task(any_errors_fatal=True))
    assert (
        "left out   basel  lyon-a (node a), task 'Start the agent': the run was stopped by the failure of site lyon"
        in run.end()
    )


def test_what_is_done_once_for_all_sites_is_no_sites_own_failure() -> None:
    run = begin("lyon-a", "basel-a")
    run.stats.increment("changed", "basel-a")
    run.fail("lyon-a", "The fleet is red.", Task("Tell monitoring", run_once=True))
    shown = run.end()
    assert "left out" not in shown
    assert "done       basel  1 change" in shown
    assert "The run ended for all sites in task 'Tell monitoring': The fleet is red." in shown


def test_sites_of_later_batches_that_never_came_are_told() -> None:
    run = begin("lyon-a", "basel-a", batch=1)
    run.fail("lyon-a", "No room.")
    assert "left out   basel  the run ended before it came to this site" in run.end()


def test_the_recap_is_written_where_that_is_asked_for(tmp_path: Path) -> None:
    directory = tmp_path / "reports" / "today"
    run = begin("lyon-a", output_dir=str(directory))
    run.fail("lyon-a", "No room.")
    shown = run.end()
    (written,) = directory.iterdir()
    assert written.name.startswith("recap-install-")
    assert str(written) in shown
    content = json.loads(written.read_text())
    assert content["format"] == 1
    assert content["sites"][0]["troubles"][0]["sentence"] == "No room."


def test_a_recap_that_cannot_be_written_is_told_and_still_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = begin("lyon-a", output_dir=str(tmp_path / "file" / "reports"))
    run.fail("lyon-a", "No room.")
    assert "No room." in run.end()
    assert "The recap was not written" in run.screen.errors[0]
