"""`verify` as a job, by the schedule, and in the status of both nodes."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.agent.agent_scene import Scene, view

from twinhull.agent.status import only_newest_verify
from twinhull.agent.verifying import WINDOW_CLOSED, Schedule
from twinhull.errors import UsageError

SUNDAY = dt.datetime(2026, 11, 22, 2, 30)
MESSAGE = "VM1: 1 GiB of a and b were compared, and nothing differs."


def result(**facts: Any) -> dict[str, Any]:
    whole = {"state": "complete", "began": "2026-11-22T02:00:05+01:00", "ended": "2026-11-22T02:14:00+01:00",
             "differing_bytes": 0, "repaired_bytes": 0, "known": [], "message": MESSAGE, "scheduled": False,
             "not_kept": "", "position_bytes": 1 << 30}  # fmt: skip
    return {**whole, **facts}


def shown(
    runs: int, last: dict[str, Any] | None = None, running: dict[str, Any] | None = None
) -> dict[str, Any]:
    verify = {"running": running, "runs": runs, "last": last}
    return view(state="PRIM", colour="green", uptodate=True, verify=verify)


def verify_job(agent: Scene, last: dict[str, Any], **arguments: Any) -> Any:
    worker = agent.workers["VM1"]
    worker.view = shown(4)
    worker.after = shown(5, last)
    return agent.job("verify", module="VM1", **arguments)


def asked(agent: Scene) -> dict[str, Any]:
    arguments: dict[str, Any] = agent.workers["VM1"].sent[-1]["arguments"]
    return arguments


def test_a_comparison_is_a_job_with_its_result(agent: Scene) -> None:
    job = verify_job(agent, result())
    assert (job.ok, job.sentence, job.result) == (True, MESSAGE, result())
    assert asked(agent) == {"source": None}
    assert agent.audited() == [("anna", "verify", "VM1")]


@pytest.mark.parametrize(
    ("last", "remedy"),
    [
        (result(differing_bytes=32768), "twinhull verify VM1 --repair"),
        (result(state="ended early", reason="lost"), "Verify again when VM1 is green."),
        (result(differing_bytes=65536, repaired_bytes=32768, not_kept="full"), "Make room"),
    ],
)
def test_differences_and_an_early_end_are_no_success_and_say_what_to_do(
    agent: Scene, last: dict[str, Any], remedy: str
) -> None:
    job = verify_job(agent, last)
    assert (job.ok, job.exit_code, job.result) == (False, 1, last)
    assert remedy in job.remedy


def test_a_repair_takes_this_node_unless_the_other_is_named(agent: Scene) -> None:
    repaired = result(differing_bytes=32768, repaired_bytes=32768)
    assert verify_job(agent, repaired, repair=True).ok
    assert asked(agent) == {"source": "a"}
    verify_job(agent, repaired, repair=True, source="b")
    assert asked(agent) == {"source": "b"}
    for wrong in ({"repair": True, "source": "z"}, {"source": "b"}, {"repair": "yes"}):
        with pytest.raises(UsageError):
            agent.call("verify", module="VM1", **wrong)
    assert [what for _, what, _ in agent.audited()] == ["verify", "verify"]


def test_what_the_worker_refuses_is_told(agent: Scene) -> None:
    agent.workers["VM1"].view = shown(0)
    agent.workers["VM1"].answer = {"ok": False, "sentence": "VM1 is SECOND on a."}
    job = agent.job("verify", module="VM1")
    assert (job.ok, job.sentence, job.exit_code) == (False, "VM1 is SECOND on a.", 2)


def test_a_worker_of_an_older_version_cannot(agent: Scene) -> None:
    agent.workers["VM1"].view = view(state="PRIM", verify=None)
    assert "older version, which cannot verify" in agent.job("verify", module="VM1").sentence


def test_a_worker_that_is_lost_ends_the_waiting(agent: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.agent.verifying.POLL_S", 0.001)
    worker = agent.workers["VM1"]
    worker.view = shown(4, running={"done_bytes": 1, "total_bytes": 4, "differing_bytes": 32768})
    job = agent.agent.jobs.get(agent.call("verify", module="VM1")["job"])
    said = threading.Event()
    while not said.wait(0.001):
        if "32 KiB differ" in str(job.as_json()["progress"]):
            said.set()
    worker.view = None
    for thread in threading.enumerate():
        if thread.name == "job-verify VM1":
            thread.join(20)
    assert "was lost" in job.sentence


def test_it_can_be_abandoned(agent: Scene) -> None:
    assert agent.job("verify", module="VM1", abandon=True).ok
    assert agent.workers["VM1"].sent[-1]["command"] == "verify-end"


# ---- the schedule ----------------------------------------------------------------------------------


@pytest.fixture
def planned(make_agent: Callable[..., Scene]) -> Scene:
    return make_agent("VM1", more='verify: {window: "Sun 02:00-04:00", repair: true}')


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def told(scene: Scene) -> list[tuple[str, dict[str, Any]]]:
    return [(message["command"], message["arguments"]) for message in scene.workers["VM1"].sent]


ORDER = {"source": "a", "scheduled": True, "from_bytes": 0}


def test_a_window_begins_one_comparison_and_its_end_cuts_it_off(planned: Scene) -> None:
    clock = Clock()
    schedule = Schedule(planned.agent, clock)
    worker = planned.workers["VM1"]
    worker.view = shown(0)
    schedule.look(SUNDAY - dt.timedelta(hours=1))
    assert told(planned) == []
    schedule.look(SUNDAY)
    schedule.look(SUNDAY)
    assert told(planned) == [("verify", ORDER)]
    worker.view = shown(0, running={"scheduled": True})
    clock.now_s += 1000
    schedule.look(SUNDAY)
    assert len(told(planned)) == 1
    schedule.look(SUNDAY + dt.timedelta(hours=2))
    assert told(planned)[1:] == [("verify-end", {"reason": WINDOW_CLOSED})]
    worker.view = shown(1, result(state="ended early", scheduled=True, position_bytes=4096))
    schedule.look(SUNDAY + dt.timedelta(hours=2))
    clock.now_s += 1000
    schedule.look(SUNDAY + dt.timedelta(days=7))
    assert told(planned)[2:] == [("verify", {**ORDER, "from_bytes": 4096})]


@pytest.mark.parametrize(
    "unfit",
    [
        view(state="SECOND", colour="green", verify={"running": None, "runs": 0, "last": None}),
        view(state="PRIM", colour="orange", verify={"running": None, "runs": 0, "last": None}),
        view(state="PRIM", colour="green", verify=None),
        shown(1, result()),
        None,
    ],
)
def test_nothing_is_begun_where_it_cannot_or_need_not_be(
    planned: Scene, unfit: dict[str, Any] | None
) -> None:
    planned.workers["VM1"].view = unfit
    Schedule(planned.agent).look(SUNDAY)
    assert told(planned) == []


def test_what_a_person_began_is_not_cut_off(planned: Scene) -> None:
    planned.workers["VM1"].view = shown(0, running={"scheduled": False})
    Schedule(planned.agent).look(SUNDAY + dt.timedelta(hours=2))
    assert told(planned) == []


def test_modules_without_a_plan_are_left_alone(agent: Scene) -> None:
    agent.workers["VM1"].view = shown(0)
    Schedule(agent.agent).look(SUNDAY)
    assert told(agent) == []


# ---- the status ------------------------------------------------------------------------------------


def test_the_status_shows_the_last_result_and_warns_of_differences(agent: Scene) -> None:
    known = result(known=[[0, 32768]], differing_bytes=32768)
    agent.workers["VM1"].view = shown(1, known)
    module = agent.call("status_local")["modules"]["VM1"]
    assert module["verify"]["last"] == known
    assert any("the replicas differ by 32 KiB in 1 place" in warning for warning in module["warnings"])


@pytest.mark.parametrize(
    ("newer", "warned"), [("2026-11-22T03:00:00+01:00", False), ("2026-11-21T03:00:00+01:00", True)]
)
def test_a_newer_comparison_on_the_other_node_takes_an_older_warning_away(
    agent: Scene, newer: str, warned: bool
) -> None:
    agent.workers["VM1"].view = shown(1, result(known=[[0, 32768]], differing_bytes=32768))
    own = agent.call("status_local")
    agent.workers["VM1"].view = shown(1, result(ended=newer))
    nodes = {"a": own, "b": agent.call("status_local")}
    only_newest_verify(nodes)
    assert any("differ" in warning for warning in nodes["a"]["modules"]["VM1"]["warnings"]) is warned
