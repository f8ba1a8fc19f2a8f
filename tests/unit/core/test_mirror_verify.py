"""A comparison names every real difference and no other, yields to the VM, and repairs without losing anything."""

from __future__ import annotations

import os

import pytest
from tests.unit.core.mirror_kit import SIZE, Bench
from tests.unit.core.verify_world import SECTORS, VerifyWorld, named_blocks

from twinhull.core import effects as fx
from twinhull.core.events import DiskFailed, LocalWriteTimeout, PeerWriteTimeout, Quiesced
from twinhull.core.frames import (
    Ack,
    CompareZero,
    Differ,
    Digests,
    Discard,
    Fetch,
    Fetched,
    Flush,
    Flushed,
    Keep,
    Kept,
    MarksEnd,
    Write,
)
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES, PAGE_COVER_BYTES
from twinhull.core.mirror import MirrorProtocolError, Repair, VerifyReport, VerifySettings
from twinhull.core.mirror_digests import DIGEST_BYTES, digests_of, zero_digest
from twinhull.core.mirror_verify import APART, PATIENCE_S

CONTENT = digests_of(b"x" * BLOCK_BYTES)
FIELDS = ("compared_bytes", "differing_bytes", "repaired_bytes")


# ---- one mirror ------------------------------------------------------------------------------------


def comparing(bench: Bench, repair: Repair = Repair.NO, *, extended: bool = True, **settings: int) -> Bench:
    """A PRIM in step that compares."""
    bench.in_step()
    bench.pull()
    bench.sent.clear()
    begun = bench.mirror.start_verify(
        0, repair, VerifySettings(**settings), extended=extended, now_s=bench.now_s
    )
    assert begun
    return bench


