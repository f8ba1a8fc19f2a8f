"""Protection and its end: every check that refuses leaves everything as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.unit.agent.agent_scene import Scene, view

from twinhull.agent import desired, originals, protect
from twinhull.agent.desired import Wish
from twinhull.config.model import LibvirtConfig
from twinhull.errors import PeerUnreachableError, ResourceError

READY = {"worker": {"alive": True}, "generation": "-", "state": "STOP"}


@pytest.fixture
def ready(agent: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Both nodes could protect VM1 now."""
    monkeypatch.setattr(protect, "POLL_S", 0.001)
    digest = agent.agent.cluster.digest()
    agent.peer.answers = {
        "status_local": {"config_digest": digest, "modules": {"VM1": READY}},
        "check_host": {"findings": [{"fatal": False, "sentence": "b is slow"}]},
        "stand_by": {},
        "join": {},
        "part": {},
    }
    return agent


def refused(agent: Scene, sentence: str, **arguments: Any) -> None:
    """Protecting is refused, and nobody was asked to change anything."""
    job = agent.job("protect", module="VM1", **arguments)
    assert not job.ok
    assert sentence in f"{job.sentence} {job.remedy}"
    assert agent.workers["VM1"].sent == []
    assert agent.agent.wishes.get("VM1") is Wish.BOOT
    assert {name for name, _ in agent.peer.calls} <= {"status_local", "check_host"}


def test_a_module_is_started_here_and_then_there(ready: Scene) -> None:
    ready.workers["VM1"].after = view(state="PRIM", colour="green", resource_state="running")
    job = ready.job("protect", module="VM1", by="anna")
    assert (job.ok, job.sentence) == (True, "VM1 runs on a and is mirrored to b.")
    (start,) = ready.workers["VM1"].sent
    assert start["arguments"] == {"as_primary": True, "adopt": False, "stop_vm": False}
    assert [name for name, _ in ready.peer.calls][-1] == "join"
    assert ready.agent.wishes.get("VM1") is Wish.STARTED
    assert ready.audited() == [("anna (anna)", "protect", "VM1")]


def test_a_vm_is_not_protected_by_a_module_that_holds_none(ready: Scene) -> None:
    refused(ready, "VM1 holds no VM, so that web cannot be protected by it.", domain="web")


def test_another_vm_than_the_configured_one_is_not_protected(
    ready: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ready.agent.cluster
    module = dataclasses.replace(cluster.module("VM1"), resource=LibvirtConfig(domain="web"))
    monkeypatch.setattr(
        ready.agent, "cluster", dataclasses.replace(cluster, modules={**cluster.modules, "VM1": module})
    )
    refused(ready, "configured for the VM web, not for mail", domain="mail")


def test_a_protection_that_was_interrupted_says_what_is_left_to_do(ready: Scene) -> None:
    mark = desired.unfinished_protection(ready.agent.node.data_dir, "VM1")
    assert ready.call("status_local")["modules"]["VM1"]["unfinished"] == ""
    mark.parent.mkdir(parents=True)
    mark.touch()
    told = ready.call("status_local")["modules"]["VM1"]
    assert told["unfinished"] == "protect"
    assert told["sentence"] == (
        "VM1 is stopped on a; `twinhull protect VM1` was interrupted on a: run it again there"
    )
    ready.workers["VM1"].view = view(sentence="")
    assert ready.call("status_local")["modules"]["VM1"]["sentence"].startswith("`twinhull protect VM1`")
    ready.workers["VM1"].view = view(state="ALONE", sentence="it starts")
    assert ready.call("status_local")["modules"]["VM1"]["sentence"] == "it starts"


def test_without_a_worker_nothing_begins(ready: Scene) -> None:
    ready.workers["VM1"].view = None
    refused(ready, "does not run on this node")


def test_what_is_protected_is_not_protected_again(ready: Scene) -> None:
    ready.workers["VM1"].view = view(volume=True)
    refused(ready, "protected already")


def test_an_unreachable_peer_refuses(ready: Scene) -> None:
    ready.peer.answers["status_local"] = PeerUnreachableError("The agent of b does not answer.")
    refused(ready, "does not answer")


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({"config_digest": "other", "modules": {"VM1": READY}}, "another configuration"),
        ({"modules": {}}, "another configuration"),
        ({"modules": {"VM1": {**READY, "worker": {"alive": False}}}}, "does not run on b"),
        ({"modules": {"VM1": {**READY, "generation": "abcd"}}}, "already holds a volume"),
    ],
)
def test_a_peer_that_is_not_ready_refuses(ready: Scene, status: dict[str, Any], sentence: str) -> None:
    digest = ready.agent.cluster.digest()
    ready.peer.answers["status_local"] = {"config_digest": digest, **status}
    refused(ready, sentence)


def test_what_a_host_lacks_refuses_in_its_own_words(ready: Scene) -> None:
    ready.peer.answers["check_host"] = {"findings": [{"fatal": True, "sentence": "b has no network br0."}]}
    refused(ready, "b has no network br0. Nothing was changed.")


def test_wrong_arguments_are_refused_before_anything(ready: Scene) -> None:
    with pytest.raises(Exception, match="stop_vm"):
        ready.call("protect", module="VM1", stop_vm="yes")
    with pytest.raises(Exception, match="There is no module"):
        ready.call("protect", module="nobody")
    assert ready.audited() == []


