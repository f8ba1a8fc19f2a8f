"""The loss of the peer, the lease, sleep, and who gives way."""

from __future__ import annotations

import pytest

from twinhull.core import actions, events, messages
from twinhull.core.identity import Generation, Id
from twinhull.core.record import WitnessKind

from .machine_bench import FIRST, PEER, alone, hello, identity, primary, second, waiting, whole


def drained(bench: object) -> events.InputDrained:
    return events.InputDrained(bench.asked(actions.DrainInput)[-1].token)  # type: ignore[attr-defined]


def test_lease_counts_from_the_sending_of_what_was_echoed() -> None:
    bench, session = primary()
    bench.wait(1)
    sent_s = bench.now_s
    counter = bench.machine.heartbeat(sent_s).counter
    bench.now_s += 2
    bench.tell(events.Heartbeat(PEER, 50, identity(0xA0), counter, session, "SECOND"))
    assert bench.asked(actions.SetLease)[-1].until_s == sent_s + 10


def test_echo_of_an_earlier_session_renews_no_lease() -> None:
    bench = waiting(whole(), preferred="a")
    early = bench.machine.heartbeat(bench.now_s).counter
    bench.connect(hello(preferred="a"))
    session = bench.sent(messages.Begin)[-1].session
    bench.receive(messages.Accept(session), messages.Ready(session, False))
    bench.tell(events.Heartbeat(PEER, 1, identity(0xA0), early, session, "SECOND"))
    bench.tell(events.Heartbeat(PEER, 2, identity(0xA0), early + 99, session, "SECOND"))
    bench.tell(events.Heartbeat(PEER, 3, None, 0, session, "SECOND"))
    assert [lease.until_s for lease in bench.asked(actions.SetLease)] == [0.0]
    assert not bench.asked(actions.Attach)


def test_primary_records_before_it_serves_alone() -> None:
    bench, _ = primary()
    bench.wait(11)
    batch = bench.batch_with(actions.OpenAlone)
    assert batch.persist is not None
    assert batch.persist.generation is not None and batch.persist.generation.descends_from(FIRST)
    assert not batch.persist.peer_may_be_uptodate
    assert (
        "VM1 goes on alone on a: b has been silent for 10.0 s and no witness is configured." in bench.said()
    )


def test_primary_beside_a_second_not_uptodate_goes_on_at_once_in_the_same_history() -> None:
    bench, _ = primary(green=False, witness=WitnessKind.PING)
    bench.tell(events.StreamDown(bench.connection, "reset"))
    assert bench.state == "ALONE"
    assert bench.record.generation == FIRST
    assert not bench.asked(actions.AskWitness)


def test_data_frames_end_silence_but_renew_no_lease() -> None:
    bench, _ = primary()
    for _ in range(24):
        bench.now_s += 0.5
        bench.tell(events.Heard(), events.Tick())
    assert bench.state == "PRIM"
    assert not bench.asked(actions.SetLease)
    assert bench.asked(actions.SuspendResource)
    assert bench.view().holding
    bench.beat("SECOND", session=bench.machine.heartbeat(bench.now_s).session)
    bench.tell(events.Tick())
    assert bench.asked(actions.ResumeResource)


def test_data_frame_without_session_means_nothing() -> None:
    bench = waiting(whole())
    bench.tell(events.Heard())
    assert bench.view().peer_heard_s is None


def test_primary_that_slept_past_its_lease_gives_up_without_an_echo() -> None:
    bench, _ = primary()
    bench.sleep(30)
    bench.tell(drained(bench))
    bench.wait(9)
    assert bench.state == "PRIM"
    bench.wait(2)
    assert bench.state == "WAIT"
    assert bench.asked(actions.CloseIO)


def test_primary_that_slept_goes_on_after_an_echo() -> None:
    bench, session = primary()
    old = bench.machine.heartbeat(bench.now_s).counter
    bench.sleep(30)
    bench.tell(events.Heartbeat(PEER, 400, identity(0xA0), old, session, "SECOND"))
    bench.tell(drained(bench))
    bench.peer_counter = 400
    bench.wait(5, "SECOND", session=session)
    assert bench.state == "PRIM"
    bench.wait(11)
    assert bench.state == "ALONE"


