"""What an agent does with what its workers and its peer say, and with what people want."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.agent_scene import PATIENCE_S, Scene, gone, view

from twinhull.agent import main
from twinhull.agent.agent import read_beat
from twinhull.agent.desired import Wish, Wishes
from twinhull.agent.jobs import KEPT_JOBS, Job, Jobs
from twinhull.agent.peer import PeerAgent
from twinhull.agent.supervisor import Death
from twinhull.errors import PeerUnreachableError, TwinhullError, UsageError
from twinhull.transport.control import RemoteError

BEAT = {
    "op": "beat",
    "process": "ab" * 16,
    "counter": 3,
    "echo_process": None,
    "echo": 0,
    "session": None,
    "state": "PRIM",
}


def beat_of(**modules: Any) -> bytes:
    return json.dumps({"modules": modules}).encode()


# ---- heartbeats --------------------------------------------------------------------------------------


def test_what_the_peers_agent_says_goes_to_the_worker_of_the_module(agent: Scene) -> None:
    said = {"worker": False, "beat": BEAT, "dead": ["cd" * 16, None]}
    agent.agent._peer_beat("one", beat_of(VM1=said, nobody=said))
    assert agent.workers["VM1"].sent == [
        {"op": "peer_agent", "worker": False},
        BEAT,
        {"op": "peer_worker_dead", "process": "cd" * 16, "session": None},
    ]
    assert agent.workers["VM2"].sent == []


GOOD = {"worker": True, "beat": BEAT, "dead": None}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"no json",
        b"[]",
        b"{}",
        b'{"modules": []}',
        b"[" * 100_000,
        beat_of(VM1=GOOD, VM2=None),
        beat_of(VM1=GOOD, VM2={}),
        beat_of(VM1=GOOD, VM2={**GOOD, "worker": "yes"}),
        beat_of(VM1=GOOD, VM2={**GOOD, "beat": {**BEAT, "process": "short"}}),
        beat_of(VM1=GOOD, VM2={**GOOD, "beat": {**BEAT, "counter": 1e300}}),
        beat_of(VM1=GOOD, VM2={**GOOD, "beat": "beat"}),
        beat_of(VM1=GOOD, VM2={**GOOD, "dead": ["ab"]}),
        beat_of(VM1=GOOD, VM2={**GOOD, "dead": [1, 2]}),
    ],
)
def test_a_beat_that_cannot_be_read_reaches_no_worker_and_is_logged_once(
    agent: Scene, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        agent.agent._peer_beat("one", payload)
    assert agent.workers["VM1"].sent == agent.workers["VM2"].sent == []
    assert sum("cannot be read" in message for message in caplog.messages) == 1


def test_a_beat_says_whether_workers_live_and_which_are_dead(agent: Scene) -> None:
    agent.agent._worker_said("VM1", BEAT)
    agent.workers["VM2"].alive = False
    agent.workers["VM2"].death = Death("ef" * 16, "12" * 16)
    payload = agent.agent._beat_payload()
    assert json.loads(payload)["modules"] == {
        "VM1": {"worker": True, "beat": BEAT, "dead": None},
        "VM2": {"worker": False, "beat": None, "dead": ["ef" * 16, "12" * 16]},
    }
    assert set(read_beat(payload)) == {"VM1", "VM2"}


def test_what_a_worker_tells_its_peer_is_posted(agent: Scene) -> None:
    agent.agent._worker_said("VM1", {"op": "tell_peer", "message": "{}"})
    assert agent.peer.posted == [("tell", {"module": "VM1", "message": "{}"})]


# ---- wishes ------------------------------------------------------------------------------------------


def started(agent: Scene, module: str = "VM1") -> bool:
    """Whether the worker is told to start; waits for it."""
    assert agent.workers[module].arrived.wait(PATIENCE_S)
    timer = agent.agent._boots[module]
    timer.join(PATIENCE_S)
    return [message["command"] for message in agent.workers[module].sent] == ["start"]


def test_a_fresh_worker_starts_its_module_after_a_boot(agent: Scene) -> None:
    agent.agent._worker_connected("VM1", False)
    assert started(agent)
    assert agent.agent.wishes.get("VM1") is Wish.STARTED


def test_a_start_after_the_boot_that_nobody_delivered_is_delivered_to_an_adopted_worker(agent: Scene) -> None:
    agent.agent._worker_connected("VM1", True)
    assert started(agent)


def test_an_adopted_worker_that_was_started_is_left_alone(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    agent.agent._worker_connected("VM1", True)
    assert agent.agent._boots == {}


def test_an_adopted_worker_in_which_nothing_happened_yet_is_told_to_start(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    agent.agent._worker_connected("VM1", True)
    show(agent, state="STOP", sentence="")
    assert [message["command"] for message in agent.workers["VM1"].sent] == ["start"]
    show(agent, state="STOP", sentence="")
    assert len(agent.workers["VM1"].sent) == 1


def test_a_fresh_worker_of_a_stopped_module_is_left_alone(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STOPPED)
    agent.agent._worker_connected("VM1", False)
    agent.agent._worker_connected("nobody", False)
    assert agent.agent._boots == {}


def test_a_module_that_boots_by_hand_is_left_alone(make_agent: Callable[..., Scene]) -> None:
    agent = make_agent("VM1", more="boot: {mode: manual, delay: 0}")
    agent.agent._worker_connected("VM1", False)
    assert agent.agent._boots == {}


def test_a_stop_within_the_delay_after_the_boot_prevents_the_start(make_agent: Callable[..., Scene]) -> None:
    agent = make_agent("VM1", more="boot: {mode: auto, delay: 600}")
    agent.agent._worker_connected("VM1", False)
    timer = agent.agent._boots["VM1"]
    assert timer.daemon
    agent.agent.wishes.set("VM1", Wish.STOPPED)
    timer.cancel()
    agent.agent._boot_module("VM1", Wish.BOOT)
    assert agent.workers["VM1"].sent == []


def test_a_start_that_did_not_reach_the_worker_stays_to_be_delivered(agent: Scene) -> None:
    agent.workers["VM1"].alive = False
    agent.agent._boot_module("VM1", Wish.BOOT)
    assert agent.agent.wishes.get("VM1") is Wish.BOOT


def show(agent: Scene, **facts: Any) -> None:
    agent.agent._worker_said("VM1", {"op": "view", "view": view(**facts)})


def test_a_module_stopped_after_too_many_restarts_is_not_started_by_a_new_worker(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    show(agent, state="ALONE", restarts=3)
    assert agent.agent.wishes.get("VM1") is Wish.STARTED
    show(agent, state="STOP", restarts=3)
    assert agent.agent.wishes.get("VM1") is Wish.STOPPED
    agent.agent._worker_connected("VM1", False)
    assert agent.agent._boots == {}


def test_a_module_that_stopped_for_another_reason_is_started_again(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    show(agent, state="STOP", restarts=3)  # a view of before the start
    show(agent, state="ALONE")
    show(agent, state="STOP", restarts=1)
    assert agent.agent.wishes.get("VM1") is Wish.STARTED


def test_wishes_outlive_the_agent_and_what_is_unreadable_counts_as_none(tmp_path: Path) -> None:
    Wishes(tmp_path / "w").set("VM.1", Wish.STOPPED)
    Wishes(tmp_path / "w").set("VM.2", Wish.STARTED)
    (tmp_path / "w" / "VM3").write_text("perhaps")
    again = Wishes(tmp_path / "w")
    assert [again.get(name) for name in ("VM.1", "VM.2", "VM3")] == [Wish.STOPPED, Wish.STARTED, Wish.BOOT]
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["VM.1", "VM.2", "VM3"]
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700


# ---- life --------------------------------------------------------------------------------------------


def test_an_agent_whose_thread_died_is_not_healthy(agent: Scene) -> None:
    assert not agent.agent.healthy(0.0)
    agent.agent.heartbeats.start()
    try:
        assert agent.agent.healthy(0.0)
        agent.workers["VM1"].watching = False
        assert not agent.agent.healthy(0.0)
    finally:
        agent.agent.heartbeats.stop()
    agent.agent.end()
    assert agent.agent.ended
    assert not agent.agent.healthy(0.0)


def test_an_agent_begins_and_ends_and_leaves_its_workers(make_agent: Callable[..., Scene]) -> None:
    agent = make_agent("VM1")
    agent.agent.heartbeats.start()
    agent.agent.stop()
    assert agent.workers["VM1"].closed == [False]
    assert agent.peer.closed


def test_all_modules_are_stopped_when_the_host_goes_down(agent: Scene) -> None:
    agent.workers["VM2"].answer = gone()
    agent.agent.leave()
    assert [worker.sent[0]["command"] for worker in agent.workers.values()] == ["stop", "stop"]
    assert agent.agent.wishes.get("VM1") is Wish.BOOT


def test_maintenance_windows_are_told_to_the_modules_that_have_one(make_agent: Callable[..., Scene]) -> None:
    agent = make_agent("VM1", more='preferred: a\n    return: {window: "Sun 02:00-04:00"}')
    agent.agent.supervisors["removed"] = agent.agent.supervisors["VM1"]
    agent.agent._tell_windows()
    assert [message["op"] for message in agent.workers["VM1"].sent] == ["window"]


def test_a_renewed_certificate_is_handed_on(agent: Scene) -> None:
    agent.agent._take_certificate()
    assert agent.workers["VM1"].sent == [{"op": "reload_certificate"}]


@pytest.mark.parametrize("name", ["ca.crt", "node.crt", "node.key"])
def test_a_change_of_authority_certificate_or_key_is_noticed(agent: Scene, name: str) -> None:
    before = agent.agent._certificate_ns()
    assert before is not None
    os.utime(agent.agent.node.pki_dir / name, ns=(before + 1, before + 1))
    assert agent.agent._certificate_ns() == before + 1


def test_looking_after_goes_on_whatever_fails(agent: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.agent.agent.LOOK_AFTER_S", 0.001)
    looks = threading.Semaphore(0)

    def fail() -> None:
        looks.release()
        raise RuntimeError("a defect")

    agent.agent._tell_windows = fail  # type: ignore[method-assign]
    thread = threading.Thread(target=agent.agent._look_after)
    thread.start()
    assert all(looks.acquire(timeout=PATIENCE_S) for _ in range(3))
    agent.agent.end()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


# ---- calls to the peer -------------------------------------------------------------------------------


class Client:
    """One network's control client."""

    def __init__(self, answer: dict[str, Any] | TwinhullError | Exception) -> None:
        self.answer = answer
        self.calls: list[tuple[str, float | None]] = []
        self.called = threading.Semaphore(0)
        self.closed = False

    def call(self, method: str, arguments: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        self.calls.append((method, timeout_s))
        self.called.release()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


def peer_agent(up: set[str], messenger: Client | None = None, **clients: Client) -> PeerAgent:
    messengers = {"one": messenger or Client({})}
    return PeerAgent("b", clients, messengers, up=lambda: up)  # type: ignore[arg-type]


def test_calls_take_the_networks_that_are_up_in_order() -> None:
    one, two = Client(PeerUnreachableError("it is cut.")), Client({"from": "two"})
    peer = peer_agent({"one", "two"}, one=one, two=two)
    assert peer.call("status_local", {}, timeout_s=3.0) == {"from": "two"}
    for client in (one, two):
        ((method, timeout_s),) = client.calls
        assert method == "status_local"
        assert timeout_s is not None and timeout_s <= 3.0
    peer.close()
    assert one.closed
    assert two.closed


def test_networks_without_heartbeats_are_tried_by_the_patient_only() -> None:
    one = Client({"from": "one"})
    peer = peer_agent(set(), one=one)
    with pytest.raises(PeerUnreachableError, match="not heard on any network"):
        peer.call("status_local", {})
    assert peer.call("status_local", {}, patient=True) == {"from": "one"}
    peer.close()


def test_a_refusal_is_an_answer_and_is_not_asked_for_again() -> None:
    one, two = Client(RemoteError("no.")), Client({})
    peer = peer_agent({"one", "two"}, one=one, two=two)
    with pytest.raises(RemoteError, match="no"):
        peer.call("part", {})
    assert two.calls == []
    peer.close()


@pytest.mark.parametrize(
    "error", [PeerUnreachableError("cut"), RemoteError("no"), UsageError("no"), KeyError("x")]
)
def test_messages_go_their_own_way_and_one_that_fails_holds_up_none(error: Exception) -> None:
    one, messenger = Client({}), Client(error)
    peer = peer_agent({"one"}, messenger, one=one)
    peer.post("tell", {"n": 1})
    peer.post("tell", {"n": 2})
    assert messenger.called.acquire(timeout=PATIENCE_S)
    assert messenger.called.acquire(timeout=PATIENCE_S)
    assert one.calls == []
    peer.close()


# ---- jobs --------------------------------------------------------------------------------------------


def finished(jobs: Jobs, work: Callable[[Job], str]) -> Job:
    job = jobs.start("a", "test", work)
    for thread in threading.enumerate():
        if thread.name == "job-a test":
            thread.join(PATIENCE_S)
    return job


def test_a_job_ends_with_its_sentence_or_its_error() -> None:
    jobs = Jobs()

    def fail(error: Exception) -> Callable[[Job], str]:
        def work(_: Job) -> str:
            raise error

        return work

    assert finished(jobs, lambda _: "all is well").as_json()["sentence"] == "all is well"
    refused = finished(jobs, fail(UsageError("no.", "Do it otherwise."))).as_json()
    assert (refused["exit_code"], refused["sentence"], refused["remedy"]) == (2, "no.", "Do it otherwise.")
    assert (refused["command"], refused["module"], refused["title"]) == ("a", "test", "a test")
    assert "No space" in finished(jobs, fail(OSError(28, "No space"))).as_json()["sentence"]
    assert "defect" in finished(jobs, fail(KeyError("x"))).as_json()["sentence"]


def test_a_job_shows_how_far_it_is() -> None:
    jobs, go_on = Jobs(), threading.Event()

    def work(job: Job) -> str:
        job.progress("copying", 1, 4)
        go_on.wait(PATIENCE_S)
        return "done"

    job = jobs.start("copy", "VM1", work)
    job.progress("copying", 1, 4)
    shown = jobs.get(job.id).as_json()
    assert shown["progress"]["text"] == "copying"
    assert shown["progress"]["eta_s"] > 0
    go_on.set()


def test_jobs_that_run_are_never_forgotten() -> None:
    jobs, go_on = Jobs(), threading.Event()
    first = jobs.start("long", "", lambda _: "x" if go_on.wait(PATIENCE_S) else "y")
    for _ in range(KEPT_JOBS + 5):
        finished(jobs, lambda _: "done")
    assert jobs.get(first.id) is first
    go_on.set()


# ---- the process -------------------------------------------------------------------------------------


def test_the_service_manager_is_told_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    main.notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = f"/tmp/th-notify-{os.getpid()}"
        manager.bind(path)
        try:
            monkeypatch.setenv("NOTIFY_SOCKET", path)
            main.notify("READY=1")
            assert manager.recv(100) == b"READY=1"
        finally:
            Path(path).unlink()
    main.notify("READY=1")  # nobody there any more


@pytest.mark.parametrize(("says", "down"), [("running", False), ("stopping", True)])
def test_a_host_that_goes_down_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, down: bool
) -> None:
    fake = tmp_path / "systemctl"
    fake.write_text(f"#!/bin/sh\necho {says}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main.host_goes_down() is down
    fake.unlink()
    assert main.host_goes_down() is False


def test_two_agents_on_a_node_are_one_too_many(tmp_path: Path) -> None:
    with (
        main._only_one(tmp_path / "run"),
        pytest.raises(TwinhullError, match="Another agent already runs"),
        main._only_one(tmp_path / "run"),
    ):
        pass
    with main._only_one(tmp_path / "run"):
        pass


@pytest.mark.parametrize("setting", ["", "0", "soon"])
def test_without_a_watchdog_nothing_is_fed(
    agent: Scene, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", setting)
    main._feed_watchdog(agent.agent, main._Systemd())


def test_a_watchdog_is_not_fed_by_an_agent_that_does_not_work(
    agent: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    told: list[str] = []
    monkeypatch.setattr(main, "notify", told.append)
    with caplog.at_level(logging.CRITICAL):
        main._feed_watchdog(agent.agent, main._Systemd())
    assert told == []
    assert "does not do its work" in caplog.text
