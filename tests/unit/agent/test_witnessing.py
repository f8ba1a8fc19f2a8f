"""What the witness holds, in the names that people know."""

from __future__ import annotations

from twinhull.agent import witnessing
from twinhull.core.identity import Id
from twinhull.core.memory import Seen, WitnessRecord

A, B, HISTORY, CLUSTER = (Id(bytes([number]) * 16) for number in (1, 2, 3, 4))
NAMES = {A.hex(): "a", B.hex(): "b"}


def seen(*replicas: Id, problem: str = "", record: bool = True) -> Seen:
    written = WitnessRecord(HISTORY, None, replicas, CLUSTER, "a") if record else None
    return Seen(CLUSTER, 9, 7, written, problem)


def test_who_is_listed_is_told_by_name() -> None:
    assert witnessing.sentence(seen(A, B), NAMES, HISTORY.hex(), "a") == "it lists a and b."
    assert witnessing.sentence(seen(B), {A.hex(): "a"}, HISTORY.hex(), "a") == (
        "it lists a replica that is not known here."
    )
    assert witnessing.sentence(seen(A), NAMES, "", "a") == "it lists a."


def test_another_history_is_told() -> None:
    assert (
        witnessing.sentence(seen(B), NAMES, A.hex(), "a")
        == "it lists b, under another history than that of a."
    )


def test_no_record_and_one_that_cannot_be_read_are_told() -> None:
    assert "there is no record; nobody may go on" in witnessing.sentence(seen(record=False), NAMES, "", "a")
    assert witnessing.sentence(
        seen(problem="its record cannot be read", record=False), NAMES, "", "a"
    ).startswith("its record cannot be read; nobody")


def test_the_record_is_plain_data_with_the_nodes_names() -> None:
    record = seen(A, CLUSTER).record
    assert record is not None
    assert witnessing.plain_record(record, NAMES) == {
        "generation": HISTORY.hex(),
        "parent": None,
        "may_start": [{"replica": A.hex(), "node": "a"}, {"replica": CLUSTER.hex(), "node": ""}],
        "node": "a",
    }
