"""When a comparison may begin, what its result says, and when the schedule asks for one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from twinhull.core import verify
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror import VerifyReport
from twinhull.core.status import ModuleView
from twinhull.core.verify import Order, due, refusal, result_of, warning, with_files

GIB = 1 << 30
BLANKS = {"str": "", "bool": False, "int": 0, "float": 0.0, "tuple[str, ...]": ()}


def view(**facts: Any) -> ModuleView:
    blank = {field.name: BLANKS.get(str(field.type)) for field in dataclasses.fields(ModuleView)}
    green = {"module": "VM1", "node": "a", "peer": "b", "state": "PRIM", "colour": "green"}
    return ModuleView(**{**blank, **green, **facts})


def report(**facts: Any) -> VerifyReport:
    whole = VerifyReport(GIB, GIB, GIB, 0, 0, (), 0, "", 0.0)
    return whole._replace(**facts)


def result(
    found: VerifyReport, order: Order | None = None, reason: str = "", before: Any = ()
) -> dict[str, Any]:
    return result_of(
        found,
        order or Order(),
        reason,
        module="VM1",
        node="a",
        peer="b",
        began="2026-11-22T02:00:05+01:00",
        ended="2026-11-22T02:14:00+01:00",
        before=before,
    )


@pytest.mark.parametrize(
    ("facts", "order", "words"),
    [
        ({}, Order(), ""),
        ({}, Order(source="b"), ""),
        ({}, Order(source="c"), "There is no node c for VM1"),
        ({"state": "SECOND"}, Order(), "VM1 is SECOND on a: verify it on b"),
        (
            {"state": "ALONE", "sentence": "b is off."},
            Order(),
            "no two whole replicas to be compared. b is off.",
        ),
        ({"state": "STOP"}, Order(), "VM1 is STOP on a"),
        ({"colour": "orange"}, Order(), "not green: wait"),
        ({"phase": "resynchronising"}, Order(), "not green: wait"),
        ({"operation": "swap"}, Order(), "not green: wait"),
    ],
)
def test_only_a_green_prim_is_compared_and_anything_else_says_why(
    facts: dict[str, Any], order: Order, words: str
) -> None:
    told = refusal(view(**facts), order, running=False, extended=True)
    assert told == "" if not words else words in told


def test_a_second_comparison_and_a_repair_of_an_older_version_are_refused() -> None:
    assert "being compared already" in refusal(view(), Order(), running=True, extended=True)
    assert refusal(view(), Order(), running=False, extended=False) == ""
    assert "older version" in refusal(view(), Order(source="a"), running=False, extended=False)


RANGES = ((0, BLOCK_BYTES), (GIB // 2, 2 * BLOCK_BYTES))
DIFFERS = report(differing_bytes=3 * BLOCK_BYTES, differences=RANGES)


@pytest.mark.parametrize(
    ("found", "order", "reason", "words"),
    [
        (report(), Order(), "", "VM1: 1 GiB of a and b were compared, and nothing differs."),
        (DIFFERS, Order(), "", "VM1: 1 GiB of a and b were compared; 96 KiB in 2 places differ."),
        (
            report(differing_bytes=BLOCK_BYTES, differences=RANGES[:1]),
            Order(),
            "",
            "VM1: 1 GiB of a and b were compared; 32 KiB in 1 place differs.",
        ),
        (
            DIFFERS._replace(repaired_bytes=3 * BLOCK_BYTES),
            Order(source="a"),
            "",
            "VM1: 1 GiB of a and b were compared; 96 KiB in 2 places differ, 96 KiB of it were made equal with the "
            "content of a. What was overwritten is kept on b: twinhull --node b rescue list VM1.",
        ),
        (
            DIFFERS._replace(repaired_bytes=BLOCK_BYTES, not_kept="The disk is full."),
            Order(source="b"),
            "",
            "VM1: 1 GiB of a and b were compared; 96 KiB in 2 places differ, 32 KiB of it were made equal with the "
            "content of b. What was overwritten is kept on a: twinhull --node a rescue list VM1. The rest was not "
            "repaired, because its old content cannot be kept: The disk is full.",
        ),
        (
            report(compared_bytes=GIB // 4, position_bytes=GIB // 4),
            Order(),
            "the connection was lost",
            "VM1: 256 MiB of a and b were compared (of 1 GiB); nothing of it differs. "
            "It ended early: the connection was lost.",
        ),
    ],
)
def test_a_result_says_what_was_compared_what_differs_and_what_was_done(
    found: VerifyReport, order: Order, reason: str, words: str
) -> None:
    told = result(found, order, reason)
    assert told["message"] == words
    assert told["state"] == ("ended early" if reason else "complete")


def test_differences_stay_known_until_they_were_repaired_or_looked_at_again() -> None:
    before = [(0, BLOCK_BYTES), (GIB // 2, BLOCK_BYTES)]
    assert result(report(), before=before)["known"] == []
    partly = report(position_bytes=GIB // 4, compared_bytes=GIB // 4)
    assert result(partly, reason="lost", before=before)["known"] == [[GIB // 2, BLOCK_BYTES]]
    assert result(DIFFERS)["known"] == [list(each) for each in RANGES]
    assert result(DIFFERS._replace(repaired_bytes=3 * BLOCK_BYTES), Order(source="a"))["known"] == []


def test_known_differences_are_warned_of() -> None:
    assert warning("VM1", None) == warning("VM1", result(report())) == ""
    told = warning("VM1", result(DIFFERS))
    assert told == (
        "VM1: the replicas differ by 96 KiB in 2 places (verified 2026-11-22T02:14:00+01:00): "
        "see `twinhull verify VM1 --repair`"
    )


def test_differences_get_the_names_of_their_files() -> None:
    named = with_files(result(DIFFERS), [["disk.qcow2"], []], "note")
    assert [each["files"] for each in named["ranges"]] == [["disk.qcow2"], []]
    assert named["files_note"] == "note"
    unnamed = with_files(result(DIFFERS), [], "why")
    assert [each["files"] for each in unnamed["ranges"]] == [None, None]


def test_a_long_list_is_cut_and_says_so() -> None:
    many = tuple((2 * number * BLOCK_BYTES, BLOCK_BYTES) for number in range(verify.MAX_RANGES_TOLD + 7))
    told = result(report(differing_bytes=len(many) * BLOCK_BYTES, differences=many))
    assert len(told["ranges"]) == verify.MAX_RANGES_TOLD
    assert told["ranges_left_out"] == 7
    assert f"in {len(many)} places" in told["message"]


OPENED = "2026-11-22T02:00:00"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, Order(scheduled=True)),
        ({"began": "2026-11-15T02:00:01+01:00", "state": "complete"}, Order(scheduled=True)),
        ({"began": "2026-11-22T02:00:01+01:00", "state": "complete"}, None),
        (
            {
                "began": "2026-11-15T02:00:01",
                "state": "ended early",
                "scheduled": True,
                "position_bytes": 4096,
            },
            Order(scheduled=True, from_bytes=4096),
        ),
        (
            {"began": "2026-11-22T02:10:00", "state": "ended early", "scheduled": True, "position_bytes": 5},
            Order(scheduled=True, from_bytes=5),
        ),
        (
            {
                "began": "2026-11-22T02:10:00",
                "state": "ended early",
                "scheduled": True,
                "reason": verify.PERSON_ENDED,
            },
            None,
        ),
        ({"began": "2026-11-22T02:10:00", "state": "ended early", "scheduled": False}, None),
    ],
)
def test_a_window_brings_one_comparison_which_goes_on_where_the_last_one_was_cut_off(
    last: dict[str, Any] | None, expected: Order | None
) -> None:
    assert due(last, OPENED, since_tried_s=None) == expected
    assert due(last, OPENED, since_tried_s=verify.RETRY_S - 1) is None
    assert due(last, OPENED, since_tried_s=verify.RETRY_S) == expected
