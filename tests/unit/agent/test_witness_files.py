"""The certificates of the etcd witness: told of before they expire, in the status and in the log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
from pathlib import Path, PurePath

import pytest
from tests.integration.witness.servers import make_certificates

from twinhull.agent.witness_files import WitnessFiles, expiry
from twinhull.config import WitnessConfig
from twinhull.core.record import WitnessKind

from .agent_scene import Scene

DAY = dt.timedelta(days=1)
PATIENCE_S = 30.0


class Calendar:
    """A clock that the tests set."""

    def __init__(self) -> None:
        self.time = dt.datetime.now(dt.UTC)

    def now(self) -> dt.datetime:
        return self.time


def etcd(directory: Path) -> WitnessConfig:
    """A witness whose files lie in this directory."""
    files = (PurePath(directory / name) for name in ("ca.crt", "one.crt", "one.key"))
    return WitnessConfig(WitnessKind.ETCD, (), 5.0, ("https://192.0.2.9:2379",), *files)


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def files(calendar: Calendar) -> WitnessFiles:
    return WitnessFiles("a", calendar.now)


def test_far_from_its_end_nothing_is_said(files: WitnessFiles, tmp_path: Path) -> None:
    make_certificates(tmp_path, lasts=400 * DAY)
    files.look(etcd(tmp_path))
    assert files.warnings == ()


def test_before_its_end_the_certificate_is_told_of_with_its_path_and_once_in_the_log(
    files: WitnessFiles, calendar: Calendar, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_certificates(tmp_path, lasts=400 * DAY)
    calendar.time += 380 * DAY
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            files.look(etcd(tmp_path))
    client, authority = files.warnings
    assert client.startswith("the client certificate of the witness on a expires in 19 days")
    assert str(tmp_path / "one.crt") in client and "renew it" in client
    assert authority.startswith("the authority of the witness on a expires in 19 days")
    assert [record.message for record in caplog.records] == [client, authority]


def test_once_it_has_expired_that_is_said(files: WitnessFiles, calendar: Calendar, tmp_path: Path) -> None:
    make_certificates(tmp_path, lasts=400 * DAY)
    calendar.time += 401 * DAY
    files.look(etcd(tmp_path))
    assert all("has expired on " in words for words in files.warnings) and len(files.warnings) == 2


def test_a_renewed_certificate_ends_the_warning(
    files: WitnessFiles, calendar: Calendar, tmp_path: Path
) -> None:
    make_certificates(tmp_path, lasts=400 * DAY)
    calendar.time += 380 * DAY
    files.look(etcd(tmp_path))
    assert files.warnings
    make_certificates(tmp_path, lasts=900 * DAY)
    files.look(etcd(tmp_path))
    assert files.warnings == ()


def test_a_file_that_is_gone_or_is_no_certificate_is_told_of(files: WitnessFiles, tmp_path: Path) -> None:
    make_certificates(tmp_path, lasts=400 * DAY)
    (tmp_path / "one.crt").unlink()
    (tmp_path / "ca.crt").write_text("nothing", encoding="ascii")
    files.look(etcd(tmp_path))
    client, authority = files.warnings
    assert "one.crt" in client and "cannot be read" in client
    assert "ca.crt" in authority and "cannot be read" in authority


def test_another_kind_of_witness_has_no_files_to_warn_of(
    files: WitnessFiles, calendar: Calendar, tmp_path: Path
) -> None:
    files.look(etcd(tmp_path / "nowhere"))
    assert files.warnings
    files.look(WitnessConfig(WitnessKind.NONE, (), 5.0))
    assert files.warnings == ()


@pytest.mark.parametrize(
    ("lasts", "left", "words"),
    [
        (365 * DAY, 31 * DAY, ""),
        (365 * DAY, 29 * DAY, "expires in 29 days"),
        (DAY, DAY / 2, ""),
        (DAY, DAY / 6, "expires within 5 h"),
        (365 * DAY, DAY / 24, "expires within 2 h"),
        (365 * DAY, -DAY, "has expired on 2026-03-01"),
    ],
)
def test_one_that_something_renews_every_day_is_told_of_in_its_last_quarter_alone(
    lasts: dt.timedelta, left: dt.timedelta, words: str
) -> None:
    ends = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert expiry(ends - lasts, ends, ends - left) == words


def test_the_agent_looks_at_them_again_and_again_and_its_status_tells(
    agent: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.agent.agent.LOOK_AFTER_S", 0.001)
    config = dataclasses.replace(agent.agent.cluster, witness=etcd(tmp_path))
    monkeypatch.setattr(agent.agent, "cluster", config)
    looks = threading.Semaphore(0)
    look = agent.agent.witness_files.look

    def looking(witness: WitnessConfig) -> None:
        look(witness)
        looks.release()

    monkeypatch.setattr(agent.agent.witness_files, "look", looking)
    thread = threading.Thread(target=agent.agent._look_after)
    thread.start()
    assert all(looks.acquire(timeout=PATIENCE_S) for _ in range(2))
    agent.agent.end()
    thread.join(PATIENCE_S)
    warnings = agent.call("status_local")["warnings"]
    assert any("client certificate of the witness on a" in words for words in warnings)