def test_old_drain_answer_does_not_end_a_newer_drain() -> None:
    bench, _ = primary()
    bench.sleep(4)
    first = drained(bench)
    bench.sleep(4)
    bench.tell(first)
    assert not bench.sent(messages.Hello)
    bench.tell(drained(bench))


def test_ping_grant_that_comes_too_late_is_not_acted_on() -> None:
    bench, _ = primary(witness=WitnessKind.PING)
    bench.wait(11)
    asked = bench.asked(actions.AskWitness)
    assert asked
    bench.wait(6)
    assert bench.state == "WAIT"
    bench.tell(events.WitnessAnswer(asked[-1].question, True))
    assert bench.state == "WAIT"


def test_grant_is_not_acted_on_while_input_is_drained() -> None:
    bench, _ = primary(witness=WitnessKind.PING)
    bench.wait(10.5)
    number = bench.asked(actions.AskWitness)[-1].question
    bench.sleep(4)
    bench.tell(events.WitnessAnswer(number, True))
    assert bench.state == "PRIM"


def test_grant_after_a_sleep_is_no_grant() -> None:
    bench, _ = second(witness=WitnessKind.PING)
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(11.5)
    number = bench.asked(actions.AskWitness)[-1].question
    bench.sleep(4)
    bench.tell(drained(bench), events.WitnessAnswer(number, True))
    assert bench.state == "WAIT"


def test_second_waits_for_the_end_of_the_session_before_it_takes_over() -> None:
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"))
    bench.wait(12)
    assert bench.state == "SECOND"
    assert bench.view().waiting_for == "the end of the last session"
    bench.tell(events.SessionEnded())
    assert bench.state == "ALONE"
    assert bench.record.generation is not None and bench.record.generation.descends_from(FIRST)


def test_second_that_hears_the_primary_again_does_not_take_over() -> None:
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"))
    bench.wait(12)
    bench.beat("PRIM")
    bench.tell(events.Tick(), events.SessionEnded())
    assert bench.state == "SECOND"
    assert any("b is heard again" in sentence for sentence in bench.said())
    assert bench.view().waiting_for == "b, or the end of the time-out"


def test_second_that_was_not_in_step_never_takes_over() -> None:
    bench, _ = second(green=False)
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(12)
    assert bench.state == "WAIT"
    assert any("is not uptodate" in sentence for sentence in bench.said())


@pytest.mark.parametrize(
    ("state", "ends_in"), [("ALONE", "WAIT"), ("WAIT", "WAIT"), ("STOP", "ALONE"), ("PRIM", "SECOND")]
)
def test_second_without_primary_looks_at_what_the_peer_is(state: str, ends_in: str) -> None:
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(2, state)
    assert bench.state == ends_in


@pytest.mark.parametrize(("state", "ends_in"), [("ALONE", "WAIT"), ("STOP", "ALONE"), ("WAIT", "PRIM")])
def test_holding_primary_looks_at_what_the_peer_is(state: str, ends_in: str) -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(2, state)
    assert bench.state == ends_in


def test_holding_primary_goes_on_when_the_peer_waits_past_the_time_out() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(12, "WAIT")
    assert bench.state == "ALONE"
    assert bench.record.generation != FIRST


def test_holding_primary_gives_way_to_a_peer_that_does_not_hear_it() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(12, "SECOND", echo=False)
    assert bench.state == "WAIT"


def test_holding_primary_asks_through_the_agents_and_goes_on_in_the_same_history() -> None:
    bench, session = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(11, "SECOND")
    request = bench.told_peer(messages.OutdateRequest)[-1]
    assert (request.process, request.session) == (PEER, session)
    bench.tell(events.Told(messages.OutdateAnswer(identity(55), True, "")))
    assert bench.state == "PRIM"
    bench.tell(events.Told(messages.OutdateAnswer(request.request, False, "busy")))
    assert bench.state == "PRIM"
    bench.tell(events.Told(messages.OutdateAnswer(request.request, True, "")))
    assert bench.state == "ALONE"
    assert bench.record.generation == FIRST
    bench.tell(events.Told(messages.OutdateAnswer(request.request, True, "")))


