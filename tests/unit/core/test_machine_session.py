"""How a session begins, what upsets it, and the order in which things are recorded."""

from __future__ import annotations

import pytest

from twinhull.core import actions, events, messages
from twinhull.core.identity import Generation
from twinhull.core.record import Record, Role, WitnessKind

from .machine_bench import (
    FIRST,
    MY_REPLICA,
    PEER,
    Bench,
    alone,
    hello,
    identity,
    primary,
    second,
    waiting,
    whole,
)


def test_second_records_itself_outdated_before_it_says_ready() -> None:
    bench = waiting(whole(), preferred="b")
    bench.connect(hello(preferred="b", marks=True))
    bench.clear()
    bench.receive(messages.Begin(identity(9), False, 1, 1))
    batch = next(batch for batch in bench.batches if batch.persist is not None)
    assert batch.persist is not None and not batch.persist.uptodate
    assert [message for _, message in batch.send] == [
        messages.Accept(identity(9)),
        messages.Ready(identity(9), True),
    ]
    assert isinstance(batch.apply[0], actions.BeginSession)


def test_primary_serves_nothing_before_ready_and_records_before_it_serves() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a", marks=True))
    session = bench.sent(messages.Begin)[-1].session
    bench.receive(messages.Accept(session))
    assert [begin.serve for begin in bench.asked(actions.BeginSession)] == [False]
    assert not bench.asked(actions.ServeIO)
    bench.receive(messages.Ready(session, True))
    batch = bench.batch_with(actions.ServeIO)
    assert batch.persist is not None and not batch.persist.peer_may_be_uptodate


def test_done_is_recorded_in_one_write() -> None:
    bench, session = second(green=False)
    newer = FIRST.child(identity(3))
    bench.receive(messages.Done(session, newer))
    batch = next(batch for batch in bench.batches if batch.persist is not None)
    record = batch.persist
    assert record is not None
    assert (record.generation, record.uptodate, record.peer_may_be_uptodate) == (newer, True, True)
    assert [message for _, message in batch.send] == [messages.DoneConfirmed(session)]
    assert bench.view().colour == "green"


def test_primary_records_peer_may_be_uptodate_before_done() -> None:
    bench, session = primary(green=False)
    bench.tell(events.CopyDone())
    epoch = bench.asked(actions.EndCopyFlush)[-1].epoch
    bench.tell(events.CopyFlushedBoth(epoch + 1))
    assert not bench.sent(messages.Done)
    bench.tell(events.CopyFlushedBoth(epoch))
    batch = next(batch for batch in bench.batches if batch.send)
    assert batch.persist is not None and batch.persist.peer_may_be_uptodate
    bench.receive(messages.DoneConfirmed(session))
    assert bench.asked(actions.FinishCopy)
    assert bench.view().colour == "green"


def test_marks_that_nobody_told_of_begin_the_session_anew() -> None:
    bench, _ = primary()
    bench.tell(events.PeerMarksComplete(65536))
    assert bench.asked(actions.EndSession)
    bench.tell(events.SessionEnded(marks=True))
    bench.connect(hello(preferred="a", state="SECOND"))
    session = bench.sent(messages.Begin)[-1].session
    assert not bench.sent(messages.Begin)[-1].resend
    bench.receive(messages.Accept(session), messages.Ready(session, True))
    assert not bench.record.peer_may_be_uptodate


def test_marks_of_a_session_taken_up_again_are_no_surprise() -> None:
    bench, old = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.connect(hello(preferred="a", state="SECOND", session=old, survivor=True))
    begin = bench.sent(messages.Begin)[-1]
    assert begin.resend
    bench.receive(messages.Accept(begin.session), messages.Ready(begin.session, False))
    bench.tell(events.PeerMarksComplete(65536))
    assert bench.view().state == "PRIM"
    assert bench.record.peer_may_be_uptodate


def test_begin_about_an_older_hello_is_dropped() -> None:
    bench = waiting(whole(), preferred="b")
    bench.connect(hello(preferred="b", number=4))
    bench.receive(messages.Begin(identity(9), False, 3, 1), messages.Begin(identity(9), False, 4, 2))
    assert not bench.sent(messages.Accept)


def test_begin_that_the_facts_do_not_allow_ends_the_connection() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a"))
    bench.receive(messages.Begin(identity(9), False, 1, 1))
    assert not bench.sent(messages.Accept)
    assert bench.asked(actions.CloseStream)


