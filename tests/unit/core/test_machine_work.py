"""Commands, hand-over, host, checkers and disks, as one node sees them."""

from __future__ import annotations

import pytest

from twinhull.core import actions, events, messages
from twinhull.core.identity import Id
from twinhull.core.record import Role, SavedState, WitnessKind
from twinhull.core.settings import Return, StopMode

from .machine_bench import Bench, alone, hello, identity, primary, second, waiting, whole


def replies(bench: Bench) -> list[tuple[str, bool]]:
    return [(reply.command, reply.ok) for reply in bench.asked(actions.Reply)]


def given() -> tuple[Bench, Id, Id]:
    """A giver whose offer is out."""
    bench, session = primary()
    bench.tell(events.Swap(), events.ResourceStopped(), events.Detached(), events.Quiesced())
    return bench, session, bench.sent(messages.HandOver)[-1].session


def test_giver_records_not_primary_before_it_offers() -> None:
    bench, _, _ = given()
    batch = next(batch for batch in bench.batches if batch.send)
    assert batch.persist is not None and batch.persist.role is Role.SECONDARY
    assert isinstance(batch.send[0][1], messages.HandOver)
    assert bench.view().phase == "handing over"


def test_giver_is_second_in_the_new_session_after_the_answer() -> None:
    bench, _, new = given()
    bench.receive(messages.HandOverAccepted(identity(1)))
    assert not bench.asked(actions.EndSession)
    bench.receive(messages.HandOverAccepted(new))
    bench.tell(events.SessionEnded(marks=False))
    assert bench.machine.heartbeat(bench.now_s).session == new
    assert (bench.state, bench.view().colour) == ("SECOND", "green")
    assert replies(bench) == [("swap", True)]


def test_giver_takes_back_only_on_refusal() -> None:
    bench, _, new = given()
    bench.receive(messages.HandOverRefused(identity(1), "no"))
    assert bench.state == "SECOND"
    bench.receive(messages.HandOverRefused(new, "b is not in step"))
    assert bench.state == "PRIM"
    assert bench.record.role is Role.PRIMARY
    assert bench.asked(actions.Attach)
    assert replies(bench) == [("swap", False)]


def test_giver_that_hears_nothing_follows_the_rules_of_loss() -> None:
    bench, _, _ = given()
    bench.wait(11)
    assert bench.state == "SECOND"
    bench.tell(events.SessionEnded())
    assert bench.state == "ALONE"
    assert replies(bench) == [("swap", False)]


def test_giver_hears_the_leave_of_the_taker_and_takes_back() -> None:
    bench, session, _ = given()
    bench.receive(messages.Leave(session, "a person stopped it"))
    assert bench.state == "ALONE"
    assert bench.asked(actions.Attach)


def test_giver_may_not_leave_before_the_answer() -> None:
    bench, _, new = given()
    bench.tell(events.Stop())
    assert not bench.sent(messages.Leave)
    bench.receive(messages.HandOverAccepted(new))
    bench.tell(events.SessionEnded(marks=False))
    assert bench.sent(messages.Leave)[-1].session == new
    bench.tell(events.SessionEnded(marks=False))
    assert bench.state == "STOP"
    assert replies(bench) == [("swap", False), ("stop", True)]


def test_stop_of_a_giver_whose_taker_left_stops_what_it_took_back() -> None:
    bench, session, _ = given()
    bench.tell(events.Stop())
    bench.receive(messages.Leave(session, "bye"))
    bench.tell(events.Attached(), events.ResourceStarted(), events.ResourceStopped(), events.Detached())
    bench.tell(events.Detached(), events.Quiesced())
    assert bench.state == "STOP"


def test_a_stop_is_not_forgotten_when_the_taker_leaves_before_the_disks_are_quiet() -> None:
    bench, session = primary()
    bench.tell(events.Stop(), events.ResourceStopped(), events.Detached())
    assert bench.asked(actions.Quiesce)
    bench.clear()
    bench.receive(messages.Leave(session, "a person stopped it"))
    bench.tell(events.SessionEnded())
    bench.wait(1)
    assert bench.state == "ALONE"
    assert len(bench.asked(actions.Quiesce)) == 1
    bench.tell(events.Quiesced())
    assert bench.state == "STOP"
    assert replies(bench) == [("stop", True)]


