"""The decision table, row by row, and that both nodes read it alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.core.decide import Kind, Verdict, decide
from twinhull.core.identity import Generation
from twinhull.core.messages import Hello

from .machine_bench import FIRST, MY_REPLICA, PEER_REPLICA, VOLUME, hello, identity

NEWER = FIRST.child(identity(1))
OTHER = FIRST.child(identity(2))
FOREIGN = Generation(identity(3))


def mine(**facts: Any) -> Hello:
    return hello(**{"replica": MY_REPLICA, "peer_replica": PEER_REPLICA, **facts})


def theirs(**facts: Any) -> Hello:
    return hello(**facts)


def verdict(first: Hello, second: Hello) -> Verdict:
    return decide(first, second, me="a", peer="b")


RUNS_ALONE = {"running": True, "state": "ALONE", "peer_may_be_uptodate": False}
HOLDS = {"running": True, "state": "PRIM"}
BLANK = {"generation": None, "uptodate": False, "volume": None}
NEW_DISK = {**BLANK, "replica": identity(8)}

ROWS: list[tuple[str, dict[str, Any], dict[str, Any], Kind, bool, str]] = [
    ("preferred", {"preferred": "a"}, {"preferred": "a"}, Kind.SESSION, True, "a is the preferred node"),
    (
        "preferred peer",
        {"preferred": "b"},
        {"preferred": "b"},
        Kind.SESSION,
        False,
        "b is the preferred node",
    ),
    (
        "preferences differ",
        {"preferred": "b", "role": "primary"},
        {"preferred": "a"},
        Kind.SESSION,
        True,
        "last",
    ),
    ("last primary", {}, {"role": "primary"}, Kind.SESSION, False, "b was the last primary"),
    ("tie", {}, {}, Kind.SESSION, True, "smaller replica id"),
    ("survivor", {"survivor": True}, {"preferred": "b"}, Kind.SESSION, True, "has run on"),
    ("newer", {"generation": NEWER}, {}, Kind.SESSION, True, "a has the newer history"),
    ("older", {}, {"generation": NEWER}, Kind.SESSION, False, "b has the newer history"),
    (
        "only uptodate",
        {"uptodate": False, "preferred": "a"},
        {"preferred": "a"},
        Kind.SESSION,
        False,
        "not uptodate",
    ),
    (
        "only uptodate, diverged",
        {"generation": OTHER},
        {"generation": NEWER, "uptodate": False},
        Kind.SESSION,
        True,
        "",
    ),
    ("blank", {}, BLANK, Kind.SESSION, True, "b is blank"),
    ("new disk, no memory", {}, NEW_DISK, Kind.SESSION, True, "b is blank"),
    ("new disk", {"runs_under": "etcd"}, NEW_DISK, Kind.GRANT, True, "only the witness knows"),
    (
        "new disk while I hold",
        {**HOLDS, "runs_under": "etcd"},
        NEW_DISK,
        Kind.GRANT,
        True,
        "a runs the module",
    ),
    (
        "new disk, older",
        {"runs_under": "etcd", "generation": NEWER},
        {"replica": NEW_DISK["replica"]},
        Kind.GRANT,
        True,
        "newer",
    ),
    (
        "new disk while I run alone",
        {**RUNS_ALONE, "runs_under": "etcd"},
        NEW_DISK,
        Kind.SESSION,
        True,
        "is blank",
    ),
    ("both blank", BLANK, BLANK, Kind.NOTHING, False, "nothing was protected yet"),
    ("nobody whole", {"uptodate": False}, {"uptodate": False}, Kind.NOTHING, False, "known to be whole"),
    ("diverged", {"generation": OTHER}, {"generation": NEWER}, Kind.SPLIT, False, "split brain"),
    ("unrelated", {}, {"generation": FOREIGN}, Kind.REFUSE, False, "nothing in common"),
    ("other volume", {}, {"volume": identity(9)}, Kind.REFUSE, False, "different volumes"),
    ("blank, of another volume", {}, {**BLANK, "volume": identity(9)}, Kind.SESSION, True, "b is blank"),
    ("other size", {}, {"size_bytes": 512}, Kind.REFUSE, False, "bytes on"),
    ("stopped here", {"state": "STOP"}, {}, Kind.STOPPED, True, "stopped on a"),
    ("stopped there", {}, {"state": "STOP"}, Kind.STOPPED, False, "stopped on b"),
    ("I run", RUNS_ALONE, {"uptodate": False}, Kind.SESSION, True, "b is not uptodate"),
    ("peer runs", {}, {**RUNS_ALONE, "generation": NEWER}, Kind.SESSION, False, "a is older"),
    ("peer runs, I am blank", BLANK, RUNS_ALONE, Kind.SESSION, False, "a is blank"),
    ("peer runs the same", {}, RUNS_ALONE, Kind.SESSION, False, "b runs the module"),
    (
        "runs alone, peer diverged",
        {**RUNS_ALONE, "generation": OTHER},
        {"generation": NEWER},
        Kind.SPLIT,
        False,
        "",
    ),
    ("runs alone, peer newer", RUNS_ALONE, {"generation": NEWER}, Kind.SPLIT, False, "split brain"),
    ("runs alone, unrelated", RUNS_ALONE, {"generation": FOREIGN}, Kind.REFUSE, False, "nothing in common"),
    ("holds, peer newer", HOLDS, {"generation": NEWER}, Kind.REPLACED, True, "b has gone on without a"),
    ("both run alone", RUNS_ALONE, {**RUNS_ALONE, "generation": NEWER}, Kind.SPLIT, False, "both run"),
    (
        "holds, peer went on",
        HOLDS,
        {**RUNS_ALONE, "generation": NEWER},
        Kind.REPLACED,
        True,
        "b went on alone",
    ),
    (
        "went on, peer holds",
        {**RUNS_ALONE, "generation": NEWER},
        HOLDS,
        Kind.REPLACED,
        False,
        "a went on alone",
    ),
    (
        "both hold",
        {**HOLDS, "preferred": "a"},
        {**HOLDS, "preferred": "a"},
        Kind.REPLACED,
        False,
        "both held",
    ),
    (
        "both hold, diverged",
        {**HOLDS, "generation": OTHER},
        {**HOLDS, "generation": NEWER},
        Kind.SPLIT,
        False,
        "",
    ),
]


@pytest.mark.parametrize(
    ("first", "second", "kind", "leads", "words"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_row(first: dict[str, Any], second: dict[str, Any], kind: Kind, leads: bool, words: str) -> None:
    found = verdict(mine(**first), theirs(**second))
    assert (found.kind, found.mine) == (kind, leads)
    assert words in found.reason


def test_the_same_process_sends_again_instead_of_copying() -> None:
    session = identity(7)
    found = verdict(
        mine(**HOLDS, session=session, marks=True), theirs(state="SECOND", session=session, marks=True)
    )
    assert found == Verdict(Kind.SESSION, "a holds what b had not answered", mine=True, resend=True)


def test_another_session_is_not_taken_up() -> None:
    found = verdict(
        mine(**HOLDS, session=identity(7), marks=True), theirs(state="SECOND", session=identity(8))
    )
    assert not found.resend and found.outdates


@pytest.mark.parametrize(
    ("first", "second", "outdates", "everything"),
    [
        ({}, {}, False, False),
        ({"marks": True}, {}, True, False),
        ({}, {"marks": True}, True, False),
        ({"generation": NEWER}, {}, True, False),
        ({}, {"uptodate": False}, True, False),
        ({"peer_may_be_uptodate": False}, {}, True, False),
        ({"peer_replica": identity(5)}, {}, True, True),
        ({}, {"peer_replica": identity(5)}, True, True),
        ({}, BLANK, True, True),
        ({"generation": OTHER}, {"generation": NEWER, "uptodate": False}, True, True),
    ],
)
def test_what_is_copied(
    first: dict[str, Any], second: dict[str, Any], outdates: bool, everything: bool
) -> None:
    found = verdict(mine(preferred="a", **first), theirs(preferred="a", **second))
    assert (found.mine, found.outdates, found.everything) == (True, outdates, everything)


SIDES = st.fixed_dictionaries(
    {
        "volume": st.sampled_from([VOLUME, identity(9)]),
        "size_bytes": st.sampled_from([512, 1024]),
        "generation": st.sampled_from([None, FIRST, NEWER, OTHER, FOREIGN]),
        "uptodate": st.booleans(),
        "peer_may_be_uptodate": st.booleans(),
        "role": st.sampled_from(["none", "primary", "secondary"]),
        "kind": st.sampled_from(
            [("STOP", False), ("WAIT", False), ("SECOND", False), ("ALONE", True), ("PRIM", True)]
        ),
        "survivor": st.booleans(),
        "session": st.sampled_from([None, identity(7)]),
        "marks": st.booleans(),
        "preferred": st.sampled_from([None, "a", "b"]),
    }
)


def side(facts: dict[str, Any], **more: Any) -> Hello:
    state, running = facts.pop("kind")
    return hello(**facts, state=state, running=running, **more)


@given(SIDES, SIDES)
def test_both_nodes_read_the_table_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    a = side(dict(first), replica=MY_REPLICA, peer_replica=PEER_REPLICA)
    b = side(dict(second), replica=PEER_REPLICA, peer_replica=MY_REPLICA)
    seen_by_a, seen_by_b = decide(a, b, me="a", peer="b"), decide(b, a, me="b", peer="a")
    assert seen_by_a.kind is seen_by_b.kind
    assert (seen_by_a.resend, seen_by_a.everything, seen_by_a.outdates) == (
        seen_by_b.resend,
        seen_by_b.everything,
        seen_by_b.outdates,
    )
    if seen_by_a.kind in (Kind.SESSION, Kind.REPLACED):
        assert seen_by_a.mine is not seen_by_b.mine


@given(SIDES, SIDES)
def test_no_session_begins_on_doubt(first: dict[str, Any], second: dict[str, Any]) -> None:
    a = side(dict(first), replica=MY_REPLICA, peer_replica=PEER_REPLICA)
    b = side(dict(second), replica=PEER_REPLICA, peer_replica=MY_REPLICA)
    found = decide(a, b, me="a", peer="b")
    if found.kind is Kind.SESSION:
        source = a if found.mine else b
        assert source.running or source.uptodate