def digested(bench: Bench, digests: bytes | None = None, *, hole: bool = False) -> fx.DigestLocal:
    """This node's disk answers the oldest question."""
    asked = bench.asked(fx.DigestLocal)[0]
    bench.open.remove(asked)
    if digests is None and not hole:
        digests = CONTENT * (asked.length_bytes // BLOCK_BYTES) if asked.length_bytes <= 1 << 20 else b""
    bench.mirror.digest_done(asked.ticket, digests, None, bench.now_s)
    return asked


def told(bench: Bench, *different: int) -> Digests:
    """The SECOND says which blocks of the newest question differ."""
    asked = bench.frames(Digests)[-1]
    flags = bytes(
        asked.offset_bytes // BLOCK_BYTES + at in different
        for at in range(len(asked.digests) // DIGEST_BYTES)
    )
    bench.frame(Differ(asked.op, flags))
    return asked


def ended(bench: Bench) -> tuple[str, VerifyReport]:
    """Why it ended, and what it found."""
    (end,) = bench.asked(fx.VerifyEnded)
    assert isinstance(end.report, VerifyReport)
    return end.reason, end.report


def one_suspect(bench: Bench, block: int = 3) -> Bench:
    """A block looked different and is asked of again."""
    digested(bench)
    told(bench, block)
    return bench


def small(repair: Repair = Repair.NO) -> Bench:
    return comparing(Bench(), repair, max_ops=1)


def test_a_comparison_of_equal_nodes_finds_nothing_and_locks_nothing() -> None:
    bench = small()
    while bench.asked(fx.DigestLocal):
        digested(bench)
        told(bench)
        tag = bench.write(0)
        bench.confirm()
        assert bench.answers()[tag] == 0
    reason, report = ended(bench)
    assert reason == ""
    assert (report.compared_bytes, report.total_bytes, report.differing_bytes) == (SIZE, SIZE, 0)
    assert report.rechecked_blocks == 0
    assert bench.mirror.verify_report(bench.now_s) is None


def test_what_looked_different_is_asked_again_with_writes_to_it_held_back() -> None:
    bench = one_suspect(small(), 3)
    tag = bench.write(3 * BLOCK_BYTES)
    other = bench.write(4 * BLOCK_BYTES)
    bench.confirm()
    assert other in bench.answers()
    assert tag not in bench.answers()
    asked = digested(bench)
    assert (asked.offset_bytes, asked.length_bytes) == (3 * BLOCK_BYTES, BLOCK_BYTES)
    told(bench)
    bench.confirm()
    assert bench.answers()[tag] == 0
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert (report.differing_bytes, report.rechecked_blocks) == (0, 1)


def test_writes_under_way_are_over_on_both_nodes_before_a_block_is_asked_again() -> None:
    bench = small()
    digested(bench)
    bench.write(3 * BLOCK_BYTES)
    bench.run()
    told(bench, 3)
    assert bench.asked(fx.DigestLocal) == []
    bench.frame(Ack(bench.frames(Write)[-1].seq))
    (asked,) = bench.asked(fx.DigestLocal)
    assert asked.offset_bytes == 3 * BLOCK_BYTES


def test_a_real_difference_is_named_by_its_place() -> None:
    bench = small()
    digested(bench)
    told(bench, 3, 4, 7)
    for block in (3, 4, 7):
        digested(bench)
        told(bench, block)
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert report.differences == ((3 * BLOCK_BYTES, 2 * BLOCK_BYTES), (7 * BLOCK_BYTES, BLOCK_BYTES))
    assert report.differing_bytes == 3 * BLOCK_BYTES
    assert bench.asked(fx.KeepOld) == []
    assert bench.frames(Keep) == []
    assert bench.frames(Write) == []


def test_empty_space_is_compared_in_large_steps() -> None:
    bench = small()
    asked = 0
    while bench.asked(fx.DigestLocal):
        digested(bench, hole=True)
        bench.frame(Differ(bench.frames(CompareZero)[-1].op, b"\0"))
        asked += 1
    assert asked <= 5
    assert bench.frames(Digests) == []
    assert ended(bench)[1].compared_bytes == SIZE


def test_what_is_not_empty_on_the_other_node_is_looked_at_closely() -> None:
    bench = small()
    digested(bench, hole=True)
    digested_far = bench.frames(CompareZero)[-1]
    bench.frame(Differ(digested_far.op, b"\1"))
    digested(bench, hole=True)
    asked = told(bench, 5)
    assert asked.digests == zero_digest() * 8
    digested(bench, hole=True)
    told(bench, 5)
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert report.differences == ((5 * BLOCK_BYTES, BLOCK_BYTES),)


def test_a_large_step_that_is_not_empty_here_is_looked_at_closely() -> None:
    bench = small()
    for _ in range(2):
        digested(bench, hole=True)
        bench.frame(Differ(bench.frames(CompareZero)[-1].op, b"\0"))
    large = digested(bench)
    assert large.length_bytes > 1 << 20
    (asked,) = bench.asked(fx.DigestLocal)
    assert (asked.offset_bytes, asked.length_bytes) == (large.offset_bytes, 8 * BLOCK_BYTES)


def test_a_second_of_an_older_version_is_compared_by_digests_alone() -> None:
    bench = comparing(Bench(), extended=False, max_ops=1)
    while bench.asked(fx.DigestLocal):
        assert digested(bench, hole=True).length_bytes <= 1 << 20
        told(bench)
    assert bench.frames(CompareZero) == []
    assert ended(bench)[1].compared_bytes == SIZE


def test_a_second_of_an_older_version_is_not_repaired() -> None:
    bench = Bench().in_step()
    assert not bench.mirror.start_verify(0, Repair.FROM_PRIMARY, extended=False, now_s=bench.now_s)
    assert bench.asked(fx.DigestLocal) == []


def test_a_comparison_goes_on_where_another_one_ended() -> None:
    bench = Bench().in_step()
    half = SIZE // 2 + 1000
    assert bench.mirror.start_verify(
        half, settings=VerifySettings(max_ops=1), extended=True, now_s=bench.now_s
    )
    first = digested(bench)
    told(bench)
    assert first.offset_bytes == SIZE // 2
    bench.mirror.end_verify("a person ended it", bench.now_s)
    reason, report = ended(bench)
    assert reason == "a person ended it"
    assert report.position_bytes == first.offset_bytes + first.length_bytes
    assert report.total_bytes == SIZE // 2


def test_a_position_is_behind_nothing_that_is_undecided() -> None:
    bench = comparing(Bench(), max_ops=3)
    asked = bench.asked(fx.DigestLocal)
    assert len(asked) == 3
    for each in asked[1:]:
        bench.open.remove(each)
        bench.mirror.digest_done(each.ticket, CONTENT * 8, None, bench.now_s)
    for frame in bench.frames(Digests):
        bench.frame(Differ(frame.op, bytes(8)))
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert report.position_bytes == 0
    assert report.compared_bytes == 16 * BLOCK_BYTES


# ---- repair ----------------------------------------------------------------------------------------


def test_a_repair_keeps_the_old_content_first_and_is_an_ordinary_durable_write() -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    digested(bench)
    told(bench, 3)
    (keep,) = bench.frames(Keep)
    assert (keep.offset_bytes, keep.length_bytes) == (3 * BLOCK_BYTES, BLOCK_BYTES)
    assert bench.asked(fx.ReadLocal) == []
    bench.frame(Kept(keep.op, ""))
    (read,) = bench.asked(fx.ReadLocal)
    bench.open.remove(read)
    bench.mirror.read_done(read.ticket, b"x" * BLOCK_BYTES, None, bench.now_s)
    (log,) = bench.asked(fx.SyncLog)  # the intent is durable before anything goes out
    assert log.add == (0,)
    assert bench.frames(Write) == []
    held_back = bench.write(3 * BLOCK_BYTES)
    bench.run()
    (write,) = bench.frames(Write)
    assert (write.offset_bytes, bytes(write.data)) == (3 * BLOCK_BYTES, b"x" * BLOCK_BYTES)
    bench.frame(Ack(write.seq))
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert report.repaired_bytes == 0  # held by both, but flushed by none
    bench.frame(Flushed(bench.frames(Flush)[-1].seq))
    bench.flushes_confirmed.add(bench.frames(Flush)[-1].seq)
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert report.repaired_bytes == BLOCK_BYTES
    bench.confirm()
    assert bench.answers()[held_back] == 0


def test_a_repair_from_the_second_keeps_what_is_here_and_writes_what_is_there_on_both() -> None:
    bench = one_suspect(small(Repair.FROM_SECONDARY), 3)
    digested(bench)
    told(bench, 3)
    (keep,) = bench.asked(fx.KeepOld)
    assert (keep.offset_bytes, keep.length_bytes) == (3 * BLOCK_BYTES, BLOCK_BYTES)
    assert bench.frames(Fetch) == []
    bench.open.remove(keep)
    bench.mirror.keep_done(keep.ticket, None, bench.now_s)
    (fetch,) = bench.frames(Fetch)
    bench.frame(Fetched(fetch.op, fetch.offset_bytes, b"y" * BLOCK_BYTES))
    bench.run(fx.SyncLog)
    (local,) = bench.asked(fx.LocalWrite)
    assert (local.offset_bytes, bytes(local.data)) == (3 * BLOCK_BYTES, b"y" * BLOCK_BYTES)
    assert bytes(bench.frames(Write)[-1].data) == b"y" * BLOCK_BYTES


def test_zeros_are_repaired_without_taking_space() -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    digested(bench, hole=True)
    told(bench, 3)
    bench.frame(Kept(bench.frames(Keep)[-1].op, ""))
    (read,) = bench.asked(fx.ReadLocal)
    bench.open.remove(read)
    bench.mirror.read_done(read.ticket, None, None, bench.now_s)
    bench.run(fx.SyncLog)
    assert bench.frames(Write) == []
    assert [f.length_bytes for f in bench.frames(Discard)] == [BLOCK_BYTES]


@pytest.mark.parametrize("source", [Repair.FROM_PRIMARY, Repair.FROM_SECONDARY])
def test_what_cannot_be_kept_is_not_overwritten_and_neither_is_anything_after_it(source: Repair) -> None:
    bench = small(source)
    digested(bench)
    told(bench, 3, 4)
    for block in (3, 4):
        digested(bench)
        told(bench, block)
        if source is Repair.FROM_PRIMARY and block == 3:
            bench.frame(Kept(bench.frames(Keep)[-1].op, "the bound is reached"))
        elif block == 3:
            (keep,) = bench.asked(fx.KeepOld)
            bench.open.remove(keep)
            bench.mirror.keep_done(keep.ticket, "the bound is reached", bench.now_s)
    assert len(bench.frames(Keep)) <= 1
    assert [*bench.frames(Fetch), *bench.frames(Write), *bench.asked(fx.KeepOld)] == []
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert (report.differing_bytes, report.repaired_bytes) == (2 * BLOCK_BYTES, 0)
    assert report.not_kept == "the bound is reached"
    tag = bench.write(3 * BLOCK_BYTES)
    bench.confirm()
    assert bench.answers()[tag] == 0


def test_a_repair_that_was_not_issued_is_never_made_after_its_lock_is_gone() -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    digested(bench)
    told(bench, 3)
    bench.frame(Kept(bench.frames(Keep)[-1].op, ""))
    (read,) = bench.asked(fx.ReadLocal)
    bench.open.remove(read)
    bench.mirror.read_done(read.ticket, b"x" * BLOCK_BYTES, None, bench.now_s)
    bench.mirror.end_verify("a person ended it", bench.now_s)  # the log is not synced yet
    tag = bench.write(3 * BLOCK_BYTES)
    bench.confirm()
    assert bench.answers()[tag] == 0
    assert [bytes(f.data) != b"x" * BLOCK_BYTES for f in bench.frames(Write)] == [True]


# ---- beside the VM ---------------------------------------------------------------------------------


def test_while_the_vm_is_busy_one_look_at_most_is_under_way() -> None:
    bench = Bench(warm=(0,)).in_step()
    for at in range(6):
        bench.write(at * BLOCK_BYTES)
    assert bench.mirror.start_verify(0, extended=True, now_s=bench.now_s)
    assert len(bench.asked(fx.DigestLocal)) == 1
    bench.confirm()
    assert len(bench.asked(fx.DigestLocal)) == VerifySettings().max_ops


def test_a_rate_is_kept() -> None:
    bench = comparing(Bench(), max_ops=1, rate_limit_bytes_s=BLOCK_BYTES)
    digested(bench)
    told(bench)
    assert bench.asked(fx.DigestLocal) == []
    bench.tick(4.0)
    assert bench.asked(fx.DigestLocal) == []
    bench.tick(6.0)
    assert len(bench.asked(fx.DigestLocal)) == 1


def test_a_lock_that_the_other_node_or_the_disk_keeps_too_long_is_told_as_a_stall() -> None:
    bench = one_suspect(small(), 3)
    bench.tick(1.0, times=12)
    assert bench.events(LocalWriteTimeout)
    digested(bench)
    assert bench.events(PeerWriteTimeout) == []
    bench.tick(1.0, times=12)
    assert bench.events(PeerWriteTimeout)


# ---- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("session", APART),
        ("alone", APART),
        ("hold", APART),
        ("another process", APART),
        ("close", "the module does not run here any more"),
        ("quiesce", "the module is handed over or stopped"),
        ("disk", "the disk of this node failed: bad sector"),
    ],
)
def test_it_ends_with_the_mirror_and_says_why(what: str, reason: str) -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    match what:
        case "session":
            bench.mirror.end_session(bench.now_s)
            bench.tick(1.0, times=int(PATIENCE_S))
        case "another process":
            bench.mirror.end_session(bench.now_s)
            bench.primary(resend=False)
        case "alone":
            bench.mirror.open_alone(bench.now_s)
        case "hold":
            bench.mirror.hold(bench.now_s)
            bench.tick(1.0, times=int(PATIENCE_S))
        case "close":
            bench.mirror.close_io(bench.now_s)
        case "quiesce":
            bench.mirror.quiesce(bench.now_s)
        case "disk":
            (asked,) = bench.asked(fx.DigestLocal)
            bench.open.remove(asked)
            bench.mirror.digest_done(asked.ticket, None, "bad sector", bench.now_s)
            assert bench.events(DiskFailed)
    assert ended(bench)[0] == reason
    bench.open = [effect for effect in bench.open if not isinstance(effect, fx.VerifyEnded)]
    for late in bench.asked(fx.DigestLocal):
        bench.open.remove(late)
        bench.mirror.digest_done(late.ticket, CONTENT, None, bench.now_s)
    assert bench.asked(fx.VerifyEnded) == []


