"""Each module: check mode changes nothing and says what it would do, the task does it, the task again changes nothing."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from tests.integration.collection.conftest import CONFIG, Lab, side

OFF = side("STOP", "red")
BLANK = side("STOP", "red", generation="-", uptodate=False)


def changed(results: list[dict[str, Any]]) -> list[bool]:
    assert [result["kind"] for result in results] == ["ok"] * len(results), results
    return [result["changed"] for result in results]


def test_a_swap_is_made_only_where_it_is_needed(lab: Lab) -> None:
    swap = {"module": "VM1", "to": "b", "wait_green": True}
    results = lab.play(
        lab.task("swap", check=True, **swap),
        lab.task("module_info", module="VM1"),
        lab.task("swap", **swap),
        lab.task("module_info", module="VM1"),
        lab.task("swap", **swap),
        lab.task("swap", check=True, **swap),
    )
    assert changed(results) == [True, False, True, False, False, False]
    assert results[0]["message"] == "lyon: a: VM1 would be swapped from a to b."
    assert [results[1]["modules"]["VM1"]["runs_on"], results[3]["modules"]["VM1"]["runs_on"]] == ["a", "b"]
    assert results[2]["message"] == "lyon: a: The agent did it."
    assert (results[2]["from"], results[2]["to"]) == ("a", "b")
    assert lab.changing_commands() == ["swap VM1 --no-wait"]
    assert "-  runs on: a" in lab.output
    assert "+  runs on: b" in lab.output


def test_a_swap_without_a_node_always_exchanges_the_roles(lab: Lab) -> None:
    results = lab.play(lab.task("swap", module="VM1", mode="save"), lab.task("swap", module="VM1"))
    assert changed(results) == [True, True]
    assert [result["to"] for result in results] == ["b", "a"]
    assert lab.changing_commands() == ["swap VM1 --mode=save --no-wait", "swap VM1 --no-wait"]


def test_a_swap_that_was_refused_for_a_moment_is_asked_for_again(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"]["fails_once"] = (
            "VM1 is not PRIM on one node and SECOND on the other; nothing was swapped."
        )
    assert changed(lab.play(lab.task("swap", module="VM1", to="b"))) == [True]
    assert lab.changing_commands() == ["swap VM1 --no-wait"] * 2


def test_a_swap_that_was_abandoned_is_not_tried_again(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"]["fails_once"] = "The guest of VM1 did not stop; the swap was abandoned."
    (result,) = lab.play(lab.task("swap", module="VM1", to="b"))
    assert result["kind"] == "failed"
    assert lab.changing_commands() == ["swap VM1 --no-wait"]


def test_a_module_that_is_not_green_is_not_swapped(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"]["b"] = side("SECOND", "orange", uptodate=False)
    results = lab.play(
        lab.task("swap", module="VM1", to="b"),
        lab.task("swap", check=True, module="VM1", to="b"),
        lab.task("swap", module="VM1", to="c"),
    )
    assert [result["kind"] for result in results] == ["failed"] * 3
    assert results[0]["msg"].startswith(
        "lyon: a: VM1 is not green on both nodes, so b is not ready to take it."
    )
    assert "b is SECOND orange, not uptodate: It is SECOND." in results[0]["msg"]
    assert results[2]["msg"].startswith("lyon: a: There is no node c in cluster lyon (nodes: a, b).")
    assert lab.changing_commands() == []


def test_a_module_is_started_and_stopped_on_this_node(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": OFF, "b": side("ALONE")}
    started = {"name": "VM1", "state": "started"}
    stopped = {"name": "VM1", "state": "stopped"}
    results = lab.play(
        lab.task("module", check=True, **started),
        lab.task("module", **started),
        lab.task("module", **started),
        lab.task("module", check=True, **stopped),
        lab.task("module", forced=True, **stopped),
        lab.task("module", **stopped),
    )
    assert changed(results) == [True, True, False, True, True, False]
    assert results[1]["state"]["a"] == {"state": "SECOND", "colour": "green", "uptodate": True}
    assert results[4]["state"]["a"]["state"] == "STOP"
    assert lab.changing_commands() == ["start VM1 --no-wait", "stop VM1 --forced --yes=VM1 --no-wait"]


def test_a_module_in_which_nothing_was_protected_is_not_started(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": BLANK, "b": BLANK}
    (result,) = lab.play(lab.task("module", name="VM1", state="started"))
    assert "nothing was protected yet" in result["msg"]
    assert lab.changing_commands() == []


def test_this_node_is_made_primary_by_one_swap(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": side("SECOND"), "b": side("PRIM")}
    primary = {"name": "VM1", "state": "primary", "wait_green": True}
    results = lab.play(
        lab.task("module", check=True, **primary),
        lab.task("module", **primary),
        lab.task("module", **primary),
    )
    assert changed(results) == [True, True, False]
    assert lab.changing_commands() == ["swap VM1 --no-wait"]
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": OFF, "b": side("ALONE")}
    (refused,) = lab.play(lab.task("module", **primary))
    assert refused["msg"].startswith("lyon: a: VM1 is not green on both nodes, so a is not ready to take it.")


def test_a_module_is_added_changed_and_removed(lab: Lab) -> None:
    config = {"number": 2, "folder": "/srv/twinhull/Größe", "size": "1 GiB", "boot": {"mode": "auto"}}
    present = {"name": "VM2", "config": config}
    absent = {"name": "VM2", "state": "absent"}
    results = lab.play(
        lab.task("module", check=True, **present),
        lab.task("cluster", state="gathered"),
        lab.task("module", **present),
        lab.task("module", **present),
        lab.task("module", check=True, **absent),
        lab.task("module", **absent),
        lab.task("module", **absent),
    )
    assert changed(results) == [True, False, True, False, True, True, False]
    assert "VM2" not in results[1]["config"]["modules"]
    assert results[2]["config"]["modules"]["VM2"] == config
    assert results[2]["changed_lines"] == ["modules.VM2: added"]
    assert lab.state["config"] == CONFIG


def test_the_configuration_is_compared_on_the_host(lab: Lab) -> None:
    new = {**CONFIG, "witness": {"kind": "ping", "addresses": ["10.1.0.1"]}, "keep": "ask"}
    results = lab.play(
        lab.task("cluster", check=True, config=new),
        lab.task("cluster", state="gathered"),
        lab.task("cluster", config=new),
        lab.task("cluster", config=new),
        lab.task("cluster", check=True, config=new),
    )
    assert changed(results) == [True, False, True, False, False]
    assert results[1]["config"] == CONFIG
    assert results[0]["config"] == new
    assert results[2]["config"] == new
    assert "+witness:" in lab.output
    assert "+  kind: ping" in lab.output
    assert lab.changing_commands() == ["config apply -", "config apply -"]


def test_an_invalid_configuration_is_refused_as_it_is_also_in_check_mode(lab: Lab) -> None:
    wrong = {**CONFIG, "cluster": "paris"}
    results = lab.play(
        lab.task("cluster", check=True, config=wrong), lab.task("cluster", config=wrong), lab.task("cluster")
    )
    assert [result["kind"] for result in results] == ["failed"] * 3
    told = "lyon: a: The cluster cannot be renamed: its certificates carry the name. Nothing was applied."
    assert [result["msg"] for result in results[:2]] == [told, told]
    assert results[0]["exit_code"] == 3
    assert "config" in results[2]["msg"]
    assert lab.state["config"] == CONFIG


def test_checkers_are_suspended_and_resumed(lab: Lab) -> None:
    rest, work = ({"module": "VM1", "state": state} for state in ("suspended", "resumed"))
    results = lab.play(
        lab.task("checker", **work),
        lab.task("checker", check=True, **rest),
        lab.task("checker", **rest),
        lab.task("checker", **rest),
        lab.task("checker", **work),
    )
    assert changed(results) == [False, True, True, False, True]
    assert lab.changing_commands() == ["checker suspend VM1 --no-wait", "checker resume VM1 --no-wait"]


def test_a_protection_that_was_interrupted_is_brought_to_its_end(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": side("STOP", "red", unfinished="protect"), "b": BLANK}
    results = lab.play(lab.task("protected_vm", module="VM1"), lab.task("protected_vm", module="VM1"))
    assert changed(results) == [True, False]
    assert lab.changing_commands() == ["protect VM1 --yes=VM1 --no-wait"]


def test_a_protection_that_a_reboot_cut_off_is_told_at_once(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": side("STOP", "red", unfinished="protect"), "b": BLANK}
        state["faults"] = {"job_lost": True, "no_effect": True}
    (result,) = lab.play(lab.task("protected_vm", module="VM1"))
    assert "the agent was restarted meanwhile, and the work was not done" in result["msg"]
    assert "run the task again" in result["msg"]


def test_a_vm_is_protected_and_given_back(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": BLANK, "b": BLANK}
    present = {"module": "VM1", "domain": "web; reboot", "stop_vm": True, "wait_green": True}
    absent = {"module": "VM1", "state": "absent", "target": "/var/lib/libvirt/images/VM1"}
    results = lab.play(
        lab.task("protected_vm", check=True, **present),
        lab.task("protected_vm", **present),
        lab.task("protected_vm", **present),
        lab.task("protected_vm", check=True, **absent),
        lab.task("protected_vm", **absent),
        lab.task("protected_vm", **absent),
    )
    assert changed(results) == [True, True, False, True, True, False]
    assert lab.changing_commands() == [
        "protect VM1 --yes=VM1 --domain=web; reboot --stop-vm --no-wait",
        "unprotect VM1 --yes=VM1 --target=/var/lib/libvirt/images/VM1 --no-wait",
    ]


def test_a_comparison_fails_on_differences_until_they_are_repaired(lab: Lab) -> None:
    with lab.edited() as state:
        state["differing_bytes"] = 65_536
    results = lab.play(
        lab.task("verify", module="VM1", source="a"),
        lab.task("verify", module="VM1"),
        lab.task("verify", module="VM1", fail_on_difference=False),
        lab.task("verify", check=True, module="VM1", repair=True),
        lab.task("verify", module="VM1", repair=True, source="a"),
        lab.task("verify", module="VM1", repair=True),
    )
    assert [result["kind"] for result in results] == ["failed", "failed", "ok", "ok", "ok", "ok"]
    assert [result["changed"] for result in results] == [False, False, False, True, True, False]
    told = "lyon: a: 65536 bytes differ, 0 were repaired. Find out why, then repair."
    assert [results[1]["msg"], results[2]["message"]] == [told, told]
    assert results[1]["differing_bytes"] == 65_536
    assert "64 KiB would be repaired" in results[3]["message"]
    assert results[4]["repaired_bytes"] == 65_536
    assert lab.changing_commands()[3] == "verify VM1 --repair --source=a --no-wait"


def test_a_snapshot_comes_to_the_control_node_and_leaves_the_host(lab: Lab) -> None:
    dest = lab.directory / "reports"
    results = lab.play(
        lab.task("support_snapshot", check=True, dest=f"{dest}/"),
        lab.task("support_snapshot", dest=f"{dest}/", anonymise=True),
        lab.task("support_snapshot", dest=str(lab.directory / "one.tar.gz")),
    )
    assert changed(results) == [True, True, True]
    assert results[0]["dest"].startswith(f"{dest}/lyon-a-20")
    written = [Path(result["dest"]) for result in results[1:]]
    assert [path.stat().st_size for path in written] == [700_000, 700_000]
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o600]
    assert (results[1]["anonymised"], results[2]["anonymised"]) == (True, False)
    assert list(dest.iterdir()) == [written[0]]
    asked = [line for line in lab.commands if line.startswith("snapshot")]
    assert len(asked) == 2
    assert not [path for path in (lab.directory / "remote").rglob("*") if path.is_file()]


def test_certificates_are_told_with_the_days_they_have_left(lab: Lab) -> None:
    with lab.edited() as state:
        state["certificates"] = [
            {"kind": "ca", "name": "lyon", "days_left": 3000, "expired": False},
            {"kind": "node", "name": "a", "days_left": 45, "expired": False},
        ]
        state["faults"]["agent_down"] = 9
    results = lab.play(lab.task("certificate_info"), lab.task("certificate_info", warn_days=60))
    assert changed(results) == [False, False]
    assert [result["renew"] for result in results] == [False, True]
    assert results[1]["days_left"] == 45
    assert "node a (45 days left)" in results[1]["message"]
