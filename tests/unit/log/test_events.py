"""The event log of a host as a sink beside the file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from twinhull.log import setup_logging, write
from twinhull.log.events import EventSink


class FakeEvents:
    """An event log that may be full."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.closed = False
        self.full = False

    def error(self, text: str) -> None:
        """See Events."""
        self._may(text)
        self.errors.append(text)

    def warning(self, text: str) -> None:
        """See Events."""
        self._may(text)
        self.warnings.append(text)

    def _may(self, text: str) -> None:
        if self.full:
            raise OSError(f"no room for {text}")

    def close(self) -> None:
        """See Events."""
        self.closed = True


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> FakeEvents:
    made = FakeEvents()
    monkeypatch.setattr(write, "host_events", lambda: made)
    return made


def test_warnings_and_errors_reach_the_event_log_and_everything_the_file(
    tmp_path: Path, events: FakeEvents
) -> None:
    handle = setup_logging(tmp_path, "a", "VM1", stderr=False)
    log = logging.getLogger("twinhull.worker")
    log.info("quiet")
    log.warning("odd: password=%s", "hunter2")
    log.critical("broken\nforged")
    handle.close()
    assert events.warnings == ["WARNING a/VM1 odd: password=[hidden]"]
    assert events.errors == [r"CRITICAL a/VM1 broken\nforged"]
    assert events.closed
    assert len((tmp_path / "module-VM1.log").read_text().splitlines()) == 3


def test_an_event_log_that_is_full_harms_no_file(tmp_path: Path, events: FakeEvents) -> None:
    events.full = True
    handle = setup_logging(tmp_path, "a", stderr=False)
    logging.getLogger("twinhull.agent").error("one")
    logging.getLogger("twinhull.agent").error("two")
    handle.close()
    assert [line[-3:] for line in (tmp_path / "agent.log").read_text().splitlines()] == ["one", "two"]


def test_a_host_whose_event_log_is_not_there_logs_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise OSError("the event log service does not run")

    monkeypatch.setattr(write, "host_events", gone)
    handle = setup_logging(tmp_path, "a", stderr=False)
    logging.getLogger("twinhull.agent").error("one")
    handle.close()
    assert (tmp_path / "agent.log").read_text().endswith("one\n")


def test_a_process_without_standard_error_logs_and_goes_on_though_the_file_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: FakeEvents
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    for number in range(1, 6):
        (tmp_path / "log" / f"agent.log.{number}").mkdir(parents=True)  # no room to rotate to
    handle = setup_logging(tmp_path / "log", "a", file_bytes=1)  # each line rotates
    log = logging.getLogger("twinhull.agent")
    log.error("one")
    log.error("two")
    handle.close()
    assert [text[-3:] for text in events.errors] == ["one", "two"]


def test_a_sink_tells_nothing_below_a_warning() -> None:
    assert EventSink(FakeEvents()).level == logging.WARNING