def test_a_connection_that_is_taken_up_again_only_interrupts_it() -> None:
    bench = one_suspect(small(), 3)
    tag = bench.write(3 * BLOCK_BYTES)
    bench.mirror.end_session(bench.now_s)
    bench.tick()
    assert bench.asked(fx.VerifyEnded) == []
    for late in bench.asked(fx.DigestLocal):
        bench.open.remove(late)
        bench.mirror.digest_done(late.ticket, CONTENT, None, bench.now_s)
    bench.primary(resend=True)
    bench.frame(MarksEnd())
    bench.tick()
    asked = digested(bench)
    assert asked.offset_bytes == 3 * BLOCK_BYTES
    told(bench)
    bench.confirm()
    assert bench.answers()[tag] == 0
    while bench.asked(fx.DigestLocal):
        digested(bench)
        told(bench)
    reason, report = ended(bench)
    assert (reason, report.differing_bytes, report.compared_bytes) == ("", 0, SIZE)


def test_a_repair_that_a_broken_connection_interrupts_is_looked_at_again_and_counted_once() -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    digested(bench)
    told(bench, 3)
    bench.frame(Kept(bench.frames(Keep)[-1].op, ""))
    (read,) = bench.asked(fx.ReadLocal)
    bench.open.remove(read)
    bench.mirror.read_done(read.ticket, b"x" * BLOCK_BYTES, None, bench.now_s)
    bench.run()
    assert bench.frames(Write)
    bench.mirror.end_session(bench.now_s)
    bench.primary(resend=True)
    bench.frame(MarksEnd())
    assert bench.frames(Write)  # it was issued: both nodes make it or will
    bench.confirm()
    bench.tick()
    asked = digested(bench)
    assert asked.offset_bytes == 3 * BLOCK_BYTES
    told(bench)
    report = bench.mirror.verify_report(bench.now_s)
    assert report is not None
    assert (report.differing_bytes, report.repaired_bytes) == (BLOCK_BYTES, BLOCK_BYTES)


