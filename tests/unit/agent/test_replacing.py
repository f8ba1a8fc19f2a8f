"""Workers of another version run on beside the agent, and are replaced when their module is stopped and never else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.agent.agent_scene import FakeSupervisor, Scene, view

import twinhull
from twinhull.agent.desired import Wish
from twinhull.errors import AgentDownError

PATIENCE_S = 20.0
OLDER = {"version": "0.0.9"}
RUNNING = ("WAIT", "ALONE", "PRIM", "SECOND")


def adopt(agent: Scene, **facts: Any) -> FakeSupervisor:
    """A worker that another agent started shows itself."""
    worker = agent.workers["VM1"]
    agent.agent._worker_connected("VM1", True)
    show(agent, **facts)
    return worker


def show(agent: Scene, **facts: Any) -> None:
    shown = view(**facts)
    agent.workers["VM1"].view = shown
    agent.agent._worker_said("VM1", {"op": "view", "view": shown})


def look_after(agent: Scene) -> None:
    """What the agent does soon after something became due."""
    if agent.agent._look_now.is_set():
        agent.agent.replacing.do_what_is_due()


@pytest.fixture
def started(agent: Scene) -> Scene:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    return agent


@pytest.mark.parametrize("state", RUNNING)
def test_a_worker_of_another_version_whose_module_runs_is_left_alone_and_spoken_of_once(
    started: Scene, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        worker = adopt(started, state=state, **OLDER)
        for _ in range(3):
            show(started, state=state, **OLDER)
            look_after(started)
    assert worker.closed == []
    told = [message for message in caplog.messages if "0.0.9" in message]
    assert told == [
        f"VM1: its worker on a runs 0.0.9, the agent {twinhull.__version__}; "
        "it runs on and is replaced when VM1 is stopped here"
    ]
    assert started.call("status_local")["modules"]["VM1"]["worker_version"] == "0.0.9"
    assert started.call("status_local")["version"] == twinhull.__version__


def test_it_is_replaced_as_soon_as_its_module_is_stopped(
    started: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    worker = adopt(started, state="SECOND", **OLDER)
    with caplog.at_level(logging.INFO):
        started.agent.wishes.set("VM1", Wish.STOPPED)
        show(started, state="STOP", sentence="a person stopped it", **OLDER)
        look_after(started)
    assert worker.closed == [True]
    assert started.workers["VM1"] is not worker
    assert f"a new worker begins on a: it ran 0.0.9, the agent runs {twinhull.__version__}" in caplog.text
    look_after(started)
    assert started.workers["VM1"].closed == []


def test_nobody_waits_seconds_for_the_replacement(started: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.agent.agent.LOOK_AFTER_S", 1000.0)
    done = threading.Event()
    replace = started.agent.replacing.do_what_is_due

    def look() -> None:
        replace()
        if started.workers["VM1"] is not worker:
            done.set()

    started.agent.replacing.do_what_is_due = look  # type: ignore[method-assign]
    thread = threading.Thread(target=started.agent._look_after)
    thread.start()
    worker = adopt(started, state="STOP", sentence="a person stopped it", **OLDER)
    assert done.wait(PATIENCE_S)
    started.agent.end()
    thread.join(PATIENCE_S)


def test_a_worker_that_tells_no_version_counts_as_older(started: Scene) -> None:
    worker = adopt(started, state="STOP", sentence="stopped", version="")
    look_after(started)
    assert worker.closed == [True]


@pytest.mark.parametrize("busy", [{"operation": "start"}, {"fault": "the disk of a failed"}])
def test_a_stopped_module_in_the_middle_of_something_or_broken_keeps_its_worker(
    started: Scene, busy: dict[str, str]
) -> None:
    worker = adopt(started, state="STOP", sentence="stopped", **busy, **OLDER)
    look_after(started)
    assert worker.closed == []


def test_workers_of_the_own_version_or_of_the_agents_own_making_are_not_replaced(started: Scene) -> None:
    worker = adopt(started, state="STOP", sentence="stopped")
    look_after(started)
    started.agent._worker_connected("VM1", False)
    show(started, state="STOP", sentence="stopped", version="9.9.9")
    look_after(started)
    assert worker.closed == []


def test_what_stopped_by_itself_is_not_started_by_the_new_worker(started: Scene) -> None:
    adopt(started, state="STOP", sentence="its folder could not be mounted", **OLDER)
    look_after(started)
    assert started.agent.wishes.get("VM1") is Wish.STOPPED


def test_a_start_right_behind_a_stop_meets_the_new_worker(started: Scene) -> None:
    worker = adopt(started, state="STOP", sentence="a person stopped it", **OLDER)
    began = started.agent.watch_module

    def begin(module: str) -> None:
        began(module)
        started.workers[module].after = view(state="SECOND", sentence="it mirrors b")

    started.agent.watch_module = begin  # type: ignore[method-assign]
    job = started.job("command", module="VM1", command="start")
    assert job.ok, job.sentence
    assert worker.closed == [True]
    assert worker.sent == []
    assert [message["command"] for message in started.workers["VM1"].sent] == ["start"]


def test_a_start_while_the_new_worker_is_still_beginning_waits_for_it(
    started: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = started.agent.watch_module

    def begin(module: str) -> None:
        began(module)
        started.workers[module].view = None
        started.workers[module].answer = AgentDownError(
            "The worker of VM1 is not running: it is being started."
        )

    def shown_after(_pause_s: float) -> None:
        worker = started.workers["VM1"]
        worker.view, worker.answer = view(), {"ok": True, "sentence": "done"}
        worker.after = view(state="SECOND", sentence="it mirrors b")

    monkeypatch.setattr(started.agent, "watch_module", begin)
    monkeypatch.setattr("twinhull.agent.replacing.time.sleep", shown_after)
    adopt(started, state="STOP", sentence="a person stopped it", **OLDER)
    look_after(started)
    assert started.workers["VM1"].view is None
    job = started.job("command", module="VM1", command="start")
    assert job.ok, job.sentence


def test_a_new_worker_that_does_not_come_up_fails_the_start_in_words(
    make_agent: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.agent.replacing.END_PATIENCE_S", 0.0)
    agent = make_agent("VM1")
    adopt(agent, state="STOP", sentence="stopped", fault="the disk of a failed")
    began = agent.agent.watch_module

    def begin(module: str) -> None:
        began(module)
        agent.workers[module].view = None
        agent.workers[module].trouble = "its volume is damaged"

    agent.agent.watch_module = begin  # type: ignore[method-assign]
    with pytest.raises(AgentDownError, match="its volume is damaged"):
        agent.agent.replacing.before_start("VM1")


def test_a_removed_module_is_not_replaced(started: Scene) -> None:
    started.agent.replacing.due("VM1", "its configuration changed")
    started.agent.unwatch_module("VM1")
    started.agent.replacing.do_what_is_due()
    assert "VM1" not in started.agent.supervisors