def test_begin_waits_until_what_arrived_while_asleep_is_read() -> None:
    bench = waiting(whole(), preferred="b")
    bench.connect(hello(preferred="b"))
    bench.sleep(5)
    bench.receive(messages.Begin(identity(9), False, 1, 1))
    assert not bench.sent(messages.Accept)
    bench.tell(events.InputDrained(bench.asked(actions.DrainInput)[-1].token))
    assert bench.sent(messages.Accept)


def test_accept_that_comes_while_facts_are_unsettled_ends_the_connection() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a"))
    session = bench.sent(messages.Begin)[-1].session
    bench.sleep(5)
    bench.receive(messages.Accept(session))
    assert bench.asked(actions.CloseStream)
    assert bench.state == "WAIT"


def test_session_that_does_not_begin_in_time_ends_the_connection() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a"))
    bench.wait(11)
    assert bench.asked(actions.CloseStream)[-1].reason == "the session did not begin in time"


def test_a_fact_that_changes_after_begin_ends_the_connection() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a"))
    assert bench.sent(messages.Begin)
    bench.tell(events.Stop())
    bench.tell(events.Tick())
    assert bench.asked(actions.CloseStream)


def test_a_new_connection_replaces_the_old_one() -> None:
    bench = waiting(whole())
    bench.connect(hello())
    old = bench.connection
    bench.connect()
    assert bench.asked(actions.CloseStream)[-1].connection == old
    bench, _ = primary()
    bench.connect()
    assert bench.asked(actions.EndSession)
    assert bench.view().holding


def test_messages_of_another_session_or_connection_change_nothing() -> None:
    bench, session = second(green=False)
    bench.receive(messages.Done(identity(77), FIRST))
    bench.tell(events.Received(bench.connection + 5, messages.Done(session, FIRST)))
    bench.receive(messages.Ready(session, False), messages.DoneConfirmed(session), messages.Accept(session))
    bench.tell(events.CopyDone(), events.CopyFlushedBoth(1), events.PeerMarksComplete(1), events.Quiesced())
    assert not bench.record.uptodate
    assert not [batch for batch in bench.batches if batch.send or batch.apply or batch.persist]


def test_hello_within_a_session_ends_it() -> None:
    bench, _ = primary()
    bench.receive(hello(number=2, preferred="a"))
    assert bench.asked(actions.EndSession)
    bench.tell(events.SessionEnded(marks=False))
    assert bench.sent(messages.Begin)


def test_accept_nobody_waits_for_is_dropped() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="a"))
    bench.receive(messages.Accept(identity(66)))
    assert bench.state == "WAIT"


def test_nothing_is_said_before_the_old_session_has_ended() -> None:
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"))
    bench.connect(hello(running=True, state="PRIM"))
    assert not bench.sent(messages.Hello)
    bench.tell(events.SessionEnded(marks=True))
    assert bench.sent(messages.Hello)[-1].marks


def test_second_adopts_volume_and_witness_of_a_first_copy() -> None:
    bench = waiting(Record(volume_id=None, replica_id=MY_REPLICA), witness=WitnessKind.PING)
    bench.connect(hello(running=True, state="ALONE", witness="ping"))
    bench.receive(messages.Begin(identity(9), False, 1, bench.sent(messages.Hello)[-1].number))
    begun = bench.asked(actions.BeginSession)[-1]
    assert begun.everything and not begun.primary
    assert bench.record.volume_id == hello().volume
    assert bench.record.witness is WitnessKind.PING
    assert bench.record.role is Role.SECONDARY
    assert bench.record.generation is None and not bench.record.uptodate


def test_witness_kind_stays_while_the_nodes_are_configured_differently() -> None:
    bench = waiting(whole(), preferred="a", witness=WitnessKind.PING)
    bench.connect(hello(preferred="a", witness="none"))
    assert any("configured differently" in warning for warning in bench.view().warnings)
    session = bench.sent(messages.Begin)[-1].session
    bench.receive(messages.Accept(session))
    assert bench.record.witness is WitnessKind.NONE
    assert any("is configured as ping" in warning for warning in bench.view().warnings)


def test_different_preferred_nodes_are_warned_of() -> None:
    bench = waiting(whole(), preferred="a")
    bench.connect(hello(preferred="b"))
    assert any("preferred node is configured differently" in warning for warning in bench.view().warnings)


