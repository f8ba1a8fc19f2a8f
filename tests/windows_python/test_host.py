"""What a service needs of its host: the directory that belongs to no user, the event log, a log that nobody else reads."""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

import winreg

from twinhull.agent import snapshot
from twinhull.config.paths import usual
from twinhull.log import setup_logging
from twinhull.transport.listener import Listener
from twinhull.windows import acl, eventlog
from twinhull.windows.folders import program_data


def test_the_configuration_is_found_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ProgramData", r"C:\users\Public")
    assert program_data() == Path(r"C:\ProgramData")
    assert usual("/etc/twinhull/node.yml", "node.yml") == Path(r"C:\ProgramData\Twinhull\node.yml")


def test_the_event_log_takes_what_the_log_takes_and_holds_no_file_of_ours(tmp_path: Path) -> None:
    handle = setup_logging(tmp_path / "log", "a")
    logging.getLogger("twinhull.agent").error("quite broken: %s", "日本 \\ ü")
    handle.close()
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, eventlog.KEY) as key:
        assert winreg.QueryValueEx(key, "EventMessageFile")[0] == r"%SystemRoot%\System32\EventCreate.exe"
    log = eventlog.EventLog()
    log.report(eventlog.Kind.WARNING, "x" * 100_000)
    log.close()
    log.close()


def test_a_log_directory_that_is_made_is_private(tmp_path: Path) -> None:
    setup_logging(tmp_path / "log", "a").close()
    assert "(A;OICI;FA;;;SY)" in acl.dacl(tmp_path / "log")


def test_the_service_started_by_a_person_says_who_starts_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "twinhull.agent.windows_service"], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 1
    assert "sc.exe start twinhull-agent" in ran.stderr


def test_an_archive_for_support_asks_windows_and_has_our_events() -> None:
    assert snapshot.FACTS is snapshot.WINDOWS_FACTS
    assert f"'{eventlog.SOURCE}'" in snapshot.FACTS["events.txt"][-1]
    assert "not available" not in snapshot._fact(("ipconfig.exe", "/all"))


def test_an_address_that_is_not_there_keeps_no_agent_from_starting() -> None:
    clock = iter(range(1000))
    door = Listener(
        "10.255.255.1", 7410, context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cluster="c", names=None,
        log=logging.getLogger("twinhull.test"), clock=lambda: float(next(clock)),
    )  # fmt: skip
    assert door.accept() == [] and door.wait(0.01) == []
    door.close()