def test_holding_primary_gives_up_when_nothing_comes_of_it() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.wait(20, "SECOND")
    assert bench.state == "WAIT"
    assert len(bench.told_peer(messages.OutdateRequest)) > 1


def test_other_messages_through_the_agents_are_ignored() -> None:
    bench, _ = primary()
    bench.tell(events.Told(messages.HandOverAccepted(identity(3))))
    assert not bench.batches


def test_second_gives_way_at_once_and_answers_after_its_record() -> None:
    bench, session = second()
    request = messages.OutdateRequest(identity(70), identity(0xA0), session, FIRST)
    bench.receive(request)
    assert bench.state == "WAIT"
    batch = next(batch for batch in bench.batches if batch.persist is not None)
    assert batch.persist is not None and not batch.persist.uptodate
    assert actions.TellPeer(messages.OutdateAnswer(identity(70), True, "")) in batch.apply


@pytest.mark.parametrize(
    ("session", "process", "generation", "answers"),
    [
        (identity(1), identity(0xA0), FIRST, [False]),
        (None, identity(0xA0), FIRST, [False]),
        (identity(0xE0), identity(0xA5), FIRST, []),
        (identity(0xE0), identity(0xA0), identity(8), [False]),
    ],
)
def test_request_of_another_session_process_or_history_is_refused(
    session: Id | None, process: Id, generation: object, answers: list[bool]
) -> None:
    bench, _ = second()
    asked = FIRST if generation == FIRST else Generation(identity(8))
    bench.tell(events.Told(messages.OutdateRequest(identity(70), process, session, asked)))
    assert [answer.done for answer in bench.told_peer(messages.OutdateAnswer)] == answers
    assert bench.record.uptodate and bench.state == "SECOND"


def test_stopped_module_records_itself_outdated_on_request() -> None:
    bench = alone()
    bench.tell(events.Stop(), events.ResourceStopped(), events.Detached(), events.Quiesced())
    assert bench.state == "STOP"
    bench.connect(hello())
    newer = FIRST.child(identity(3))
    bench.receive(messages.OutdateRequest(identity(70), identity(0xA0), None, newer))
    assert not bench.record.uptodate
    assert bench.sent(messages.OutdateAnswer)[-1].done
    bench.receive(messages.OutdateRequest(identity(71), identity(0xA0), None, Generation(identity(9))))
    assert not bench.sent(messages.OutdateAnswer)[-1].done


def test_waiting_node_that_is_outdated_already_says_so() -> None:
    bench = waiting(whole(uptodate=False, outdated_reason="it left"))
    bench.tell(events.Told(messages.OutdateRequest(identity(70), identity(0xA0), identity(3), FIRST)))
    assert bench.told_peer(messages.OutdateAnswer)[-1].done


def test_node_with_a_failed_disk_refuses_to_record() -> None:
    bench = waiting(whole())
    bench.tell(events.DiskFailed("EIO"))
    bench.tell(events.Told(messages.OutdateRequest(identity(70), identity(0xA0), None, FIRST)))
    assert not bench.told_peer(messages.OutdateAnswer)[-1].done


def test_second_that_does_not_answer_writes_is_pressed_over_stream_and_agents() -> None:
    bench, session = primary()
    bench.tell(events.PeerWriteTimeout())
    assert bench.view().holding
    assert bench.sent(messages.OutdateRequest)[-1].session == session
    assert bench.told_peer(messages.OutdateRequest)
    bench.receive(messages.OutdateAnswer(bench.sent(messages.OutdateRequest)[-1].request, True, ""))
    assert bench.state == "ALONE"


def test_write_time_out_without_a_session_means_nothing() -> None:
    bench = alone()
    bench.tell(events.PeerWriteTimeout())
    assert not bench.batches


def test_death_of_the_peers_worker_saves_the_waiting() -> None:
    bench, session = primary()
    bench.tell(events.PeerWorkerDead(identity(4), None), events.PeerWorkerDead(PEER, identity(5)))
    assert not bench.asked(actions.EndSession)
    bench.tell(events.PeerWorkerDead(PEER, session))
    assert bench.state == "ALONE"
    bench, session = second()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    bench.tell(events.PeerWorkerDead(PEER, identity(5)))
    assert bench.state == "SECOND"
    bench.tell(events.PeerWorkerDead(PEER, session))
    assert bench.state == "ALONE"