def test_two_holding_nodes_settle_on_the_preferred_one() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.connect(hello(preferred="b", running=True, state="PRIM"))
    bench.clear()
    bench.connect(hello(preferred="a", number=2, running=True, state="PRIM", replica=identity(1)))
    assert bench.state == "PRIM"
    assert not bench.asked(actions.CloseIO)


def test_holding_node_that_was_replaced_turns_its_resource_off() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    newer = FIRST.child(identity(3))
    bench.connect(hello(running=True, state="ALONE", generation=newer, peer_may_be_uptodate=False))
    assert bench.asked(actions.CloseIO)
    assert bench.asked(actions.StopResource)[-1].timeout_s == 0.0
    assert bench.state == "WAIT"


def test_other_volume_is_refused_with_what_to_do() -> None:
    bench = waiting(whole())
    bench.connect(hello(volume=identity(44)))
    assert any("hold different volumes" in sentence for sentence in bench.said())
    assert bench.view().waiting_for.startswith("a person: ")


@pytest.mark.parametrize(
    ("mine", "theirs", "ruling_s"),
    [
        ((10.0, 120.0), (30.0, 120.0), 30.0),
        ((10.0, 20.0), (30.0, 120.0), 20.0),
        ((30.0, 120.0), (20.0, 20.0), 20.0),
        ((20.0, 20.0), (30.0, None), 30.0),
        ((30.0, 120.0), (10.0, None), 30.0),
        ((20.0, None), (30.0, 30.0), 30.0),
    ],
)
def test_the_larger_time_out_rules_as_far_as_both_hosts_stand_it(
    mine: tuple[float, float | None], theirs: tuple[float, float | None], ruling_s: float
) -> None:
    bench = waiting(whole(), timeout_s=mine[0], longest_s=mine[1])
    assert (bench.machine.timeout_s, bench.machine.pace_s) == (mine[0], mine[0])
    bench.connect(hello(timeout_s=theirs[0], longest_s=theirs[1]))
    assert bench.view().timeout_s == ruling_s
    bench.beat("WAIT", process=identity(77))
    assert bench.view().timeout_s == ruling_s
    assert bench.machine.pace_s == min(mine[0], theirs[0])


def test_first_history_has_no_parents_and_may_be_formatted() -> None:
    bench = Bench(Record(volume_id=None, replica_id=MY_REPLICA))
    bench.tell(events.Start(as_primary=True))
    assert bench.record.generation is not None and bench.record.generation.parents == ()
    assert bench.record.volume_id is not None and not bench.record.peer_may_be_uptodate
    assert bench.asked(actions.Attach) == [actions.Attach(make=True)]


def test_order_of_a_person_joins_both_histories() -> None:
    bench = waiting(whole(generation=FIRST.child(identity(1))))
    theirs = FIRST.child(identity(2))
    bench.connect(hello(generation=theirs))
    assert bench.state == "WAIT"
    bench.tell(events.Start(as_primary=True))
    chosen = bench.record.generation
    assert isinstance(chosen, Generation) and chosen.descends_from(theirs)
    assert bench.asked(actions.Attach) == [actions.Attach(make=False)]
    assert any(say.audit for say in bench.asked(actions.Say))
    assert len(chosen.parents) == 3


def test_blank_node_is_not_made_primary_beside_one_that_holds_data() -> None:
    bench = Bench(Record(volume_id=None, replica_id=MY_REPLICA))
    bench.connect(hello(state="STOP"))
    bench.tell(events.Start(as_primary=True))
    assert (
        bench.asked(actions.Reply)[-1].sentence == "VM1 is blank on a and b holds its data; start it there."
    )


def test_alone_node_meets_one_that_waits_and_leads() -> None:
    bench = alone()
    bench.connect(hello(uptodate=False))
    begin = bench.sent(messages.Begin)[-1]
    bench.receive(messages.Accept(begin.session), messages.Ready(begin.session, True))
    assert bench.state == "PRIM"
    assert not bench.asked(actions.StopResource)


def test_reflected_and_old_signs_of_life_mean_nothing() -> None:
    bench, session = primary()
    before = bench.view().peer_heard_s
    bench.now_s += 1
    bench.tell(events.Heartbeat(identity(0xA0), 99, None, 0, session, "PRIM"))
    bench.tell(events.Heartbeat(PEER, 0, None, 0, session, "SECOND"))
    assert before is not None and bench.view().peer_heard_s == before + 1
    bench.beat("WAIT", process=identity(0xBB))
    bench.tell(events.Heartbeat(PEER, 500, None, 0, session, "SECOND"))
    assert bench.view().peer_state == "WAIT"
