"""`twinhull protect` and `unprotect` of a VM of Hyper-V: the agent's own code, the real engine, two stand-in hosts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.attacher import FakeAttacher
from tests.integration.transport.support import Cluster
from tests.standin.windows_host import needs_engine
from tests.unit.agent import agent_scene
from tests.unit.agent.agent_scene import FakePeer, FakeSupervisor, Scene, cluster_text, view

from twinhull.agent import protect
from twinhull.config import ModuleConfig, NodeConfig, parse_cluster
from twinhull.errors import TwinhullError
from twinhull.worker import resource_parts

from .hyperv_node import FOLDER, HOME, LONG_S, HyperVNode

pytestmark = needs_engine
OLD = r"C:\VMs\web"
READY = {"worker": {"alive": True}, "generation": "-", "state": "STOP"}


class EngineWorker(FakeSupervisor):
    """A worker that does what the real one does on its host lane, and shows the rest."""

    def __init__(self, node: HyperVNode, own: NodeConfig, module: ModuleConfig) -> None:
        super().__init__(module.name)
        self._node = node
        attacher = FakeAttacher()
        attacher.attach(make=True)
        self.resource = resource_parts.build_resource(own, module, attacher, node.lines.append)
        moves = resource_parts.build_moves(own, module, self.resource, LONG_S, node.lines.append)
        assert moves is not None
        self._moves = moves

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        arguments = message["arguments"]
        try:
            if message["command"] == "start":
                self._node.mount()
                self._moves.adopt(stop_vm=arguments["stop_vm"])
                self.resource.start(resume=False)
                self.view = view(state="PRIM", colour="green", resource_state="running")
            else:
                self.resource.stop(mode="stop", timeout_s=LONG_S)
                self._moves.release(arguments["release"])
                self.view = view(state="STOP")
        except TwinhullError as error:
            self._node.mount_discarding()
            self.resource.leave()  # type: ignore[attr-defined]
            self._node.unmount()
            self.view = view(state="STOP", sentence=str(error), move_failure=self._moves.failure)
        return {"ok": True, "sentence": "done"}


class EnginePeer(FakePeer):
    """The other node's agent, which judges a VM by its own Hyper-V."""

    def __init__(self, scene: Scene, there: HyperVNode, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._scene = scene
        self._there = there
        self._monkeypatch = monkeypatch
        answer = {"config_digest": scene.agent.cluster.digest(), "modules": {"web": READY}}
        self.answers = {"status_local": answer, "stand_by": {}, "join": {}, "set_aside": {"path": r"C:\kept"}}

    def call(self, method: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        if method == "part":
            self._scene.workers["web"].view = view(state="ALONE", resource_state="running")
            return {}
        if method != "check_host":
            return super().call(method, arguments, **more)
        with self._monkeypatch.context() as patch:
            patch.setattr(resource_parts, "powershell", lambda: self._there.shells)
            return {"findings": protect.check_this_host(self._scene.agent, "web", arguments["definition"])}


@pytest.fixture
def scene(
    pair: tuple[HyperVNode, HyperVNode],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    """The agent of node a, on the first of two Hyper-V hosts."""
    one, two = pair
    monkeypatch.setattr(protect, "POLL_S", 0.001)
    monkeypatch.setattr(agent_scene, "PATIENCE_S", LONG_S)
    monkeypatch.setattr(protect, "check_folder", lambda *_: None)  # it knows paths of this machine alone
    monkeypatch.setattr(resource_parts, "powershell", lambda: one.shells)
    made = Scene(Cluster(tmp_path_factory.mktemp("c1")), tmp_path, "web")
    text = cluster_text(tmp_path).replace(
        "modules: {}",
        rf"modules: {{web: {{number: 1, folder: '{FOLDER}', size: 2 GiB, resource: {{kind: hyperv}}}}}}",
    )
    made.agent.cluster = parse_cluster(text)
    module = made.agent.cluster.module("web")
    made.agent.supervisors["web"] = made.workers["web"] = EngineWorker(one, made.agent.node, module)  # type: ignore[assignment]
    made.agent.peer = made.peer = EnginePeer(made, two, monkeypatch)  # type: ignore[assignment]
    return made


def test_a_vm_is_protected_and_unprotected_by_the_agent(
    scene: Scene, pair: tuple[HyperVNode, HyperVNode], tmp_path: Path
) -> None:
    one, _ = pair
    identifier = one.make_vm(place=OLD)
    one.type("Start-VM", Name="web")
    refused = scene.job("protect", module="web")
    assert "The VM of web runs." in refused.sentence
    assert one.windows.calls("Move-VMStorage") == []

    protected = scene.job("protect", module="web", stop_vm=True)
    assert protected.ok, protected.sentence
    vm = one.windows.vm("web")
    assert (vm["Id"], vm["ConfigurationLocation"], vm["State"]) == (identifier, HOME, "Running")

    (tmp_path / "data" / "volumes" / "web").mkdir(parents=True)
    released = scene.job("unprotect", module="web", target=str(tmp_path / "back"))
    assert released.ok, released.sentence
    vm = one.windows.vm("web")
    assert (vm["Id"], vm["State"]) == (identifier, "Off")
    assert vm["ConfigurationLocation"].endswith("back")


def test_what_the_other_host_lacks_refuses_before_anything_is_changed(
    scene: Scene, pair: tuple[HyperVNode, HyperVNode]
) -> None:
    one, two = pair
    one.make_vm(place=OLD)
    two.windows.edit(lambda state: state.update(switches={}, supportedVersions=["8.0"]))
    job = scene.job("protect", module="web")
    assert not job.ok
    for words in (
        "there is no virtual switch External",
        "configuration version 10.0",
        "Nothing was changed.",
    ):
        assert words in f"{job.sentence} {job.remedy}"
    assert one.windows.vm("web")["ConfigurationLocation"] == OLD
    assert one.windows.calls("Move-VMStorage") == []


def test_a_move_that_fails_says_how_the_vm_is_started_where_it_was(
    scene: Scene, pair: tuple[HyperVNode, HyperVNode]
) -> None:
    one, _ = pair
    one.make_vm(place=OLD)
    one.windows.edit(lambda state: state.update(freeBytes={FOLDER: 1024}))
    job = scene.job("protect", module="web")
    assert not job.ok
    assert "was not moved" in job.sentence
    assert "`Start-VM -Name 'web'` starts it" in job.sentence
    assert one.windows.vm("web")["ConfigurationLocation"] == OLD


def test_a_vm_that_was_moved_but_does_not_start_is_protected_by_the_next_run(
    scene: Scene, pair: tuple[HyperVNode, HyperVNode]
) -> None:
    one, _ = pair
    identifier = one.make_vm(place=OLD)
    one.windows.fault("Start-VM", error={"message": "not enough memory (0x8007000E)"})
    failed = scene.job("protect", module="web")
    assert not failed.ok
    assert "not enough memory" in failed.sentence
    assert "run `twinhull protect web` again" in failed.sentence
    assert one.vm_state() == "", "its registration was removed when its folder was given back"
    one.windows.heal()
    scene.workers["web"].view = view()
    again = scene.job("protect", module="web")
    assert again.ok, again.sentence
    vm = one.windows.vm("web")
    assert (vm["Id"], vm["State"], vm["ConfigurationLocation"]) == (identifier, "Running", HOME)
