"""What the record of a witness with a memory means."""

from __future__ import annotations

import dataclasses
import json

import pytest

from twinhull.core import memory
from twinhull.core.identity import Generation, Id
from twinhull.core.memory import NOTHING_SEEN, Seen, WitnessRecord


def an_id(number: int) -> Id:
    return Id(number.to_bytes(16, "big"))


A, B, CLUSTER = an_id(1), an_id(2), an_id(3)
FIRST = Generation(an_id(10))
MINE = FIRST.child(an_id(11))
CHILD = MINE.child(an_id(12))


def seen(generation: Generation, *replicas: Id, revision: int = 9, key_revision: int = 5) -> Seen:
    parent = generation.parents[0] if generation.parents else None
    record = WitnessRecord(generation.id, parent, replicas, an_id(99), "b")
    return Seen(CLUSTER, revision, key_revision, record)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (Seen(CLUSTER, 9, 0, None), "no record of this module"),
        (Seen(CLUSTER, 9, 5, None, "its record cannot be read"), "cannot be read"),
        (seen(MINE, B), "another replica alone, since b went on"),
        (seen(CHILD, A, B), "under another history"),
        (seen(CHILD.child(an_id(13)), A), "under another history"),
        (seen(FIRST.child(an_id(14)), A), "under another history"),
    ],
)
def test_absence_doubt_and_other_histories_are_refusals(look: Seen, words: str) -> None:
    assert words in memory.judge(look, A, MINE).refusal


@pytest.mark.parametrize("look", [seen(MINE, A, B), seen(MINE, A), seen(FIRST, A, B), seen(FIRST, A)])
def test_a_listed_replica_of_this_or_a_newer_history_may_ask(look: Seen) -> None:
    assert memory.judge(look, A, MINE) == memory.Judgement()


def test_a_grant_that_was_never_begun_is_claimed_under_its_own_history() -> None:
    assert memory.judge(seen(CHILD, A), A, MINE) == memory.Judgement(claims=CHILD)


def test_another_cluster_and_an_older_store_or_key_are_strange() -> None:
    known = memory.remember(seen(MINE, A, revision=20, key_revision=15))
    assert memory.strange(seen(MINE, A, revision=20, key_revision=15), known) == ""
    assert memory.strange(Seen(CLUSTER, 21, 0, None), known) == "", (
        "a key that was deleted is judged, not strange"
    )
    assert "older" in memory.strange(seen(MINE, A, revision=19, key_revision=15), known)
    assert "older" in memory.strange(seen(MINE, A, revision=30, key_revision=14), known)
    other = seen(MINE, A, revision=30, key_revision=25)._replace(cluster=an_id(4))
    assert "another one" in memory.strange(other, known)
    assert memory.strange(other, NOTHING_SEEN) == ""


def test_what_is_written_is_what_is_read() -> None:
    record = WitnessRecord(CHILD.id, MINE.id, (A, B), an_id(7), "lyon-a")
    assert memory.decode(memory.encode(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"may_start": []},
        {"may_start": ["x"]},
        {"generation": 5},
        {"parent": "00"},
        {"node": 1},
    ],
)
def test_a_value_that_is_not_ours_is_refused(change: dict[str, object]) -> None:
    value = json.loads(memory.encode(WitnessRecord(CHILD.id, MINE.id, (A,), an_id(7))))
    with pytest.raises(ValueError, match="its value"):
        memory.decode(json.dumps(value | change).encode())


def test_what_is_no_json_or_too_long_is_refused() -> None:
    for value in (b"hello", b"[" * 3000, b" " * 5000):
        with pytest.raises(ValueError, match="its value"):
            memory.decode(value)


def by_person(look: Seen) -> Seen:
    record = look.record
    assert record is not None
    return look._replace(record=dataclasses.replace(record, by_person=True))


def test_what_a_person_took_for_the_other_one_is_not_written_over() -> None:
    other = seen(CHILD, B, key_revision=8)
    assert memory.taken(by_person(other), A, None)
    assert memory.taken(by_person(other), A, 7)
    assert memory.taken(other, A, 7), (
        "written after this replica was listed alone: no late request can do that"
    )


def test_a_record_that_came_too_late_or_lists_this_replica_takes_nothing() -> None:
    assert not memory.taken(seen(CHILD, B, key_revision=8), A, None), "a request of before may still land"
    assert not memory.taken(seen(CHILD, B, key_revision=8), A, 8)
    assert not memory.taken(by_person(seen(CHILD, A, B)), A, 1)
    assert not memory.taken(Seen(CLUSTER, 9, 0, None), A, 1)


def test_the_word_of_a_person_is_read_again_and_absent_elsewhere() -> None:
    ordered = WitnessRecord(CHILD.id, MINE.id, (A,), an_id(7), "lyon-a", by_person=True)
    assert memory.decode(memory.encode(ordered)) == ordered
    plain = dataclasses.replace(ordered, by_person=False)
    assert b"by_person" not in memory.encode(plain)
    assert memory.decode(memory.encode(plain)) == plain