def test_stop_goes_through_although_the_taker_refuses() -> None:
    bench, _ = primary()
    bench.tell(events.Stop(), events.ResourceStopped(), events.Detached(), events.Quiesced())
    new = bench.sent(messages.HandOver)[-1].session
    bench.receive(messages.HandOverRefused(new, "b is not in step"))
    bench.tell(events.SessionEnded())
    assert bench.state == "STOP"
    assert replies(bench)[-1] == ("stop", True)


def test_giver_whose_taker_died_may_take_over_again() -> None:
    bench, session, new = given()
    bench.receive(messages.HandOverAccepted(new))
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    assert bench.state == "SECOND"
    bench.wait(12)
    assert bench.state == "ALONE"
    assert session != new


def test_taker_runs_nothing_before_its_first_echo() -> None:
    bench, _ = second()
    bench.receive(messages.HandOver(identity(0x99), False, "a person swaps"))
    bench.tell(events.SessionEnded(marks=False))
    assert bench.record.role is Role.PRIMARY
    assert bench.sent(messages.HandOverAccepted)
    bench.wait(1)
    assert not bench.asked(actions.ServeIO)
    assert not bench.asked(actions.Attach)
    bench.beat("SECOND", session=identity(0x99))
    assert bench.asked(actions.ServeIO)
    assert bench.asked(actions.Attach)


def test_taker_that_is_not_in_step_refuses() -> None:
    bench, _ = second(green=False)
    bench.receive(messages.HandOver(identity(0x99), False, "a person swaps"))
    assert bench.sent(messages.HandOverRefused)[-1].reason == "a is not in step"
    assert bench.state == "SECOND"


def test_taker_whose_session_ends_meanwhile_takes_nothing() -> None:
    bench, _ = second()
    bench.receive(
        messages.HandOver(identity(0x99), False, "x"), messages.HandOver(identity(0x98), False, "x")
    )
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    assert not bench.sent(messages.HandOverAccepted)
    assert bench.record.role is not Role.PRIMARY


def test_taker_that_is_stopped_before_its_echo_gives_back_after_it() -> None:
    bench, _ = second()
    bench.receive(messages.HandOver(identity(0x99), False, "x"))
    bench.tell(events.SessionEnded(marks=False), events.Stop())
    assert bench.state == "PRIM"
    bench.beat("SECOND", session=identity(0x99))
    assert not bench.asked(actions.Attach)
    bench.tell(events.Quiesced())
    assert bench.sent(messages.HandOver)


def test_saved_state_is_marked_used_before_it_resumes() -> None:
    bench, _ = second()
    bench.receive(messages.HandOver(identity(0x99), True, "x"))
    bench.tell(events.SessionEnded(marks=False))
    bench.beat("SECOND", session=identity(0x99))
    bench.tell(events.Attached())
    batch = bench.batch_with(actions.StartResource)
    assert bench.asked(actions.StartResource) == [actions.StartResource(True)]
    assert batch.persist is not None and batch.persist.saved is not None and batch.persist.saved.used


def test_giver_marks_the_saved_state_used_and_resumes_it_only_when_refused() -> None:
    bench, _ = primary()
    bench.tell(
        events.Swap(StopMode.SAVE), events.ResourceStopped(saved=True), events.Detached(), events.Quiesced()
    )
    offer = bench.sent(messages.HandOver)[-1]
    assert offer.saved and bench.record.saved is not None and bench.record.saved.used
    bench.receive(messages.HandOverRefused(offer.session, "no"))
    bench.tell(events.Attached())
    assert bench.asked(actions.StartResource) == [actions.StartResource(True)]


def test_saved_state_of_another_history_is_not_resumed() -> None:
    bench = waiting(whole(peer_may_be_uptodate=False, saved=SavedState(identity(3), identity(4))))
    bench.wait(12)
    bench.tell(events.Attached())
    assert bench.asked(actions.StartResource) == [actions.StartResource(False)]


def test_swap_waits_for_a_lease_to_hand_over() -> None:
    bench, session = primary()
    bench.tell(events.Swap(), events.ResourceStopped(), events.Detached())
    for _ in range(21):
        bench.now_s += 0.5
        bench.tell(events.Heard(), events.Tick())
    bench.tell(events.Quiesced())
    assert not bench.sent(messages.HandOver)
    bench.beat("SECOND", session=session)
    bench.tell(events.Quiesced())
    assert bench.sent(messages.HandOver)