def test_a_module_quiesces_while_it_is_compared() -> None:
    bench = one_suspect(small(), 3)
    bench.mirror.quiesce(bench.now_s)
    bench.confirm()
    bench.tick()
    bench.confirm()
    assert bench.events(Quiesced)
    assert not bench.mirror.start_verify(0, extended=True, now_s=bench.now_s) or bench.mirror.in_step


def test_writes_that_waited_for_a_lock_go_on_when_it_is_ended() -> None:
    bench = one_suspect(small(), 3)
    tag = bench.write(3 * BLOCK_BYTES)
    bench.confirm()
    assert tag not in bench.answers()
    bench.mirror.end_verify("a person ended it", bench.now_s)
    bench.confirm()
    assert bench.answers()[tag] == 0


def test_late_answers_of_the_other_node_are_nobodys() -> None:
    bench = one_suspect(small(Repair.FROM_PRIMARY), 3)
    digested(bench)
    told(bench, 3)
    late = bench.frames(Keep)[-1].op
    bench.mirror.end_verify("a person ended it", bench.now_s)
    assert bench.mirror.start_verify(0, extended=True, now_s=bench.now_s)
    bench.frame(Kept(late, ""), Differ(late, b"\1"), Fetched(late, 0, b"x" * BLOCK_BYTES))
    assert bench.asked(fx.ReadLocal) == []


