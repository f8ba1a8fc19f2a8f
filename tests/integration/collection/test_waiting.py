"""Waiting outlives lost connections and restarts of the agent, and ends in a sentence that says what goes on."""

from __future__ import annotations

import sys

import pytest
from tests.integration.collection.conftest import Lab, side

SWAP = {"module": "VM1", "to": "b"}


def test_lost_connections_and_a_restarting_agent_are_waited_for(lab: Lab) -> None:
    lab.losses.write_text("3")
    with lab.edited() as state:
        state["faults"] = {"polls": 3}
    (result,) = lab.play(lab.task("swap", **SWAP))
    assert result["changed"] is True
    assert lab.losses.read_text() == "0"
    assert lab.changing_commands() == ["swap VM1 --no-wait"]


def test_progress_is_shown_while_something_goes_on(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"polls": 2}
    (result,) = lab.play(lab.task("swap", **SWAP))
    assert result["kind"] == "ok"
    line = "lyon: a: VM1: swap: copying: 75 %, 1 GiB of 4 GiB left, 1 MiB/s, 1 min 1 s to go"
    assert lab.output.count(f"\n{line}\n") == 1


def test_a_task_whose_time_is_over_says_how_to_go_on_waiting(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"unfinished": True}
    (result,) = lab.play(lab.task("swap", **SWAP, timeout_s=0.2))
    assert result["timed_out"] is True
    assert "not done within 0.2 s; the work goes on in the agent" in result["msg"]
    assert "Last seen: copying: 75 %, 1 GiB of 4 GiB left" in result["msg"]
    assert "Wait again on the host with: twinhull job job0" in result["msg"]


def test_an_agent_that_forgot_the_job_is_asked_for_its_status(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"job_lost": True}
    (result,) = lab.play(lab.task("swap", **SWAP))
    assert result["changed"] is True
    with lab.edited() as state:
        state["faults"] = {"job_lost": True, "no_effect": True}
    (result,) = lab.play(lab.task("swap", module="VM1", to="a"))
    assert result["kind"] == "failed"
    assert "the agent was restarted meanwhile, and the work was not done" in result["msg"]


def test_a_comparison_that_was_lost_is_not_called_clean(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"job_lost": True}
    (result,) = lab.play(lab.task("verify", module="VM1"))
    assert result["kind"] == "failed"
    assert "its result is not known" in result["msg"]


def test_a_job_that_ended_is_not_the_end_while_the_module_is_elsewhere(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"no_effect": True}
    (result,) = lab.play(lab.task("swap", **SWAP, timeout_s=0.2))
    assert result["kind"] == "failed"
    assert "Last seen: a is PRIM green: It is PRIM. b is SECOND green: It is SECOND." in result["msg"]


def test_what_the_agent_says_of_a_failure_is_the_message(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"fails": "The guest of VM1 did not stop within 120 s; the swap is abandoned."}
    (result,) = lab.play(lab.task("swap", **SWAP))
    assert result["msg"] == (
        "lyon: a: The guest of VM1 did not stop within 120 s; the swap is abandoned. Look at the guest."
    )
    assert result["exit_code"] == 7
    assert result["changed"] is False


def test_a_failure_is_never_taken_for_a_lost_job_or_a_silent_agent(lab: Lab) -> None:
    for exit_code in (2, 9):
        with lab.edited() as state:
            state["faults"] = {"fails": "VM1 is busy on a (verify).", "exit_code": exit_code}
        (result,) = lab.play(lab.task("swap", **SWAP))
        assert result["msg"] == "lyon: a: VM1 is busy on a (verify). Look at the guest."
        assert result["exit_code"] == exit_code


def test_a_comparison_that_did_not_come_to_its_end_fails(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"fails": "The comparison ended early."}
    (result,) = lab.play(lab.task("verify", module="VM1", fail_on_difference=False))
    assert result["msg"] == "lyon: a: The comparison ended early. Look at the guest."


@pytest.mark.parametrize("process", [{"worker": {"alive": False}}, {"worker_version": None}])
def test_a_module_whose_process_does_not_come_up_is_not_called_stopped(
    lab: Lab, process: dict[str, object]
) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"]["a"] = side("STOP", "red", generation="-", **process)
    results = lab.play(
        lab.task("module", name="VM1", state="stopped", timeout_s=0.2),
        lab.task("protected_vm", module="VM1", timeout_s=0.2),
    )
    assert [result["kind"] for result in results] == ["failed", "failed"]
    assert "its process does not run or answer on a" in results[0]["msg"]
    assert lab.changing_commands() == []


def test_a_refused_command_is_not_waited_for(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"refuse": {"swap": ["VM1 is busy on a (swap).", "Wait for it.", 2]}}
    (result,) = lab.play(lab.task("swap", **SWAP))
    assert result["msg"] == "lyon: a: VM1 is busy on a (swap). Wait for it."
    assert [line for line in lab.commands if line.startswith("job")] == []


def test_an_agent_that_is_down_fails_the_task_and_is_unknown_in_check_mode(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"agent_down": 3}
    results = lab.play(
        lab.task("swap", **SWAP), lab.task("swap", check=True, **SWAP), lab.task("module_info", check=True)
    )
    told = "lyon: a: No agent answers on node a: refused. Look with: systemctl status twinhull-agent"
    assert [result["kind"] for result in results] == ["failed", "ok", "failed"]
    assert [results[0]["msg"], results[2]["msg"]] == [told, told]
    assert results[1]["changed"] is True
    assert results[1]["message"].startswith("lyon: a: Twinhull is not running yet on this host")


def test_a_host_without_twinhull_is_told_as_such(lab: Lab) -> None:
    config = {"cluster": "lyon"}
    missing = ["/nowhere/twinhull"]
    results = lab.play(
        lab.task("cluster", check=True, config=config, command=missing),
        lab.task("cluster", config=config, command=missing),
    )
    assert [result["kind"] for result in results] == ["ok", "failed"]
    assert results[0]["changed"] is True
    assert "-not installed yet" in lab.output
    assert results[1]["msg"].startswith(
        "lyon: a: Twinhull is not installed: there is no /nowhere/twinhull on this host. Install it with"
    )


def test_what_is_no_answer_is_shown(lab: Lab) -> None:
    with lab.edited() as state:
        state["faults"] = {"garbage": 1}
    (result,) = lab.play(lab.task("module_info"), twinhull_site="")
    assert result["msg"].startswith(
        f"lyon-a: {sys.executable} ended with exit code 137 and without an answer."
    )
    assert "a remark that is no answer" in result["msg"]


def test_a_module_that_was_started_before_is_waited_for_and_not_started_again(lab: Lab) -> None:
    with lab.edited() as state:
        state["modules"]["VM1"] = {"a": side("WAIT", "orange"), "b": side("WAIT", "orange")}
    (result,) = lab.play(lab.task("module", name="VM1", state="started", timeout_s=0.3))
    assert result["timed_out"] is True
    assert lab.changing_commands() == []


def test_a_name_that_could_be_something_else_is_refused_before_the_host_is_asked(lab: Lab) -> None:
    names = ["--as-primary", "VM1; reboot", "", "VM 1"]
    results = lab.play(*(lab.task("module", name=name, state="stopped") for name in names))
    assert ["which is no name of a module or node" in result["msg"] for result in results] == [True] * 4
    assert lab.commands == []


def test_an_unknown_module_is_refused_with_the_names_there_are(lab: Lab) -> None:
    (result,) = lab.play(lab.task("checker", module="VM7", state="resumed"))
    assert result["msg"].startswith(
        "lyon: a: There is no module VM7 in the configuration of a (modules: VM1)."
    )