def test_swap_ends_when_the_session_does() -> None:
    bench, _ = primary()
    bench.tell(events.Swap(), events.StreamDown(bench.connection, "reset"))
    assert replies(bench) == [("swap", False)]
    bench, _ = primary()
    bench.tell(events.Swap(), events.ResourceStopped(), events.Detached())
    bench.tell(events.StreamDown(bench.connection, "reset"))
    assert replies(bench) == [("swap", False)]
    bench, _ = second()
    bench.tell(events.Swap(), events.StreamDown(bench.connection, "reset"))
    assert replies(bench) == [("swap", False)]


def test_stop_of_a_primary_that_loses_its_session_stops_at_once() -> None:
    bench, _ = primary()
    bench.tell(events.Stop(), events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    assert bench.asked(actions.StopResource)[-1] == actions.StopResource(StopMode.OFF, 0.0)
    bench.tell(events.ResourceStopped(), events.Detached())
    assert bench.state == "STOP"
    assert bench.record.uptodate and bench.record.peer_may_be_uptodate


def test_stop_of_a_primary_that_loses_its_session_while_quiescing_stops() -> None:
    bench, _ = primary()
    bench.tell(events.Stop(), events.ResourceStopped(), events.Detached())
    bench.tell(events.StreamDown(bench.connection, "reset"), events.SessionEnded())
    assert bench.state == "STOP"


def test_stop_of_a_primary_beside_an_outdated_second_ends_alone_and_stops() -> None:
    bench, _ = primary(green=False)
    bench.tell(events.Stop(), events.ResourceStopped(), events.Detached())
    bench.tell(events.SessionEnded(), events.Quiesced())
    assert bench.state == "STOP"
    assert not bench.record.peer_may_be_uptodate
    assert len(bench.asked(actions.StartResource)) == 0


def test_second_stop_can_only_force_the_first() -> None:
    bench, _ = primary()
    bench.tell(events.Stop())
    assert bench.asked(actions.StopResource)[-1].mode is StopMode.STOP
    bench.tell(events.Stop(forced=True))
    assert bench.asked(actions.StopResource)[-1] == actions.StopResource(StopMode.OFF, 0.0)
    assert replies(bench) == [("stop", False)]


def test_forced_stop_may_be_configured_to_be_gentle() -> None:
    bench = alone(forced_stop_mode=StopMode.SAVE)
    bench.tell(events.Stop(forced=True))
    assert bench.asked(actions.StopResource)[-1].mode is StopMode.SAVE
    bench.tell(events.ResourceStopped(saved=True))
    assert bench.record.saved is not None


@pytest.mark.parametrize(
    "command", [events.Restart(), events.StopStart(), events.Swap(), events.Start(as_primary=True)]
)
def test_one_operation_at_a_time(command: events.Event) -> None:
    bench, _ = primary()
    bench.tell(events.Swap())
    bench.clear()
    bench.tell(command)
    assert "is busy on a (swap)" in bench.asked(actions.Reply)[-1].sentence


@pytest.mark.parametrize("command", [events.Restart(), events.StopStart(), events.Swap(), events.Abandon()])
def test_what_does_not_run_is_neither_restarted_nor_moved(command: events.Event) -> None:
    bench = waiting(whole())
    bench.clear()
    bench.tell(command)
    assert [ok for _, ok in replies(bench)] == [False]


def test_start_while_still_stopping_is_refused() -> None:
    bench = alone()
    bench.tell(events.DiskFailed("EIO", record=True))
    bench.tell(events.Start())
    assert replies(bench) == [("start", False)]
    bench, _ = primary()
    bench.wait(10, "SECOND", echo=False)
    bench.tell(events.StreamDown(bench.connection, "reset"))
    bench.wait(12, "SECOND", echo=False)
    bench.tell(events.Start(as_primary=True))
    assert "still being stopped" in bench.asked(actions.Reply)[-1].sentence


def test_swap_is_abandoned_by_a_person_and_runs_on() -> None:
    bench, _ = primary()
    bench.tell(events.Swap(), events.Abandon(), events.ResourceStopped())
    assert replies(bench) == [("swap", False), ("abandon", True)]
    assert bench.asked(actions.StartResource)


def test_swap_request_of_the_second_is_answered() -> None:
    bench, _ = primary()
    bench.receive(messages.SwapRequest("dance"))
    assert bench.sent(messages.SwapAnswer)[-1].reason == "'dance' is no way to stop."
    bench.receive(messages.SwapRequest("save"))
    assert bench.asked(actions.StopResource)[-1].mode is StopMode.SAVE
    bench.tell(events.ResourceStopFailed("no"))
    assert not bench.sent(messages.SwapAnswer)[-1].ok


def test_swap_answer_nobody_waits_for_is_dropped() -> None:
    bench, _ = second()
    bench.receive(messages.SwapAnswer(False, "no"))
    assert not bench.batches


def test_restart_in_place_turns_off_a_guest_that_does_not_stop() -> None:
    bench = alone()
    bench.tell(events.Restart(), events.ResourceStopFailed("no reaction"))
    assert [stop.mode for stop in bench.asked(actions.StopResource)] == [StopMode.STOP, StopMode.OFF]
    bench.tell(events.ResourceStopped())
    bench.tell(events.ResourceStarted())
    assert replies(bench) == [("restart", True)]


def test_restart_that_fails_is_answered() -> None:
    bench = alone()
    bench.tell(events.Restart(), events.ResourceStopped(), events.ResourceStartFailed("no memory"))
    assert replies(bench) == [("restart", False)]


def test_restart_waits_while_writes_are_held_and_ends_with_the_module() -> None:
    bench, _ = primary()
    bench.tell(events.Restart(), events.StreamDown(bench.connection, "reset"))
    assert replies(bench) == []
    bench.wait(2, "ALONE")
    assert replies(bench) == [("restart", False)]


def test_stopstart_of_an_alone_node_restarts_in_place() -> None:
    bench = alone()
    bench.tell(events.StopStart(), events.ResourceStopped(), events.ResourceStarted())
    assert replies(bench) == [("stopstart", True)]


def test_busy_folder_is_taken_away_when_a_stop_is_not_gentle() -> None:
    bench = alone()
    bench.tell(events.Stop(), events.ResourceStopped(), events.DetachFailed("bash holds it"))
    assert bench.asked(actions.Detach) == [actions.Detach(False), actions.Detach(True)]
    bench.tell(events.DetachFailed("it still does"))
    assert any("cannot be freed on a" in sentence for sentence in bench.said())
    bench.wait(11)
    assert len(bench.asked(actions.Detach)) == 3


def test_urgent_stop_overtakes_what_the_host_is_doing() -> None:
    bench = waiting(whole(peer_may_be_uptodate=False))
    bench.wait(12)
    assert bench.view().resource_state == "attaching"
    bench.tell(events.DiskFailed("EIO", record=True), events.Attached())
    assert bench.asked(actions.StopResource) == [actions.StopResource(StopMode.OFF, 0.0)]
    bench.tell(events.ResourceStopFailed("busy"))
    bench.wait(11)
    assert len(bench.asked(actions.StopResource)) == 2
    bench.tell(events.ResourceStopped(), events.Detached())
    assert bench.state == "STOP"


def test_gentle_detach_is_overtaken_by_a_forced_one() -> None:
    bench, _ = primary()
    bench.tell(events.Swap(), events.ResourceStopped())
    bench.tell(events.Stop(forced=True))
    assert bench.asked(actions.Detach) == [actions.Detach(False), actions.Detach(True)]
    bench.tell(events.DetachFailed("held"), events.Detached(), events.Quiesced())
    assert bench.sent(messages.HandOver)


def test_answers_nobody_waits_for_change_nothing() -> None:
    bench = alone()
    bench.tell(
        events.Attached(),
        events.AttachFailed("x"),
        events.Detached(),
        events.DetachFailed("x"),
        events.ResourceStarted(),
        events.ResourceStartFailed("x"),
        events.ResourceStopped(),
        events.ResourceStopFailed("x"),
        events.Quiesced(),
        events.WitnessAnswer(7, True),
    )
    assert not bench.batches
    assert bench.view().resource_state == "running"


def test_resource_that_dies_while_it_is_being_stopped_is_not_started() -> None:
    bench = alone()
    bench.tell(events.Stop(), events.ResourceDied("x"))
    assert not bench.asked(actions.StartResource)


def test_checker_is_not_listened_to_while_something_is_under_way() -> None:
    bench = alone()
    bench.tell(events.Restart(), events.CheckerFailed("vm", "restart", "x"))
    assert bench.view().restarts == 0


def test_checkers_rest_while_suspended_and_restarts_are_forgotten_after_the_window() -> None:
    bench = alone(restart_window_s=100.0)
    bench.tell(events.CheckersSuspended(True), events.CheckersSuspended(True))
    assert bench.asked(actions.ArmCheckers) == [actions.ArmCheckers(False)]
    bench.tell(events.CheckersSuspended(False), events.ResourceDied("crash", clean=True))
    assert "it was shut down from inside" in " ".join(bench.said())
    assert bench.view().restarts == 1
    bench.wait(101)
    assert bench.view().restarts == 0


def test_start_failure_alone_is_tried_again_after_a_pause() -> None:
    bench = alone()
    bench.tell(events.Restart(), events.ResourceStopped(), events.ResourceStartFailed("no memory"))
    assert len(bench.asked(actions.StartResource)) == 1
    bench.wait(11)
    assert len(bench.asked(actions.StartResource)) == 2


def test_module_goes_home_only_from_green_and_when_configured() -> None:
    bench, session = primary(give_back=Return.AT_ONCE)
    assert not bench.asked(actions.StopResource)
    bench = waiting(
        whole(role=Role.PRIMARY, peer_may_be_uptodate=False), preferred="b", give_back=Return.WINDOW
    )
    bench.wait(12)
    bench.tell(events.Attached(), events.ResourceStarted())
    bench.connect(hello(preferred="b", uptodate=False))
    session = bench.sent(messages.Begin)[-1].session
    bench.receive(messages.Accept(session), messages.Ready(session, True))
    bench.beat("SECOND", session=session)
    bench.tell(events.PeerMarksComplete(0), events.CopyDone(), events.CopyFlushedBoth(1))
    bench.receive(messages.DoneConfirmed(session))
    assert not bench.asked(actions.StopResource)
    bench.tell(events.WindowOpen(True))
    assert bench.asked(actions.StopResource)


# ---- disks -----------------------------------------------------------------------------------------


def test_second_whose_disk_fails_leaves_only_after_its_record() -> None:
    bench, session = second()
    bench.tell(events.DiskFailed("EIO"))
    batch = next(batch for batch in bench.batches if batch.send)
    assert batch.persist is not None and not batch.persist.uptodate
    assert batch.send[0][1] == messages.Leave(session, "the disk of a failed (EIO)")
    bench.tell(events.SessionEnded())
    assert bench.state == "STOP"
    bench.tell(events.DiskFailed("again"))


def test_second_that_lost_its_session_and_its_disk_does_not_take_over() -> None:
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.LocalWriteTimeout())
    bench.wait(12)
    assert bench.state == "STOP"
    assert not bench.record.uptodate
    assert bench.view().fault.startswith("the disk of a failed (a write was not answered for 10 s)")