@pytest.mark.parametrize(
    "frame",
    [
        Differ((1 << 48) + 1000, b"\0"),
        Differ((1 << 48) + 1, b"\0"),
        Differ((1 << 48) + 1, b"\2" * 8),
        Kept((1 << 48) + 1, ""),
        Fetched((1 << 48) + 1, 0, b"x" * 512),
        Differ(1, b"\0"),
    ],
)
def test_answers_that_nobody_asked_for_end_the_connection(frame: object) -> None:
    bench = small()
    digested(bench)
    with pytest.raises(MirrorProtocolError):
        bench.frame(frame)  # type: ignore[arg-type]


def test_it_needs_two_nodes_in_step() -> None:
    for bench in (Bench(), Bench().alone(), Bench().second(), Bench().primary(), Bench(bits=(1,)).primary()):
        assert not bench.mirror.start_verify(0, extended=True, now_s=bench.now_s)
    bench = small()
    assert not bench.mirror.start_verify(0, extended=True, now_s=bench.now_s)


# ---- the other side --------------------------------------------------------------------------------


def test_the_second_keeps_sends_and_compares_what_it_is_asked_for() -> None:
    bench = Bench().second()
    bench.frame(
        Keep(1, 0, BLOCK_BYTES),
        Fetch(2, BLOCK_BYTES, BLOCK_BYTES),
        CompareZero(3, 0, 4 * EXTENT_BYTES),
        CompareZero(4, 0, BLOCK_BYTES),
        CompareZero(5, 0, BLOCK_BYTES),
    )
    (keep,), (read,), digests = (
        bench.asked(fx.KeepOld),
        bench.asked(fx.ReadLocal),
        bench.asked(fx.DigestLocal),
    )
    assert bench.frames(Kept) == []
    bench.mirror.keep_done(keep.ticket, "the disk is full", bench.now_s)
    bench.mirror.read_done(read.ticket, b"z" * BLOCK_BYTES, None, bench.now_s)
    for asked, answer in zip(digests, (b"", zero_digest(), None), strict=True):
        bench.mirror.digest_done(asked.ticket, answer, None, bench.now_s)
    assert bench.frames(Kept) == [Kept(1, "the disk is full")]
    assert bench.frames(Fetched) == [Fetched(2, BLOCK_BYTES, b"z" * BLOCK_BYTES)]
    assert bench.frames(Differ) == [Differ(3, b"\1"), Differ(4, b"\0"), Differ(5, b"\0")]
    assert bench.events(DiskFailed) == []