def test_a_protection_that_fails_leaves_the_module_stopped(ready: Scene) -> None:
    ready.workers["VM1"].answer = {"ok": False, "sentence": "The disk of a is full."}
    job = ready.job("protect", module="VM1")
    assert not job.ok
    assert "full" in job.sentence
    assert ready.agent.wishes.get("VM1") is Wish.STOPPED


def test_the_host_is_checked_for_the_peer(agent: Scene) -> None:
    assert agent.call("check_host", module="VM1")["findings"] == []


def test_unprotecting_stops_the_second_replica_first(ready: Scene) -> None:
    worker = ready.workers["VM1"]
    worker.view, worker.after = view(state="PRIM"), view(state="STOP")
    asked: list[str] = []
    volume = ready.directory / "data" / "volumes" / "VM1"
    volume.mkdir(parents=True)

    def call(method: str, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked.append(method)
        worker.view = view(state="ALONE") if method == "part" else worker.view
        return {"path": "/var/lib/there"}

    ready.peer.call = call  # type: ignore[method-assign]
    job = ready.job("unprotect", module="VM1", target="/srv/out")
    assert job.ok, job.sentence
    assert "/srv/out" in job.sentence
    assert asked == ["part", "set_aside"]
    assert not volume.exists()
    assert [kept.name.startswith("VM1.released-") for kept in volume.parent.iterdir()] == [True]
    (stop,) = worker.sent
    assert stop["arguments"]["release"] == "/srv/out"
    assert ready.agent.wishes.get("VM1") is Wish.STOPPED


def test_unprotecting_what_does_not_run_here_is_refused(ready: Scene) -> None:
    job = ready.job("unprotect", module="VM1")
    assert "does not run on this node" in job.sentence
    assert ready.workers["VM1"].sent == []


def test_a_release_that_fails_leaves_the_wish_that_the_module_runs(ready: Scene) -> None:
    ready.workers["VM1"].view = view(state="ALONE")
    ready.workers["VM1"].answer = {"ok": False, "sentence": "The target is full; it runs on."}
    job = ready.job("unprotect", module="VM1", target="/srv/out")
    assert not job.ok
    assert ready.agent.wishes.get("VM1") is Wish.STARTED


def test_a_module_that_does_not_become_alone_stays_protected(
    ready: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protect, "WORKER_PATIENCE_S", 0.01)
    ready.workers["VM1"].view = view(state="PRIM")
    job = ready.job("unprotect", module="VM1")
    assert "did not become ALONE" in job.sentence
    assert ready.workers["VM1"].sent == []


# ---- what protecting left behind -------------------------------------------------------------------


class Moved:
    """A VM that was moved, and the files at its old place."""

    def __init__(self, *files: str, trouble: str = "") -> None:
        self.files, self.trouble = list(files), trouble

    def originals(self) -> list[str]:
        if self.trouble:
            raise ResourceError(self.trouble)
        return list(self.files)

    def remove_originals(self) -> list[str]:
        removed, self.files = self.files, []
        return removed


def moved(monkeypatch: pytest.MonkeyPatch, vm: Moved | None) -> None:
    monkeypatch.setattr(originals, "moves_of", lambda _agent, _module: vm)


def test_originals_are_told_and_removed_once_both_replicas_hold_the_vm(
    agent: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(monkeypatch, Moved("/images/web.img"))
    agent.workers["VM1"].view = view(state="PRIM", colour="green", resource_state="running")
    told = {"module": "VM1", "node": "a", "files": ["/images/web.img"], "keeps": ""}
    assert agent.call("originals", module="VM1") == told
    job = agent.job("originals", module="VM1", remove=True, by="anna")
    assert (job.ok, job.sentence) == (True, "Removed on a: /images/web.img.")
    assert agent.audited() == [("anna (anna)", "remove originals", "VM1")]
    job = agent.job("originals", module="VM1", remove=True)
    assert (job.ok, job.sentence) == (True, "VM1 has no original files on a any more.")


@pytest.mark.parametrize(
    ("state", "colour"), [("PRIM", "orange"), ("ALONE", "green"), ("SECOND", "green"), ("STOP", "red")]
)
def test_originals_are_kept_while_they_may_be_needed(
    agent: Scene, monkeypatch: pytest.MonkeyPatch, state: str, colour: str
) -> None:
    vm = Moved("/images/web.img")
    moved(monkeypatch, vm)
    agent.workers["VM1"].view = view(state=state, colour=colour)
    assert "VM1 is not mirrored from a" in agent.call("originals", module="VM1")["keeps"]
    job = agent.job("originals", module="VM1", remove=True)
    assert not job.ok and "VM1 is not mirrored from a" in job.sentence
    assert vm.files == ["/images/web.img"]


def test_why_originals_cannot_be_seen_is_told(agent: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    moved(monkeypatch, Moved(trouble="the VM has not run yet"))
    assert "the VM has not run yet" in agent.call("originals", module="VM1")["keeps"]
    moved(monkeypatch, None)
    assert "holds no VM" in agent.call("originals", module="VM1")["keeps"]