def test_giver_whose_disk_fails_stops_and_leaves_the_rest_to_the_taker() -> None:
    bench, _, _ = given()
    bench.tell(events.DiskFailed("EIO"), events.SessionEnded())
    assert bench.state == "STOP"
    assert not bench.sent(messages.Leave)


def test_primary_whose_disk_fails_turns_off_before_it_says_so() -> None:
    bench, session = primary()
    bench.tell(events.DiskFailed("EIO"))
    assert bench.asked(actions.CloseIO)
    assert not bench.sent(messages.Gone)
    bench.tell(events.ResourceStopped())
    assert bench.sent(messages.Gone)[-1].session == session
    assert not bench.record.uptodate
    bench.tell(events.Stop())
    assert replies(bench)[-1] == ("stop", True)
    bench.tell(events.Detached())
    assert bench.state == "STOP"
    bench.tell(events.DiskFailed("record", record=True))
    assert bench.state == "STOP"


def test_primary_whose_record_fails_while_evacuating_asks_the_host_anew() -> None:
    bench, _ = primary()
    bench.tell(events.DiskFailed("EIO"), events.ResourceStopped())
    bench.clear()
    bench.tell(events.DiskFailed("record", record=True))
    assert bench.asked(actions.Detach) == [actions.Detach(True)]
    bench.tell(events.Detached())
    assert bench.state == "STOP"


