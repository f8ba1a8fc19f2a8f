"""Whatever the peer's heartbeats, an operator's client or the peer ask of an agent."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.agent.agent_scene import PEER, PERSON, Scene
from tests.unit.fuzzing import HUGE_NUMBER, TOO_DEEP, json_values, odd_objects

from twinhull.agent.agent import read_beat
from twinhull.errors import TwinhullError
from twinhull.log import read_audit

FIXTURE = [HealthCheck.function_scoped_fixture]
MEMBERS = (
    "module", "command", "id", "message", "text", "digest", "offset", "job", "repair", "source", "abandon",
    "forced", "as_primary", "mode", "limit", "after", "domain", "target", "stop_vm", "by", "dry_run", "anonymise",
)  # fmt: skip
HARMLESS = (
    "status_local", "danger", "logs", "config_show", "config_apply", "config_store", "job", "snapshot_read",
    "tell", "stand_by", "command", "verify", "set_aside",
)  # fmt: skip
"""What ends at once here; the others begin jobs in threads, after the same reading of their arguments."""

beats = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps({"modules": value}).encode()),
    odd_objects("worker", "beat", "dead").map(lambda said: json.dumps({"modules": {"VM1": said}}).encode()),
    odd_objects("process", "counter", "echo_process", "echo", "session", "state").map(
        lambda beat: json.dumps({"modules": {"VM1": {"worker": True, "beat": beat, "dead": None}}}).encode()
    ),
    json_values.map(
        lambda dead: json.dumps({"modules": {"VM1": {"worker": True, "beat": None, "dead": dead}}}).encode()
    ),
    st.sampled_from([TOO_DEEP.encode(), HUGE_NUMBER.encode()]),
)


@settings(max_examples=400)
@given(beats)
def test_any_heartbeat_is_read_or_refused(payload: bytes) -> None:
    try:
        said = read_beat(payload)
    except ValueError as error:
        assert str(error)
    else:
        assert all(isinstance(message, dict) for messages in said.values() for message in messages)


@settings(max_examples=300, suppress_health_check=FIXTURE)
@given(
    name=st.sampled_from(HARMLESS),
    caller=st.sampled_from([PERSON, PEER]),
    arguments=odd_objects(*MEMBERS),
    of_vm1=st.booleans(),
)
def test_any_arguments_of_any_method_are_taken_or_refused(
    agent: Scene, name: str, caller: Any, arguments: dict[str, Any], of_vm1: bool
) -> None:
    logging.disable(logging.CRITICAL)
    try:
        agent.call(name, caller, **{**arguments, **({"module": "VM1"} if of_vm1 else {})})
    except (TwinhullError, ValueError) as error:
        assert str(error)
    finally:
        logging.disable(logging.NOTSET)


lines = st.one_of(
    st.binary(max_size=60),
    json_values.map(lambda value: json.dumps(value).encode()),
    odd_objects("time", "who", "command", "module", "details", "outcome").map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from([TOO_DEEP.encode(), HUGE_NUMBER.encode()]),
)


@settings(suppress_health_check=FIXTURE)
@given(st.lists(lines, max_size=4))
def test_any_audit_log_can_be_read(tmp_path: Path, written: list[bytes]) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(b"\n".join(written))
    assert isinstance(read_audit(file), list)


def test_the_methods_that_are_fuzzed_exist(agent: Scene) -> None:
    assert set(HARMLESS) <= set(agent.table)


@pytest.mark.parametrize("payload", [b'{"modules":{"VM1":{"worker":1,"beat":null,"dead":null}}}', b"{}"])
def test_a_beat_of_another_form_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="another form"):
        read_beat(payload)
