"""What a playbook has done to the time-outs of a Windows host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.standin.model import ADAPTERS, BOOTS, HostState, new_host
from tests.standin.registry import ModelRegistry
from tests.unit.config.test_cluster import GOOD

from twinhull.agent import initiator
from twinhull.config import parse_cluster
from twinhull.errors import ConfigError

SLOW = GOOD.replace("timeout: 10, write_timeout: 10", "timeout: 40, write_timeout: 10")
ALONE = GOOD[: GOOD.index("    resource:")] + (
    "    resource: {kind: scripts, start: [/bin/a], process: yes}\n    export: {kind: iscsi, attach: none}\n"
)


def ask(host: HostState, word: str, text: str = GOOD) -> Mapping[str, Any]:
    code, said = initiator.answer([word], ModelRegistry(host), lambda: parse_cluster(text))
    assert code == 0, said
    answer: Mapping[str, Any] = json.loads(said)
    return answer


def boot(host: HostState) -> None:
    host.registry_set(BOOTS, "BootId", "dword", host.registry_get(BOOTS, "BootId") + 1)


def test_the_time_outs_fit_the_slowest_module_and_count_from_the_next_boot_on() -> None:
    host = new_host("a")
    bare = host.copy().registry
    assert ask(host, "show")["changed"] and host.registry == bare
    fitted = ask(host, "fit")
    assert (fitted["needed_s"], fitted["disk_s"], fitted["hold_s"]) == (90, 90, 90)
    assert fitted["changed"] and fitted["reboot"]
    again = ask(host, "fit")
    assert not again["changed"] and again["reboot"]
    boot(host)
    assert not ask(host, "fit")["reboot"]
    slower = ask(host, "fit", SLOW)
    assert (slower["least_s"], slower["changed"], slower["reboot"]) == (150, True, True)


def test_what_was_set_before_comes_back() -> None:
    host = new_host("a")
    place = rf"{ADAPTERS}\0004\Parameters"
    old_s = host.registry_get(place, "MaxRequestHoldTime")
    ask(host, "fit", SLOW)
    assert ask(host, "restore")["changed"]
    assert host.registry_get(place, "MaxRequestHoldTime") == old_s == 60
    assert ask(host, "show")["disk_s"] is None
    assert not ask(host, "restore")["changed"]


def test_a_host_whose_initiator_mounts_nothing_is_left_alone() -> None:
    host = new_host("a")
    bare = host.copy().registry
    answer = ask(host, "fit", ALONE)
    assert (answer["needed_s"], answer["changed"], answer["reboot"]) == (0, False, False)
    assert host.registry == bare


def test_what_cannot_be_done_is_said() -> None:
    host = new_host("a")
    registry = ModelRegistry(host)
    assert initiator.answer(["set"], registry, lambda: parse_cluster(GOOD))[0] == 2
    del host.registry[rf"{ADAPTERS}\0004".casefold()]
    code, said = initiator.answer(["fit"], registry, lambda: parse_cluster(GOOD))
    assert code == 1 and "this host has no 'Microsoft iSCSI Initiator'" in said

    def broken() -> Any:
        raise ConfigError("cluster.yml:1: it is broken")

    code, said = initiator.answer(["fit"], registry, broken)
    assert code == 1 and "cluster.yml:1: it is broken" in said