@pytest.mark.parametrize(
    "frame",
    [
        Keep(1, 1, BLOCK_BYTES),
        Keep(1, 0, 2 << 20),
        Fetch(1, SIZE, BLOCK_BYTES),
        Fetch(1, 0, 512),
        CompareZero(1, 0, 2 * PAGE_COVER_BYTES),
    ],
)
def test_ranges_that_the_volume_does_not_have_end_the_connection(frame: object) -> None:
    with pytest.raises(MirrorProtocolError):
        Bench().second().frame(frame)  # type: ignore[arg-type]


def test_what_a_lost_session_asked_for_is_answered_to_nobody() -> None:
    bench = Bench().second()
    bench.frame(Keep(1, 0, BLOCK_BYTES), Fetch(2, 0, BLOCK_BYTES), CompareZero(3, 0, BLOCK_BYTES))
    bench.pull()
    keep, read, digest = bench.open
    bench.mirror.end_session(bench.now_s)
    bench.second()
    bench.mirror.keep_done(keep.ticket, None, bench.now_s)  # type: ignore[union-attr]
    bench.mirror.read_done(read.ticket, bytes(BLOCK_BYTES), None, bench.now_s)  # type: ignore[union-attr]
    bench.mirror.digest_done(digest.ticket, None, None, bench.now_s)  # type: ignore[union-attr]
    assert [*bench.frames(Kept), *bench.frames(Fetched), *bench.frames(Differ)] == []