def test_holding_primary_whose_disk_fails_gives_up() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.DiskFailed("EIO"))
    bench.tell(events.ResourceStopped(), events.Detached())
    bench.wait(12)
    assert bench.state == "STOP"


def test_what_a_holding_primary_gives_up_is_not_uptodate_any_more() -> None:
    bench, _ = primary()
    bench.tell(events.StreamDown(bench.connection, "reset"), events.DiskFailed("EIO"))
    assert bench.record.uptodate
    bench.tell(events.ResourceStopped(), events.Detached())
    assert bench.state == "STOP"
    assert not bench.record.uptodate
    assert bench.record.outdated_reason == "the disk of a failed (EIO)"


def test_source_of_a_resync_whose_disk_fails_sends_the_error_up() -> None:
    bench, _ = primary(green=False)
    bench.tell(events.DiskFailed("ENOSPC", full=True))
    assert bench.asked(actions.FailUp)
    assert (bench.state, bench.view().colour) == ("ALONE", "red")
    assert "free space" in bench.view().fault
    assert not bench.asked(actions.StopResource)


def test_waiting_and_stopped_nodes_whose_disk_fails_say_so() -> None:
    bench = waiting(whole())
    bench.tell(events.DiskFailed("EIO"))
    assert bench.state == "STOP"
    assert not bench.record.uptodate  # the other one may hold what this disk has not kept
    bench = waiting(whole(peer_may_be_uptodate=False))
    bench.tell(events.DiskFailed("EIO"))
    assert bench.state == "STOP"
    assert bench.record.uptodate
    bench = Bench(whole())
    bench.tell(events.DiskFailed("EIO", record=True))
    assert bench.state == "STOP"
    assert any("out of order" in sentence for sentence in bench.said())


