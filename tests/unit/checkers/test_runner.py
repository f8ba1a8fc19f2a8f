"""The threads around the schedules."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from twinhull.checkers import CheckerRunner, CheckerSettings, CheckResult, make_checkers
from twinhull.checkers.guest import GuestAgentChecker
from twinhull.config.model import (
    CheckerAction,
    CheckerConfig,
    CheckerKind,
    LibvirtConfig,
    ModuleConfig,
    NodeConfig,
    ScriptsConfig,
)
from twinhull.errors import ConfigError

WAIT_S = 20.0
GOOD = CheckResult(True, "well")
BAD = CheckResult(False, "ill")


@dataclass
class Scripted:
    """A checker that answers what the test puts in, and tells when it was asked."""

    answers: queue.Queue[CheckResult] = field(default_factory=queue.Queue)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def check(self, timeout_s: float) -> CheckResult:
        self.asked.release()
        return self.answers.get(timeout=WAIT_S)


class Bench:
    def __init__(self) -> None:
        self.checker = Scripted()
        self.failed: queue.Queue[tuple[str, str, str]] = queue.Queue()
        settings = CheckerSettings("heartbeat", "restart", interval_s=0.0, failures=2, boot_time_s=0.0)
        self.runner = CheckerRunner([(self.checker, settings)], lambda *verdict: self.failed.put(verdict))

    def look(self, result: CheckResult) -> None:
        assert self.checker.asked.acquire(timeout=WAIT_S)
        self.checker.answers.put(result)

    def snapshot(self) -> dict[str, Any]:
        return self.runner.snapshot()["heartbeat"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.runner.close()
    made.checker.answers.put(GOOD)


def test_it_looks_only_while_armed_and_tells_a_verdict(bench: Bench) -> None:
    assert bench.snapshot()["ok"] is None
    bench.runner.arm(True)
    for result in (GOOD, BAD, BAD):
        bench.look(result)
    name, action, reason = bench.failed.get(timeout=WAIT_S)
    assert (name, action) == ("heartbeat", "restart")
    assert "2 times in a row: ill" in reason
    snapshot = bench.snapshot()
    assert (snapshot["ok"], snapshot["detail"], snapshot["phase"]) == (False, "ill", "reported")
    assert not bench.checker.asked.acquire(blocking=False)


def test_a_look_under_way_while_it_is_disarmed_is_told_to_nobody(bench: Bench) -> None:
    bench.runner.arm(True)
    bench.look(BAD)
    assert bench.checker.asked.acquire(timeout=WAIT_S)
    bench.runner.arm(False)
    bench.checker.answers.put(BAD)
    bench.runner.arm(True)
    bench.look(GOOD)
    assert bench.failed.empty()


def test_suspended_it_reports_nothing_and_resumed_it_looks_again(bench: Bench) -> None:
    bench.runner.suspend(True)
    bench.runner.arm(True)
    assert bench.snapshot()["phase"] == "booting"
    bench.runner.suspend(False)
    for result in (BAD, BAD):
        bench.look(result)
    assert bench.failed.get(timeout=WAIT_S)[0] == "heartbeat"


def test_a_checker_that_hangs_delays_no_other() -> None:
    hanging, quick = Scripted(), Scripted()
    failed: queue.Queue[tuple[str, str, str]] = queue.Queue()
    runner = CheckerRunner(
        [
            (hanging, CheckerSettings("hanging", interval_s=0.0, boot_time_s=0.0)),
            (quick, CheckerSettings("quick", "stopstart", interval_s=0.0, failures=1, boot_time_s=0.0)),
        ],
        lambda *verdict: failed.put(verdict),
    )
    runner.arm(True)
    assert hanging.asked.acquire(timeout=WAIT_S)
    quick.answers.put(BAD)
    assert failed.get(timeout=WAIT_S)[:2] == ("quick", "stopstart")
    runner.close()
    hanging.answers.put(GOOD)


def module(resource: LibvirtConfig | ScriptsConfig, *checkers: CheckerConfig) -> ModuleConfig:
    return ModuleConfig("VM1", 1, PurePosixPath("/srv/VM1"), 1 << 30, resource, checkers=checkers)


GUEST = CheckerConfig("heartbeat", CheckerKind.GUEST_AGENT)
SCRIPT = CheckerConfig("web", CheckerKind.SCRIPT, action=CheckerAction.STOPSTART, command=("/bin/true",))


def test_checkers_are_made_of_the_configuration() -> None:
    boots: list[float] = []

    def guest(boot_time_s: float) -> GuestAgentChecker:
        boots.append(boot_time_s)
        return GuestAgentChecker("web")

    checked = module(LibvirtConfig("web"), GUEST, SCRIPT)
    runner = make_checkers(checked, NodeConfig("a"), lambda *_: None, guest=guest)
    assert boots == [GUEST.boot_time_s]
    assert {name: item["action"] for name, item in runner.snapshot().items()} == {
        "heartbeat": "restart",
        "web": "stopstart",
    }
    runner.close()


def test_a_checker_that_does_not_fit_is_refused() -> None:
    scripts = ScriptsConfig(("/bin/true",))
    empty = CheckerConfig("web", CheckerKind.SCRIPT)
    strange = SimpleNamespace(
        **{name: getattr(SCRIPT, name) for name in SCRIPT.__slots__}
        | {"kind": SimpleNamespace(value="oracle")}
    )
    for wrong in (GUEST, empty, strange):
        with pytest.raises(ConfigError):
            make_checkers(module(scripts, wrong), NodeConfig("a"), lambda *_: None)  # type: ignore[arg-type]