# ---- whole lives -----------------------------------------------------------------------------------

CAPACITIES = ((4, 4), (7, 4), (4, 7))


def green(seed: int, **settings: object) -> VerifyWorld:
    world = VerifyWorld(seed, CAPACITIES[seed % 3], **settings)  # type: ignore[arg-type]
    world.connect(resend=False)
    world.settle()
    while not world.green:
        world.step()
    return world


SEEDS = range(int(os.environ.get("TWINHULL_VERIFY_SEEDS", "6")))
"""More lives than the usual ones may be asked for."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_write_of_the_vm_ever_looks_like_a_difference(seed: int) -> None:
    world = green(seed, extended=bool(seed % 2))
    for _ in range(100):
        world.one(submit=True)
    rechecked = 0
    for _ in range(3):
        report = world.run_verify()
        assert (report.differing_bytes, report.compared_bytes) == (0, report.total_bytes)
        rechecked += report.rechecked_blocks
    assert rechecked, "nothing was ever in flight: the test shows nothing"
    world.heal()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_planted_difference_is_found_and_no_other(seed: int) -> None:
    world = green(seed)
    for _ in range(60):
        world.one(submit=True)
    world.plant(25)
    before = world.differing()
    report = world.run_verify()
    named, after = named_blocks(report), world.differing()
    assert after <= named <= before
    assert report.differing_bytes // BLOCK_BYTES == len(named)
    assert len(named) > 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("source", [Repair.FROM_PRIMARY, Repair.FROM_SECONDARY])
def test_repaired_nodes_are_equal_and_everything_overwritten_was_kept(seed: int, source: Repair) -> None:
    world = green(seed, repair=source)
    for _ in range(60):
        world.one(submit=True)
    world.run_verify(repair=Repair.NO)
    world.plant(25)
    assert world.serving is not None
    report = world.run_verify()
    assert report.repaired_bytes == report.differing_bytes > 0
    target = 1 - world.serving if source is Repair.FROM_PRIMARY else world.serving
    assert {offset // BLOCK_BYTES for offset, _ in world.nodes[target].kept} == named_blocks(report)
    assert world.nodes[1 - target].kept == []
    for sector, (node, data) in world.planted.items():
        block, at = sector // SECTORS, sector % SECTORS * 512
        olds = [old for offset, old in world.nodes[target].kept if offset == block * BLOCK_BYTES]
        if node == target and olds and sector not in world.history.sectors:
            assert olds[0][at : at + 512] == data
    assert world.differing() == set()
    again = world.run_verify(submit=False, repair=Repair.NO)
    assert again.differing_bytes == 0
    assert all(
        world.nodes[0].disk.volatile[s * 512] == world.nodes[1].disk.volatile[s * 512] for s in world.planted
    )


@pytest.mark.parametrize("seed", range(3 * len(SEEDS)))
def test_comparisons_and_repairs_among_crashes_lose_nothing_and_end_with_equal_nodes(seed: int) -> None:
    sources = (Repair.NO, Repair.FROM_PRIMARY, Repair.FROM_SECONDARY)
    world = VerifyWorld(seed, CAPACITIES[seed % 3], repair=sources[seed // 3 % 3], troubles=True)
    world.connect(resend=False)
    world.settle()
    for number in range(900):
        if number % 150 == 149 and world.session and world.green:
            world.plant(4)
        world.step()
    world.troubles = False
    while not (world.session and world.green):
        world.step()
    world.run_verify(repair=Repair.FROM_PRIMARY)
    assert world.reports
    world.heal()