def test_leave_of_another_session_is_no_leave() -> None:
    bench, session = primary()
    bench.receive(messages.Leave(identity(4), "bye"))
    assert bench.state == "PRIM"
    bench.receive(messages.Leave(session, "bye"))
    assert bench.state == "ALONE"
    assert bench.record.generation == FIRST


def test_leave_is_heard_while_holding() -> None:
    bench, session = primary()
    bench.tell(events.PeerWriteTimeout())
    bench.receive(messages.Leave(session, "its disk failed"))
    assert bench.state == "ALONE"
    assert bench.record.generation == FIRST


def test_what_only_a_second_is_told_means_nothing_to_a_primary() -> None:
    bench, session = primary()
    bench.receive(messages.Gone(session, "x"), messages.Done(session, FIRST))
    assert not bench.batches


def test_deaf_primary_counts_no_silence_and_waits_after_it() -> None:
    bench, _ = primary()
    bench.tell(events.AgentLink(False))
    bench.wait(30)
    assert bench.state == "PRIM"
    bench.tell(events.AgentLink(True))
    bench.wait(11)
    assert bench.state == "WAIT"


def test_waiting_node_asks_a_stopped_peer_again_when_it_is_another_process() -> None:
    bench = waiting(whole())
    bench.connect(hello(state="STOP"))
    first = bench.sent(messages.OutdateRequest)[-1]
    bench.wait(6)
    assert bench.sent(messages.OutdateRequest)[-1] == first
    bench.connect(hello(state="STOP", process=identity(0xB7)))
    assert bench.sent(messages.OutdateRequest)[-1].process == identity(0xB7)
    assert bench.view().waiting_for == "b to record itself outdated"


def test_blank_stopped_peer_is_asked_too() -> None:
    bench = waiting(whole())
    bench.connect(hello(state="STOP", generation=None, uptodate=False, volume=None))
    assert bench.sent(messages.OutdateRequest)


def test_waiting_node_that_was_alone_does_not_start_beside_a_peer_heard_running() -> None:
    bench = waiting(whole(peer_may_be_uptodate=False))
    bench.wait(20, "ALONE")
    assert bench.state == "WAIT"


def test_words_of_waiting() -> None:
    bench = waiting(whole())
    assert bench.view().waiting_for == "b to be heard"
    bench.tell(events.AgentLink(False))
    assert bench.view().waiting_for.startswith("the agent of a")
    bench.tell(events.AgentLink(True))
    bench.connect()
    assert bench.view().waiting_for == "b to answer"
    bench.receive(hello(preferred=None, replica=identity(1)))
    assert bench.view().waiting_for == "b to begin"
    bench.connect(hello(state="STOP", generation=FIRST.child(identity(3))))
    assert bench.view().waiting_for == "b to be started"


def test_peer_whose_agent_alone_is_heard_is_told_apart() -> None:
    bench = waiting(whole())
    assert bench.view().peer_state == "unreachable"
    bench.tell(events.PeerAgentHeard(worker=False))
    assert bench.view().peer_state == "no worker"
    bench.tell(events.PeerAgentHeard(worker=True))
    assert bench.view().peer_state == "worker silent"


def test_a_late_sign_of_life_of_a_process_that_ended_before_is_not_taken_for_the_peers() -> None:
    bench, session = primary()
    bench.beat("SECOND", process=identity(0xDEAD), echo=False)
    bench.wait(5, "SECOND", session=session)
    assert bench.view().peer_heard_s == 0.0
    bench.tell(events.StreamDown(bench.connection, "reset"))
    bench.beat("WAIT", process=identity(0xDEAD), echo=False)
    bench.wait(2, "SECOND", session=session)
    assert bench.view().peer_heard_s == 0.0
    assert bench.view().holding


def test_a_process_that_came_after_the_known_one_says_that_it_hears() -> None:
    bench, _ = primary()
    bench.beat("WAIT", process=identity(0xA11CE), echo=True)
    assert bench.view().peer_state == "WAIT"