def test_disk_of_the_peer_is_told_to_people() -> None:
    bench, _ = primary()
    bench.tell(events.PeerDisk("EIO"))
    assert bench.said() == ["VM1: the disk of b failed (EIO)."]


def test_primary_whose_peer_gave_up_takes_over_at_once() -> None:
    bench, session = second()
    bench.receive(messages.Gone(session, "its disk failed"))
    bench.tell(events.SessionEnded())
    assert bench.state == "ALONE"


# ---- what people see -------------------------------------------------------------------------------


def test_view_follows_the_machine() -> None:
    bench, session = primary(green=False)
    assert (bench.view().phase, bench.view().colour) == ("resynchronising", "orange")
    assert bench.view().alone_since_s is not None
    bench.tell(events.CopyDone())
    assert bench.view().phase == "flushing"
    bench.tell(events.CopyFlushedBoth(1))
    assert bench.view().phase == "finishing the resync"
    bench.receive(messages.DoneConfirmed(session))
    assert (bench.view().phase, bench.view().colour, bench.view().alone_since_s) == ("", "green", None)
    bench.tell(events.Swap())
    assert (bench.view().phase, bench.view().operation, bench.view().colour) == ("stopping", "swap", "orange")
    bench.tell(events.StreamDown(bench.connection, "reset"))
    assert bench.view().phase == "holding writes"
    assert bench.view().waiting_for == "b, or the end of the time-out"


def test_view_while_starting_and_taking() -> None:
    bench = waiting(whole(peer_may_be_uptodate=False))
    bench.wait(12)
    assert (bench.view().phase, bench.view().colour) == ("starting", "orange")
    bench, _ = second()
    bench.receive(messages.HandOver(identity(0x99), False, "x"))
    bench.tell(events.SessionEnded(marks=False))
    assert bench.view().phase == "taking over"
    bench, _ = second()
    bench.tell(events.StreamDown(bench.connection, "reset"))
    assert (bench.view().phase, bench.view().colour) == ("without b", "orange")


def test_view_of_a_node_that_is_out_of_order_waits_for_a_person() -> None:
    bench = alone()
    bench.tell(events.DiskFailed("x", record=True), events.ResourceStopped())
    assert bench.view().waiting_for == "the resource and the folder to be off on a"


def test_transition_that_never_settles_is_a_defect_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import twinhull.core.machine as machine

    bench = waiting(whole())
    monkeypatch.setattr(machine, "STEPS", (lambda m: m.emit(actions.Say("again")),))
    with pytest.raises(RuntimeError, match="does not settle"):
        bench.tell(events.Tick())


def test_a_person_goes_on_without_the_witness_only_once_it_did_not_answer_in_its_time() -> None:
    bench = waiting(whole(witness=WitnessKind.ETCD), witness=WitnessKind.ETCD, witness_timeout_s=2.0)
    bench.tell(events.Start(as_primary=True, without_witness=True))
    asked = bench.asked(actions.ReadWitness)[-1].request
    assert not bench.asked(actions.OpenAlone)
    bench.wait(3.0)
    bench.tell(events.WitnessRead(asked, None, "no route to host"))
    bench.wait(1.0)
    assert bench.asked(actions.OpenAlone)
    assert replies(bench)[-1] == ("start", True)
    told = [said.sentence for said in bench.asked(actions.Say) if said.audit]
    assert any("without the witness, which cannot be asked" in sentence for sentence in told)
