"""What may be asked of an agent, by whom; and that what is refused changes nothing."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.agent_scene import OWN, PEER, PERSON, Scene, cluster_text, gone, view

from twinhull.agent.desired import Wish
from twinhull.agent.methods import PEER_METHODS
from twinhull.config import parse_cluster
from twinhull.errors import ConfigError, PeerUnreachableError, UsageError, WitnessError
from twinhull.log import read_audit
from twinhull.transport.control import Caller, RemoteError
from twinhull.transport.tls import Role

WRONG_COMMANDS: list[dict[str, Any]] = [
    {},
    {"module": 7, "command": "start"},
    {"module": "VM1", "command": ["start"]},
    {"module": "VM1", "command": "explode"},
    {"module": "nobody", "command": "start"},
    {"module": "VM1", "command": "start", "as_primary": "yes"},
    {"module": "VM1", "command": "start", "without_witness": True},
    {"module": "VM1", "command": "stop", "forced": 1},
    {"module": "VM1", "command": "swap", "mode": "gently"},
    {"module": "VM1", "command": "swap", "mode": ["stop"]},
]


# ---- who may what ------------------------------------------------------------------------------------


def test_the_peer_may_call_only_what_is_meant_for_it(agent: Scene) -> None:
    for name in set(agent.table) - PEER_METHODS:
        with pytest.raises(UsageError, match="may not call"):
            agent.call(name, PEER, module="VM1")
    assert agent.call("status_local", PEER)["reachable"]


def test_the_nodes_own_certificate_counts_as_an_operator_only_on_the_node_itself(agent: Scene) -> None:
    assert agent.call("status", OWN)["node"] == "a"
    with pytest.raises(UsageError, match="may not call status"):
        agent.call("status", Caller("a", Role.NODE, "10.77.1.2"))


def test_messages_are_passed_on_for_the_peer_alone(agent: Scene) -> None:
    agent.call("tell", PEER, module="VM1", message="{}")
    assert agent.workers["VM1"].sent == [{"op": "told", "message": "{}"}]
    with pytest.raises(UsageError, match="Only the peer"):
        agent.call("tell", PERSON, module="VM1", message="{}")
    with pytest.raises(UsageError, match="too long"):
        agent.call("tell", PEER, module="VM1", message="x" * 100_000)
    agent.call("tell", PEER, module="nobody", message="{}")
    assert len(agent.workers["VM1"].sent) == 1


# ---- commands ----------------------------------------------------------------------------------------


def test_a_command_reaches_the_worker_and_is_audited_with_who(agent: Scene) -> None:
    agent.workers["VM1"].after = view(state="ALONE", resource_state="running")
    job = agent.job("command", module="VM1", command="start", as_primary=True, by="anna at laptop")
    assert (job.ok, job.sentence) == (True, "VM1 runs on a.")
    assert agent.workers["VM1"].sent == [
        {"op": "command", "command": "start", "arguments": {"as_primary": True}}
    ]
    assert agent.audited() == [("anna at laptop (anna)", "start", "VM1")]
    assert read_audit(agent.directory / "log" / "audit.log")[0].details == {"as_primary": "True"}
    assert agent.agent.wishes.get("VM1") is Wish.STARTED


def test_a_start_without_the_witness_is_passed_on_and_audited_as_such(agent: Scene) -> None:
    agent.workers["VM1"].after = view(state="ALONE", resource_state="running")
    asked: dict[str, Any] = {"module": "VM1", "command": "start", "as_primary": True, "without_witness": True}
    assert agent.job("command", **asked).ok
    assert agent.workers["VM1"].sent[-1]["arguments"] == {"as_primary": True, "without_witness": True}
    details = read_audit(agent.directory / "log" / "audit.log")[0].details
    assert details == {"as_primary": "True", "without_witness": "True"}
    assert any(
        "Make sure that the other node is off" in line for line in agent.call("danger", **asked)["lines"]
    )


def test_a_reset_of_the_witness_reaches_the_worker_and_is_audited(agent: Scene) -> None:
    assert agent.job("command", module="VM1", command="witness-reset").ok
    assert agent.workers["VM1"].sent == [{"op": "command", "command": "witness-reset", "arguments": {}}]
    assert agent.audited() == [("anna", "witness-reset", "VM1")]
    assert agent.agent.wishes.get("VM1") is Wish.BOOT
    assert "written anew" in agent.call("danger", module="VM1", command="witness-reset")["lines"][0]


def test_without_a_witness_with_a_memory_there_is_nothing_to_show(agent: Scene) -> None:
    with pytest.raises(UsageError, match="has no witness with a memory: its kind is none"):
        agent.call("witness", module="VM1")
    with pytest.raises(UsageError, match="There is no module"):
        agent.call("witness", module="nobody")


def etcd(agent: Scene) -> str:
    files = ", ".join(f"{key}: {agent.directory}/{key}.pem" for key in ("ca", "cert", "key"))
    return agent.cluster_file.read_text() + (
        f"witness: {{kind: etcd, endpoints: ['https://192.0.2.9:1'], {files}, timeout: 0.5}}\n"
    )


def test_certificates_of_the_witness_that_this_node_lacks_are_refused_before_anything_is_applied(
    agent: Scene,
) -> None:
    before = agent.cluster_file.read_text()
    with pytest.raises(ConfigError, match="certificates of the etcd witness cannot be used"):
        agent.call("config_apply", text=etcd(agent))
    with pytest.raises(ConfigError, match="certificates of the etcd witness cannot be used"):
        agent.call("config_store", PEER, text=etcd(agent))
    assert agent.cluster_file.read_text() == before


def test_a_witness_that_cannot_be_asked_says_so_with_its_own_code(agent: Scene) -> None:
    agent.agent.cluster = parse_cluster(etcd(agent))
    with pytest.raises(WitnessError, match=r"192\.0\.2\.9:1 cannot be reached"):
        agent.call("witness", module="VM1")


@pytest.mark.parametrize("arguments", WRONG_COMMANDS, ids=str)
def test_a_wrong_command_is_refused_and_changes_nothing(agent: Scene, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        agent.call("command", **arguments)
    assert agent.workers["VM1"].sent == []
    assert agent.agent.wishes.get("VM1") is Wish.BOOT
    assert agent.audited() == []


def test_a_command_that_the_module_refuses_fails_with_its_sentence(agent: Scene) -> None:
    agent.workers["VM1"].answer = {"ok": False, "sentence": "VM1 is busy."}
    job = agent.job("command", module="VM1", command="swap", mode="save")
    assert (job.ok, job.sentence, job.as_json()["exit_code"]) == (False, "VM1 is busy.", 2)


def test_a_stop_that_is_refused_leaves_the_wish_that_it_runs(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    agent.workers["VM1"].answer = {"ok": False, "sentence": "The guest did not stop; it runs on."}
    assert not agent.job("command", module="VM1", command="stop").ok
    assert agent.agent.wishes.get("VM1") is Wish.STARTED


def test_a_stop_is_wished_also_when_the_worker_is_lost_meanwhile(agent: Scene) -> None:
    agent.agent.wishes.set("VM1", Wish.STARTED)
    agent.workers["VM1"].answer = gone()
    job = agent.job("command", module="VM1", command="stop")
    assert (job.ok, job.exit_code) == (False, 9)
    assert agent.agent.wishes.get("VM1") is Wish.STOPPED


def test_a_module_whose_worker_is_not_watched_yet_says_so(agent: Scene) -> None:
    del agent.agent.supervisors["VM1"]
    assert "No worker of VM1 is watched" in agent.job("command", module="VM1", command="stop").sentence
    assert agent.call("status_local")["modules"]["VM1"]["worker"]["alive"] is False


def test_an_unknown_job_is_refused(agent: Scene) -> None:
    with pytest.raises(UsageError, match="does not know that job"):
        agent.call("job", id="0")
    job = agent.job("command", module="VM1", command="restart")
    assert agent.call("job", id=job.id)["done"]


# ---- status ------------------------------------------------------------------------------------------


def test_the_status_shows_both_nodes_and_what_only_their_comparison_shows(agent: Scene) -> None:
    theirs = {**agent.call("status_local"), "config_digest": "another"}
    agent.peer.answers["status_local"] = theirs
    status = agent.call("status")
    assert list(status["nodes"]) == ["a", "b"]
    assert "different configurations" in status["warnings"][0]
    json.dumps(status)


def test_a_peer_that_does_not_answer_is_shown_as_unreachable(agent: Scene) -> None:
    assert agent.call("status")["nodes"]["b"]["reachable"] is False


def test_the_status_is_there_also_without_certificates_and_workers(agent: Scene, tmp_path: Path) -> None:
    object.__setattr__(agent.agent.node, "pki_dir", tmp_path / "nothing")
    agent.workers["VM1"].view = None
    agent.workers["VM1"].trouble = "its disk is missing"
    status = agent.call("status_local")
    assert "its disk is missing" in status["modules"]["VM1"]["sentence"]
    assert status["certificate"] is None


def test_what_a_silent_worker_showed_last_is_not_shown_as_the_present(agent: Scene) -> None:
    agent.workers["VM1"].view = view(state="PRIM", colour="green")
    agent.workers["VM1"].hushed = "it has been silent for 9 s"
    module = agent.call("status_local")["modules"]["VM1"]
    assert (module["state"], module["colour"], module["uptodate"]) == ("STOP", "red", False)
    assert module["sentence"] == (
        "The worker of this module does not answer on this node: it has been silent for 9 s."
    )


def test_a_module_that_runs_alone_shows_since_when_and_how_much(agent: Scene) -> None:
    agent.workers["VM1"].view = view(state="ALONE", alone_since_s=12.0, marked_bytes=4096)
    shown = agent.call("status_local")["modules"]["VM1"]
    assert shown["unprotected"] == {"since_s": 12.0, "bytes": 4096}


# ---- danger ------------------------------------------------------------------------------------------


def test_danger_is_told_from_what_both_nodes_show(agent: Scene) -> None:
    agent.workers["VM1"].view = view(state="PRIM", generation="abc", uptodate=False)
    lines = agent.call("danger", module="VM1", command="start", as_primary=True)["lines"]
    assert "NOT uptodate" in lines[0]
    assert "two histories" in lines[1]
    agent.peer.answers["status_local"] = {"modules": {"VM1": {"state": "SECOND", "colour": "green"}}}
    assert "starts on the other node" in agent.call("danger", module="VM1", command="stop")["lines"][0]
    agent.workers["VM1"].view = view(state="SECOND")
    assert "without a second copy" in agent.call("danger", module="VM1", command="stop")["lines"][0]
    agent.peer.answers.clear()
    agent.workers["VM1"].view = view(state="ALONE")
    assert "no other node" in agent.call("danger", module="VM1", command="stop")["lines"][0]
    blank = agent.call("danger", module="VM1", command="start", as_primary=True)["lines"]
    assert "new, empty volume" in blank[0]
    assert agent.call("danger", module="VM1", command="protect")["lines"]
    assert agent.call("danger", module="VM1", command="unprotect")["lines"]
    assert agent.call("danger", module="VM1", command="restart")["lines"] == []


# ---- logs --------------------------------------------------------------------------------------------


def test_logs_are_paged_and_wrong_arguments_are_refused(agent: Scene) -> None:
    line = "2026-11-22T10:00:00.000+00:00 INFO a/VM1 it runs\n"
    (agent.directory / "log" / "module-VM1.log").write_text(line * 3)
    page = agent.call("logs", module="VM1", limit=2)
    assert [seen["text"] for seen in page["lines"]] == ["it runs"] * 2
    assert agent.call("logs", after=page["next"])["lines"] == []
    wrong: list[dict[str, Any]] = [
        {"after": "../../etc/passwd"},
        {"limit": -1},
        {"limit": "many"},
        {"limit": [1]},
        {"module": "../agent"},
    ]
    for arguments in wrong:
        with pytest.raises(UsageError):
            agent.call("logs", **arguments)


# ---- configuration -----------------------------------------------------------------------------------


def test_a_configuration_is_stored_on_the_peer_first_and_then_here(agent: Scene) -> None:
    agent.peer.answers["config_store"] = {}
    agent.cluster_file.chmod(0o640)
    text = cluster_text(agent.directory, "VM1", "VM2", "VM3")
    answer = agent.call("config_apply", text=text)
    assert answer["changed"]
    assert [change["path"] for change in answer["changes"]] == ["modules.VM3"]
    assert agent.peer.calls[-1] == ("config_store", {"text": text})
    assert agent.cluster_file.read_text() == text
    assert agent.cluster_file.stat().st_mode & 0o777 == 0o640
    assert set(agent.agent.supervisors) == {"VM1", "VM2", "VM3"}
    assert [what for _, what, _ in agent.audited()] == ["config apply"]
    assert [path.name for path in agent.directory.iterdir() if "part" in path.name] == []


def test_a_dry_run_and_a_wrong_configuration_change_nothing(agent: Scene) -> None:
    before = agent.cluster_file.read_text()
    assert agent.call("config_apply", text=cluster_text(agent.directory, "VM1"), dry_run=True)["warnings"]
    with pytest.raises(ConfigError):
        agent.call("config_apply", text="cluster: [")
    agent.workers["VM1"].view = view(volume=True)
    with pytest.raises(ConfigError, match="cannot be made larger"):
        agent.call("config_apply", text=cluster_text(agent.directory, "VM1", "VM2", size="2 GiB"))
    assert agent.cluster_file.read_text() == before
    assert "config_store" not in [method for method, _ in agent.peer.calls]


def test_a_peer_with_another_configuration_is_told_of_before_and_taken_along(agent: Scene) -> None:
    text = agent.cluster_file.read_text()
    agent.peer.answers |= {"status_local": {"config_digest": "another"}, "config_store": {}}
    planned = agent.call("config_apply", text=text, dry_run=True)
    assert (planned["changes"], planned["peer"], planned["peer_digest"]) == ([], "b", "another")
    agent.call("config_apply", text=text)
    assert agent.peer.calls[-1] == ("config_store", {"text": text})
    agent.peer.answers["status_local"] = {"config_digest": agent.agent.cluster.digest()}
    assert agent.call("config_apply", text=text, dry_run=True)["peer_digest"] == ""


def test_the_size_of_a_volume_that_no_worker_speaks_for_is_kept_too(agent: Scene) -> None:
    agent.workers["VM1"].view = None
    directory = agent.directory / "data" / "volumes" / "VM1"
    directory.mkdir(parents=True)
    (directory / "meta.bin").touch()
    with pytest.raises(ConfigError, match="cannot be made larger"):
        agent.call("config_apply", text=cluster_text(agent.directory, "VM1", "VM2", size="2 GiB"))


def test_what_the_peer_refuses_is_applied_on_no_node(agent: Scene) -> None:
    before = agent.cluster_file.read_text()
    agent.peer.answers["config_store"] = RemoteError("VM2 runs there.", "Stop it.", 3, "ConfigError")
    with pytest.raises(
        ConfigError, match=r"b refuses the configuration: VM2 runs there.*Nothing was applied"
    ):
        agent.call("config_apply", text=cluster_text(agent.directory, "VM1"))
    assert agent.cluster_file.read_text() == before
    assert set(agent.agent.supervisors) == {"VM1", "VM2"}
    assert [path.name for path in agent.directory.iterdir() if "part" in path.name] == []


def test_an_unreachable_peer_is_warned_of(agent: Scene) -> None:
    warnings = agent.call("config_apply", text=cluster_text(agent.directory, "VM1"))["warnings"]
    assert any("apply it there when it is back" in warning for warning in warnings)
    assert set(agent.agent.supervisors) == {"VM1"}
    assert agent.workers["VM2"].closed == [True]


def test_two_changes_at_once_are_refused(agent: Scene) -> None:
    other = cluster_text(agent.directory, "VM1")

    class MeanwhileError(PeerUnreachableError):
        pass

    def call(method: str, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        with pytest.raises(UsageError, match="Another configuration is being applied"):
            agent.call("config_store", PEER, text=other)
        raise MeanwhileError("not there")

    agent.peer.call = call  # type: ignore[method-assign]
    agent.call("config_apply", text=other)
    agent.call("config_store", PEER, text=other)


def test_the_peer_hands_over_a_configuration(agent: Scene) -> None:
    text = cluster_text(agent.directory, "VM1")
    agent.call("config_store", PEER, text=text)
    assert agent.call("config_show", PEER)["digest"] == agent.agent.cluster.digest()
    assert agent.cluster_file.read_text() == text
    assert [(who, what) for who, what, _ in agent.audited()] == [("b", "config store")]


def test_a_changed_module_takes_effect_when_it_is_stopped(agent: Scene) -> None:
    agent.peer.answers["config_store"] = {}
    agent.workers["VM2"].view = view(state="ALONE")
    old = dict(agent.workers)
    text = cluster_text(agent.directory, "VM1", "VM2", more="preferred: a")
    agent.call("config_apply", text=text)
    assert old["VM1"].closed == [True]
    assert old["VM2"].closed == []
    agent.workers["VM2"].view = view()
    agent.agent.replacing.do_what_is_due()
    assert old["VM2"].closed == [True]


# ---- the peer's wishes -------------------------------------------------------------------------------


def test_the_peer_may_have_a_second_replica_join_and_part(agent: Scene) -> None:
    agent.call("join", PEER, module="VM1")
    assert agent.agent.wishes.get("VM1") is Wish.STARTED
    with pytest.raises(UsageError, match="not the second replica"):
        agent.call("part", PEER, module="VM1")
    agent.workers["VM1"].view = view(state="SECOND")
    agent.call("part", PEER, module="VM1")
    assert agent.agent.wishes.get("VM1") is Wish.STOPPED
    assert [message["command"] for message in agent.workers["VM1"].sent] == ["start", "stop"]
    assert agent.audited() == [("b", "join", "VM1"), ("b", "part", "VM1")]
    for method in ("join", "part", "stand_by", "check_host"):
        with pytest.raises(UsageError, match="There is no module"):
            agent.call(method, PEER, module="nobody")


def test_a_replica_with_content_does_not_stand_by(agent: Scene) -> None:
    agent.workers["VM1"].view = view(generation="abcd")
    with pytest.raises(UsageError, match="with content"):
        agent.call("stand_by", PEER, module="VM1")
    agent.workers["VM1"].view = view()
    assert "is stopped" in agent.call("stand_by", PEER, module="VM1")["sentence"]
    agent.workers["VM1"].view = view(state="WAIT")
    agent.call("stand_by", PEER, module="VM1")
    assert agent.workers["VM1"].sent[-1]["command"] == "stop"


# ---- support -----------------------------------------------------------------------------------------


def fetch(agent: Scene, job: str) -> tarfile.TarFile:
    data, size = b"", 1
    while len(data) < size:
        piece = agent.call("snapshot_read", job=job, offset=len(data))
        data, size = data + base64.b64decode(piece["data_base64"]), piece["size"]
    return tarfile.open(fileobj=io.BytesIO(data))


def test_a_snapshot_holds_configuration_logs_and_states_and_never_a_key(agent: Scene) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"
    (agent.directory / "log" / "agent.log").write_text(f"before\n{key}\nafter\n")
    job = agent.job("snapshot")
    with fetch(agent, job.id) as archive:
        names = archive.getnames()
        texts = {name: archive.extractfile(name).read().decode() for name in names}  # type: ignore[union-attr]
    assert {
        "twinhull-snapshot/cluster.yml",
        "twinhull-snapshot/node.yml",
        "twinhull-snapshot/status.json",
    } <= set(names)
    assert texts["twinhull-snapshot/logs/agent.log"] == "before\n[a private key was here]\nafter\n"
    assert not any("PRIVATE KEY" in text or "c2VjcmV0" in text for text in texts.values())
    assert job.archive is not None
    assert job.archive.stat().st_mode & 0o777 == 0o600
    assert job.as_json()["result"] == {"size_bytes": job.archive.stat().st_size, "anonymised": False}


def test_an_anonymous_snapshot_names_nobody(agent: Scene) -> None:
    job = agent.job("snapshot", anonymise=True)
    with fetch(agent, job.id) as archive:
        status = archive.extractfile("twinhull-snapshot/status.json").read().decode()  # type: ignore[union-attr]
    assert "VM1" not in status
    assert "module-1" in status


def test_a_snapshot_that_is_gone_or_never_was_is_refused(agent: Scene) -> None:
    job = agent.job("snapshot")
    for offset in (-1, "0", [0]):
        with pytest.raises(UsageError, match="offset"):
            agent.call("snapshot_read", job=job.id, offset=offset)
    assert job.archive is not None
    job.archive.unlink()
    with pytest.raises(UsageError, match="is gone"):
        agent.call("snapshot_read", job=job.id)
    other = agent.job("command", module="VM1", command="restart")
    with pytest.raises(UsageError, match="has made no archive"):
        agent.call("snapshot_read", job=other.id)
