"""A worker's comparisons: begun when they can be, shown, durable with their result, and named with their files."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.core.mirror_kit import SIZE, Bench
from tests.unit.core.test_verify import view
from tests.unit.worker.worker_scene import Scene

from twinhull.core import effects as fx
from twinhull.core.frames import CompareZero, Differ, Digests
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror_digests import DIGEST_BYTES
from twinhull.core.status import ModuleView
from twinhull.core.verify import Range
from twinhull.errors import ResourceError
from twinhull.resources.run import Completed
from twinhull.worker.lanes import Lane, Outcome, outcome_of
from twinhull.worker.verify import CUT_OFF, Verification, VerifyParts, name_files

LOG = logging.LoggerAdapter(logging.getLogger("twinhull.test"), {})


class Inline(Lane):
    """A lane that does its work when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        self.waiting.append(lambda: done(outcome_of(call)))

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class Comparing:
    """A Verification over a real mirror in step."""

    def __init__(self, directory: Path) -> None:
        self.bench = Bench().in_step()
        self.lane = Inline()
        self.file = directory / "verify" / "VM1.json"
        self.named: list[Sequence[Range]] = []
        self.view: ModuleView = view()
        self.extended = True
        self.verification = self.again()

    def again(self) -> Verification:
        """As a new worker begins."""
        return Verification(
            VerifyParts(self.file, self._name),
            self.bench.mirror,
            view=lambda: self.view,
            extended=lambda: self.extended,
            lane=self.lane,
            log=LOG,
            clock=lambda: self.bench.now_s,
        )

    def _name(self, ranges: list[Range]) -> tuple[list[list[str]], str]:
        self.named.append(ranges)
        return [["disk.qcow2"] for _ in ranges], "a note"

    def run(self, *different: int) -> None:
        """To the end: the SECOND calls these blocks different, both times."""
        bench = self.bench
        while not bench.asked(fx.VerifyEnded):
            asked = bench.asked(fx.DigestLocal)[0]
            bench.open.remove(asked)
            small = asked.length_bytes <= 1 << 20
            digests = b"d" * (asked.length_bytes // BLOCK_BYTES * DIGEST_BYTES) if small else b""
            bench.mirror.digest_done(asked.ticket, digests, None, bench.now_s)
            for frame in (bench.pull(), bench.sent)[1]:
                if isinstance(frame, Digests):
                    blocks = range(
                        frame.offset_bytes // BLOCK_BYTES,
                        frame.offset_bytes // BLOCK_BYTES + len(frame.digests) // DIGEST_BYTES,
                    )
                    bench.frame(Differ(frame.op, bytes(block in different for block in blocks)))
                assert not isinstance(frame, CompareZero)
            bench.sent.clear()
        self.finish()

    def finish(self) -> None:
        (ended,) = self.bench.asked(fx.VerifyEnded)
        self.bench.open.remove(ended)
        self.verification.ended(ended)

    def stored(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads(self.file.read_text())
        return stored


@pytest.fixture
def comparing(tmp_path: Path) -> Comparing:
    return Comparing(tmp_path)


def test_a_comparison_is_shown_while_it_runs_and_its_result_stays(comparing: Comparing) -> None:
    ok, sentence = comparing.verification.begin({})
    assert (ok, sentence) == (True, "VM1 is being compared between a and b.")
    running = comparing.verification.shown()["running"]
    assert (running["done_bytes"], running["total_bytes"], running["source"]) == (0, SIZE, None)
    comparing.lane.run()
    assert comparing.stored()["state"] == "running"
    assert not comparing.verification.begin({})[0]
    comparing.run()
    assert comparing.verification.shown()["running"]["finishing"]
    assert comparing.verification.shown()["runs"] == 0
    comparing.lane.run()
    shown = comparing.verification.shown()
    assert (shown["running"], shown["runs"], shown["last"]["state"]) == (None, 1, "complete")
    assert comparing.named == []
    assert comparing.again().shown()["last"] == shown["last"] == comparing.stored()
    assert comparing.file.stat().st_mode & 0o777 == 0o600


def test_what_differs_is_durable_before_its_files_are_looked_for(comparing: Comparing) -> None:
    comparing.verification.begin({})
    comparing.lane.run()
    comparing.run(3)
    stored: list[dict[str, Any]] = []
    parts = comparing.verification._parts

    def name(ranges: list[Range]) -> tuple[list[list[str]], str]:
        stored.append(comparing.stored())
        return comparing._name(ranges)

    comparing.verification._parts = dataclasses.replace(parts, name_files=name)
    comparing.lane.run()
    assert stored[0]["ranges"] == [
        {"offset_bytes": 3 * BLOCK_BYTES, "length_bytes": BLOCK_BYTES, "files": None}
    ]
    assert comparing.stored()["ranges"][0]["files"] == ["disk.qcow2"]
    assert comparing.stored()["files_note"] == "a note"
    assert comparing.stored()["known"] == [[3 * BLOCK_BYTES, BLOCK_BYTES]]


def test_a_crash_in_the_middle_is_no_comparison_that_never_was(comparing: Comparing) -> None:
    comparing.verification.begin({"scheduled": True})
    comparing.lane.run()
    last = comparing.again().shown()["last"]
    assert (last["state"], last["reason"], last["scheduled"]) == ("ended early", CUT_OFF, True)


@pytest.mark.parametrize("damaged", ["", "[]", "{", '"text"'])
def test_a_result_that_cannot_be_read_is_none(comparing: Comparing, damaged: str) -> None:
    comparing.file.parent.mkdir()
    comparing.file.write_text(damaged)
    assert comparing.again().shown()["last"] is None


def test_a_disk_that_does_not_take_the_result_ends_nothing(
    comparing: Comparing, caplog: pytest.LogCaptureFixture
) -> None:
    comparing.file.parent.write_text("a file where the directory should be")
    comparing.verification.begin({})
    comparing.run()
    comparing.lane.run()
    assert comparing.verification.shown()["runs"] == 1
    assert "cannot be kept" in caplog.text


def test_a_person_may_end_it(comparing: Comparing) -> None:
    assert comparing.verification.end("a person ended it") == (False, "VM1 is not being compared.")
    comparing.verification.begin({})
    assert comparing.verification.end("a person ended it")[0]
    comparing.finish()
    comparing.lane.run()
    assert comparing.stored()["reason"] == "a person ended it"
    assert comparing.verification.begin({})[0]


def test_what_cannot_begin_is_refused_and_leaves_nothing_behind(comparing: Comparing) -> None:
    comparing.view = view(state="SECOND")
    assert "verify it on b" in comparing.verification.begin({})[1]
    comparing.view = view()
    comparing.bench.mirror.hold(comparing.bench.now_s)
    comparing.bench.mirror.end_session(comparing.bench.now_s)
    comparing.bench.second()
    assert "not in step" in comparing.verification.begin({})[1]
    assert comparing.verification.shown()["running"] is None
    assert not comparing.file.exists()


# ---- files -----------------------------------------------------------------------------------------


def answering(done: Completed | ResourceError) -> tuple[list[list[str]], str]:
    def run(argv: Sequence[str], *, timeout_s: float) -> Completed:
        assert argv[0] == "launcher"
        assert argv[-3:] == ["/srv/VM1", "30.0", "0+32768,65536+32768"]
        if isinstance(done, ResourceError):
            raise done
        return done

    return name_files(Path("/srv/VM1"), [(0, 32768), (65536, 32768)], run=run, launcher=("launcher",))


@pytest.mark.parametrize(
    ("done", "files", "note"),
    [
        (Completed(0, '{"files": [["a"], ["b"]], "all": true}', ""), [["a"], ["b"]], ""),
        (Completed(0, '{"files": [["a"], []], "all": true}', ""), [["a"], []], "free space"),
        (Completed(0, '{"files": [["a"], []], "all": false}', ""), [["a"], []], "Not all files"),
        (Completed(1, "", "it is not mounted\n"), [], "The files are not known: it is not mounted"),
        (Completed(0, "no json", ""), [], "The files are not known"),
        (ResourceError("It did not answer in time."), [], "It did not answer in time."),
    ],
)
def test_files_that_cannot_be_named_are_said_so(
    done: Completed | ResourceError, files: list[list[str]], note: str
) -> None:
    found, told = answering(done)
    assert found == files
    assert note in told


# ---- a whole worker --------------------------------------------------------------------------------


def test_a_worker_that_runs_alone_refuses_in_words(scene: Scene) -> None:
    agent = scene.running_alone()
    answer = agent.ask("verify")
    assert not answer["ok"]
    assert "VM1 is ALONE on a: there are no two whole replicas" in answer["sentence"]
    assert agent.ask("verify-end")["sentence"] == "VM1 is not being compared."
    assert agent.view(lambda shown: shown["verify"]["running"] is None)["verify"]["runs"] == 0
