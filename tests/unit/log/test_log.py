"""The log never makes a writer wait, forges nothing, hides secrets, and is read back in order."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from twinhull.log import AuditLog, Log, LogHandle, clean, module_file, read_audit, read_logs, setup_logging

PART = "test"


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[LogHandle]:
    handle = setup_logging(tmp_path, "a", "VM1", stderr=False, level=logging.DEBUG)
    yield handle
    handle.close()


def texts(log_dir: Path, module: str | None = None, limit: int = 1000) -> list[str]:
    return [line.text for line in read_logs(log_dir, module, limit=limit).lines]


def test_a_line_carries_time_level_node_and_module(handle: LogHandle, tmp_path: Path) -> None:
    log = Log("a", "VM1", PART)
    log.warning("the disk is %d %% full", 86)
    Log("a", None, PART).info("no module")
    handle.close()
    first, second = read_logs(tmp_path).lines
    assert (first.level, first.node, first.module, first.text) == (
        "WARNING",
        "a",
        "VM1",
        "the disk is 86 % full",
    )
    assert first.time.endswith("+00:00")
    assert second.module is None


def test_an_exception_stays_on_one_line(handle: LogHandle, tmp_path: Path) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        Log("a", "VM1", PART).exception("it failed")
    handle.close()
    (text,) = texts(tmp_path)
    assert text.startswith("it failed\\nTraceback")
    assert text.endswith("ValueError: broken")


def test_a_guests_output_cannot_forge_a_line(handle: LogHandle, tmp_path: Path) -> None:
    Log("a", "VM1", PART).info("said: %s", "x\n2026-01-01T00:00:00+00:00 ERROR a/VM1 forged\x1b[2J")
    handle.close()
    (text,) = texts(tmp_path)
    assert text == "said: x\\n2026-01-01T00:00:00+00:00 ERROR a/VM1 forged\\x1b[2J"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("password=hunter2 next", "password=[hidden] next"),
        ("CHAP: abc", "CHAP: [hidden]"),
        ("-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----.", "[hidden]."),
        ("-----BEGIN PRIVATE KEY-----\nMIG", "[hidden]"),
        ("the secret garden", "the secret garden"),
    ],
)
def test_secrets_are_hidden(text: str, hidden: str) -> None:
    assert clean(text) == hidden


def test_a_disk_that_hangs_makes_no_writer_wait_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    handle = setup_logging(tmp_path, "a", stderr=False, queue_lines=2)
    stuck, go_on = threading.Event(), threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stuck.set()
            go_on.wait(30)

    handle._listener.handlers = (Hanging(), *handle._listener.handlers)
    log = Log("a", None, PART)
    log.info("taken by the writing thread")
    assert stuck.wait(30)
    for number in range(10):
        log.info("line %d", number)
    assert handle.dropped == 8
    go_on.set()
    handle._listener.queue.join()  # type: ignore[attr-defined]
    log.info("after")
    handle.close()
    told = texts(tmp_path)
    assert told[:3] == ["taken by the writing thread", "line 0", "line 1"]
    assert "8 lines were dropped because the log could not keep up" in told
    assert told[-1] == "after"


def test_a_log_that_cannot_be_written_is_told_once_and_harms_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = setup_logging(tmp_path / "d", "a", stderr=False, file_bytes=1)
    (tmp_path / "d" / "agent.log").unlink()
    (tmp_path / "d").rmdir()
    log = Log("a", None, PART)
    for number in range(3):
        log.info("line %d", number)
    handle.close()
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_logs_of_agent_and_modules_are_merged_by_time_and_filtered(tmp_path: Path) -> None:
    write(tmp_path, None, [(1, "agent starts", None), (4, "about VM1", "VM1"), (6, "about VM2", "VM2")])
    write(tmp_path, "VM1", [(2, "one", "VM1"), (5, "two", "VM1")])
    write(tmp_path, "VM2", [(3, "other", "VM2")])
    assert texts(tmp_path) == ["agent starts", "one", "other", "about VM1", "two", "about VM2"]
    assert texts(tmp_path, "VM1") == ["one", "about VM1", "two"]
    assert texts(tmp_path, limit=2) == ["two", "about VM2"]
    assert texts(tmp_path, "VM9") == []


def write(
    log_dir: Path, module: str | None, lines: Sequence[tuple[int, str, str | None]], suffix: str = ""
) -> None:
    with (log_dir / (module_file(module) + suffix)).open("a") as file:
        for second, text, about in lines:
            file.write(f"2026-01-01T00:00:{second:02}.000+00:00 INFO a/{about or '-'} {text}\n")


def test_following_goes_on_where_it_ended_also_across_a_rotation(tmp_path: Path) -> None:
    write(tmp_path, "VM1", [(1, "one", "VM1"), (2, "two", "VM1")])
    page = read_logs(tmp_path)
    assert read_logs(tmp_path, after=page.next) == ([], page.next)
    write(tmp_path, "VM1", [(3, "three", "VM1")])
    (tmp_path / "module-VM1.log").rename(tmp_path / "module-VM1.log.1")
    write(tmp_path, "VM1", [(4, "four", "VM1"), (5, "five", "VM1")])
    write(tmp_path, None, [(6, "agent", None)])
    page = read_logs(tmp_path, after=page.next, limit=2)
    assert [line.text for line in page.lines] == ["three", "four"]
    page = read_logs(tmp_path, after=page.next, limit=2)
    assert [line.text for line in page.lines] == ["five", "agent"]
    assert read_logs(tmp_path, after=page.next).lines == []


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    write(tmp_path, None, [(1, "whole", None)])
    with (tmp_path / "agent.log").open("a") as file:
        file.write("2026-01-01T00:00:02.000+00:00 INFO a/- ha")
    page = read_logs(tmp_path)
    assert [line.text for line in page.lines] == ["whole"]
    with (tmp_path / "agent.log").open("a") as file:
        file.write("lf\n")
    assert [line.text for line in read_logs(tmp_path, after=page.next).lines] == ["half"]


def test_the_newest_lines_are_found_in_long_logs(tmp_path: Path) -> None:
    old = [(number % 60, f"line {number} " + "x" * 300, None) for number in range(5000)]
    write(tmp_path, None, old, ".1")
    write(tmp_path, None, [(59, "newest", None)])
    lines = texts(tmp_path, limit=3)
    assert [line.split(" ")[0:2] for line in lines] == [["line", "4998"], ["line", "4999"], ["newest"]]


@pytest.mark.parametrize("token", ["../../etc/passwd:1:1", "x", "agent.log:-1:0"])
def test_a_foreign_token_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValueError, match="no position in the logs"):
        read_logs(tmp_path, after=token)


def test_the_audit_log_appends_who_when_and_what(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, "a")
    audit.write("root (sudo by eve)", "start --as-primary", "VM1", {"token": "t", "lost": "3 MiB\n"})
    with audit.path.open("a") as file:
        file.write('{"time": "torn')
    audit.write("root", "stop", "VM1")
    first, second = read_audit(audit.path)
    assert (first.who, first.node, first.module, first.what) == (
        "root (sudo by eve)",
        "a",
        "VM1",
        "start --as-primary",
    )
    assert first.details["lost"] == "3 MiB\\n"
    assert second.what == "stop"
    assert audit.path.stat().st_mode & 0o777 == 0o600
    assert json.loads(audit.path.read_text().splitlines()[0])["time"].endswith("+00:00")


def test_an_audit_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_audit(tmp_path / "audit.log") == []
