"""The systemd unit keeps the agent running and never takes a module's worker down with it."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from twinhull import agent

UNIT = Path(agent.__file__).with_name("twinhull-agent.service")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Restart", "always"),
        ("KillMode", "process"),
        ("Type", "notify"),
        ("OOMPolicy", "continue"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("ExecStart", "twinhull agent run"),
    ],
)
def test_workers_outlive_the_agent_and_the_agent_comes_back(key: str, value: str) -> None:
    assert unit()["Service"][key] == value


def test_a_hung_agent_is_noticed_and_memory_pressure_spares_it() -> None:
    service = unit()["Service"]
    assert 0 < int(service["WatchdogSec"]) <= 60
    assert int(service["OOMScoreAdjust"]) < -900
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_service_shares_the_hosts_mounts() -> None:
    own_namespace = {
        "PrivateTmp",
        "PrivateMounts",
        "ProtectSystem",
        "ProtectHome",
        "ReadOnlyPaths",
        "PrivateDevices",
    }
    assert not own_namespace & set(unit()["Service"])


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return parser
