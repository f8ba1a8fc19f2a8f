"""Tales: a few faults in an order that has broken promises before, each time a little different.

Times are in T since the beginning; the cluster is green at about 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .rng import Rng


class Fault(NamedTuple):
    """One thing that goes wrong, or one command.

    Args:
        at: when, in T since the beginning.
        kind: name of a row of `KINDS`.
        node: `a` or `b`; or `P`, `S`: who ran the module when such a fault came first, and the other one.
        span: how long it lasts, in T, where it ends by itself.
        draw: random bits for whatever else there is to choose.
        trigger: not before a node is in this state the next time (`a: PRIM copying`); empty: at its time.
    """

    at: float
    kind: str
    node: str
    span: float
    draw: int
    trigger: str = ""

    def told(self) -> str:
        """For people."""
        when = f", when {self.trigger}" if self.trigger else ""
        return f"{self.kind} on {self.node} at {self.at:.3f} T for {self.span:.3f} T{when} ({self.draw & 0xFFFF})"


def _at(rng: Rng, low: float, high: float) -> float:
    return rng.within(low, high)


def _one(rng: Rng, at: float, kind: str, node: str, span: float = 0.0, trigger: str = "") -> Fault:
    return Fault(at, kind, node, span, rng.bits(), trigger)


def _away(rng: Rng, at: float, node: str, span: float) -> Fault:
    """A node, or its worker, is gone for a while."""
    return _one(rng, at, rng.pick(("power", "power", "kill", "cut-one-network", "reset")), node, span)


def sleeper(rng: Rng) -> list[Fault]:
    """The PRIM sleeps through its own replacement; its successor may die before it wakes."""
    at, span = _at(rng, 0.7, 1.2), _at(rng, 1.25, 2.2)
    found = [_one(rng, at, "freeze-node", "P", span), _one(rng, at + span + 0.5, "calm", "P")]
    if rng.chance(60):
        dies_at = at + span - _at(rng, -0.1, 0.4)
        found.append(_one(rng, dies_at, rng.pick(("power", "kill")), "S", _at(rng, 1.3, 2.5)))
        found.append(_one(rng, dies_at + 1.6, "calm", "S"))
    return found


def late_writes(rng: Rng) -> list[Fault]:
    """Writes of a session that was lost are still in the disk's hands when the next one begins."""
    at = _at(rng, 0.5, 0.8)
    found = [_one(rng, at, "disk-limps", "S", 3.0)]
    if rng.chance(60):
        return [*found, _one(rng, at + _at(rng, 0.2, 1.0), "kill", "P"), _one(rng, at + 2.0, "calm", "P")]
    for _ in range(rng.between(2, 5)):
        at += _at(rng, 0.1, 0.5)
        found.append(_one(rng, at, "reset", "S"))
    return found


def alone_then_dark(rng: Rng) -> list[Fault]:
    """A node writes alone, loses power, and comes back first."""
    at, dark_at = _at(rng, 0.5, 0.8), _at(rng, 1.9, 3.0)
    return [
        _one(rng, at, rng.pick(("power", "stop")), "S", dark_at - at + _at(rng, 0.1, 1.0)),
        _one(rng, dark_at, rng.pick(("power", "power-in-the-act")), "P", _at(rng, 0.1, 0.5)),
        _one(rng, dark_at + 1.0, "calm", "P"),
    ]


def limping_source(rng: Rng) -> list[Fault]:
    """A copy runs from a disk on which writes take long."""
    return [
        _one(rng, _at(rng, 0.5, 0.7), rng.pick(("power", "kill", "stop")), "S", _at(rng, 0.1, 1.6)),
        _one(rng, 0.6, "disk-limps", "P", 1.5, rng.pick(("P: PRIM copying", "P: PRIM begun", ""))),
        _one(rng, _at(rng, 2.0, 3.0), "calm", "P"),
    ]


def end_of_copy(rng: Rng) -> list[Fault]:
    """Something happens in the last moments of a copy, or right after it."""
    at = _at(rng, 0.5, 0.8)
    moment = rng.pick(("P: PRIM flushing", "P: PRIM confirming", "S: SECOND green", "P: PRIM green"))
    kind = rng.pick(
        ("power", "power", "kill", "reset", "power-in-the-act", "freeze-node", "disk-record-error")
    )
    victim = rng.pick(("P", "S"))
    first = rng.pick(("power", "kill", "stop"))
    if moment[0] == "S" and rng.chance(60):
        kind, victim = "power", "S"
    found = [
        _one(rng, at, first, "S", _at(rng, 0.1, 1.4)),
        _one(rng, at + 0.05, kind, victim, _at(rng, 0.2, 1.8), moment),
        _one(rng, at + _at(rng, 1.5, 3.0), "calm", "S"),
    ]
    if rng.chance(40):
        found.append(_one(rng, at + _at(rng, 1.5, 2.8), "power", rng.pick(("P", "S")), _at(rng, 0.3, 2.0)))
    return found


def source_dies(rng: Rng) -> list[Fault]:
    """The PRIM dies while the other one still copies from it."""
    at = _at(rng, 0.5, 0.8)
    first = rng.pick(("power", "stop", "kill", "stop"))
    return [
        _one(rng, at, first, "S", _at(rng, 0.3, 1.5)),
        _one(
            rng, at + 0.05, rng.pick(("power", "power", "kill")), "P", _at(rng, 0.1, 2.5), "S: SECOND copying"
        ),
        _one(rng, at + _at(rng, 2.5, 4.5), "calm", "P"),
    ]


def other_one_first(rng: Rng) -> list[Fault]:
    """One node dies, the other goes on and dies, and the first one comes back alone."""
    at = _at(rng, 0.5, 0.8)
    back_at = at + _at(rng, 2.0, 2.8)
    return [
        _one(rng, at, "power", rng.pick(("S", "P")), back_at - at),
        _one(rng, back_at - _at(rng, 0.0, 0.3), "power", rng.pick(("P", "S")), 3.0),
        _one(rng, back_at + 1.7, "calm", "P"),
    ]


def late_grant(rng: Rng) -> list[Fault]:
    """A witness answers a question that nobody asks any more, while another one is open."""
    at = _at(rng, 0.6, 0.9)
    again_at = at + _at(rng, 1.3, 2.2)
    return [
        _one(rng, at - 0.1, "witness-slow", "P", 9.0),
        _one(rng, at, "cut", "P", _at(rng, 1.0, 1.3)),
        _one(rng, again_at, rng.pick(("cut", "power", "kill")), rng.pick(("P", "S")), 2.0),
        _one(rng, again_at + 2.0, "calm", "P"),
    ]


def saved_twice(rng: Rng) -> list[Fault]:
    """A VM is moved with its state, and what has it then dies."""
    at = _at(rng, 0.6, 0.9)
    kind = rng.pick(("guest-dies", "guest-dies", "kill", "power", "checker-fails", "start-fails"))
    return [
        _one(rng, at, "swap-saving", "P"),
        _one(rng, at + _at(rng, 0.1, 1.2), kind, rng.pick(("S", "S", "P")), _at(rng, 0.1, 1.0)),
        _one(rng, at + 1.3, rng.pick(("guest-dies", "swap-saving", "calm")), "S", 0.5),
    ]


def swap_in_trouble(rng: Rng) -> list[Fault]:
    """A hand-over is disturbed in its middle."""
    at = _at(rng, 0.6, 0.9)
    moment = rng.pick(("P: GIVING green", "S: PRIM taken", "S: PRIM green", "P: SECOND green"))
    kind = rng.pick(
        ("kill", "reset", "reset", "cut-one-way", "cut-one-way", "power", "freeze-node", "disk-limps", "stop")
    )
    return [
        _one(rng, at, rng.pick(("swap", "swap-saving", "stop")), "P", 2.0),
        _one(rng, at, kind, rng.pick(("P", "S")), _at(rng, 0.3, 2.0), moment),
        _one(rng, at + _at(rng, 1.0, 2.5), "calm", "P"),
    ]


def unheard_taker(rng: Rng) -> list[Fault]:
    """Who took the module over is not heard by who gave it, or sleeps through its own replacement."""
    at = _at(rng, 0.6, 0.9)
    swap = _one(rng, at, "swap", "P")
    end = _one(rng, at + _at(rng, 2.0, 3.5), "calm", "P")
    if rng.chance(60):
        return [swap, _one(rng, at + _at(rng, 0.1, 0.6), "freeze-node", "S", _at(rng, 1.2, 2.2)), end]
    moment = rng.pick(("S: PRIM taken", "S: PRIM green", "P: GIVING green"))
    kind = rng.pick(("cut-one-way", "cut", "freeze-node"))
    return [swap, _one(rng, at, kind, "S", _at(rng, 1.3, 2.5), moment), end]


def copied_then_dark(rng: Rng) -> list[Fault]:
    """Who is preferred has just copied what it missed when power goes on both nodes."""
    at = _at(rng, 0.6, 0.8)
    away_at = at + _at(rng, 0.3, 0.6)
    moment = rng.pick(
        ("P: SECOND green", "P: SECOND green", "S: PRIM green", "S: PRIM confirming", "S: PRIM copying")
    )
    return [
        _one(rng, at, "swap", "P"),
        _one(rng, away_at, rng.pick(("power", "kill", "stop")), "P", _at(rng, 0.2, 1.2)),
        _one(
            rng,
            away_at + 0.05,
            rng.pick(("power-both", "power-both", "power")),
            "P",
            _at(rng, 0.1, 0.6),
            moment,
        ),
        _one(rng, away_at + _at(rng, 1.5, 2.5), "calm", "P"),
    ]


def unwritten_leave(rng: Rng) -> list[Fault]:
    """A node leaves, and what it records of that does not become durable."""
    at = _at(rng, 0.6, 0.9)
    why = rng.pick(("stop", "stop", "disk-flush-error"))
    return [
        _one(rng, at - 0.02, "disk-record-error", "S"),
        _one(rng, at, why, "S", _at(rng, 0.5, 2.0)),
        _one(rng, at + _at(rng, 0.5, 1.5), rng.pick(("calm", "power", "kill")), "P", _at(rng, 0.1, 1.0)),
    ]


def unwritten_alone(rng: Rng) -> list[Fault]:
    """A node cannot record that it goes on alone, and the other one takes over."""
    at = _at(rng, 0.5, 0.8)
    slow = _one(rng, at, "slow-network", "P", _at(rng, 0.9, 1.5))
    return [
        slow._replace(draw=slow.draw | 48),
        _one(rng, at + _at(rng, 0.1, 0.5), "disk-record-error", rng.pick(("P", "P", "S")), 0.0),
        _one(rng, at + _at(rng, 1.5, 2.5), rng.pick(("calm", "calm", "kill")), "P"),
    ]


def failing_flush(rng: Rng) -> list[Fault]:
    """A flush fails, or a log cannot be written, in any state."""
    at = _at(rng, 0.4, 1.2)
    kind = rng.pick(("disk-flush-error", "disk-flush-error", "disk-log-error", "disk-record-error"))
    return [
        _one(rng, at, kind, rng.pick(("P", "S")), 0.0),
        _one(
            rng,
            at + _at(rng, 0.3, 1.2),
            rng.pick(("power", "kill", "calm", "stop")),
            rng.pick(("P", "S")),
            1.0,
        ),
    ]


def dark_at_a_record(rng: Rng) -> list[Fault]:
    """Power goes while a record, a log or a bitmap is being written."""
    at = _at(rng, 0.3, 0.7)
    moment = rng.pick(("P: HOLD", "P: ALONE", "S: SECOND copying", "P: PRIM copying", "S: SECOND green", ""))
    found = [
        _away(rng, at, "S", _at(rng, 0.2, 1.0)),
        _one(
            rng, at + 0.02, "power-in-the-act", moment[:1] or rng.pick(("P", "S")), _at(rng, 0.2, 1.0), moment
        ),
        _one(rng, at + _at(rng, 0.6, 2.0), "power-in-the-act", rng.pick(("P", "S")), _at(rng, 0.2, 1.0)),
    ]
    return [*found, _one(rng, at + 2.2, "calm", "P")]


def split_brain(rng: Rng) -> list[Fault]:
    """Both sides of a cut network go on; when it heals one gives way, in peace or in the middle of more trouble."""
    at, span = _at(rng, 0.5, 0.8), _at(rng, 1.3, 3.0)
    found = [_one(rng, at, "cut", "P", span)]
    if rng.chance(60):
        moment = rng.pick(
            ("S: SECOND copying", "P: SECOND copying", "P: PRIM copying", "S: SECOND green", "")
        )
        kind = rng.pick(("kill", "power", "power", "reset", "cut", "power-both", "kill-in-the-act", "stop"))
        victim = rng.pick(("P", "S"))
        found.append(_one(rng, at + span * _at(rng, 0.9, 1.2), kind, victim, _at(rng, 0.3, 1.5), moment))
    if rng.chance(25):
        found.append(
            _one(rng, at + _at(rng, 0.5, 3.0), "disk-room", rng.pick(("P", "S")), _at(rng, 0.5, 3.0))
        )
    if rng.chance(30):
        second = rng.pick(("swap", "power", "cut", "guest-dies", "stop"))
        found.append(_one(rng, at + span + _at(rng, 0.5, 2.5), second, rng.pick(("P", "S")), 1.5))
    return [*found, _one(rng, at + span + _at(rng, 1.5, 3.5), "calm", "P")]


def moved_to_another_network(rng: Rng) -> list[Fault]:
    """What is under way in one network comes out of it when the nodes talk over another one, or anew."""
    at = _at(rng, 0.5, 0.8)
    if rng.chance(60):
        return _answers_held_back(rng, at)
    found = []
    for _ in range(rng.between(1, 3)):
        kind = rng.pick(("cut-one-network", "cut-one-network", "slow-network", "cut-one-way", "freeze"))
        found.append(_one(rng, at, kind, rng.pick(("P", "S")), _at(rng, 0.82, 1.08)))
        at += _at(rng, 0.2, 1.2)
    return [*found, _one(rng, at + 1.0, "calm", "P")]


def _answers_held_back(rng: Rng, at: float) -> list[Fault]:
    """Answers of the SECOND are held back, and come when its disk is slow, to a session that counts as far as they do."""
    young = rng.chance(70)
    found = [_one(rng, at, "reset", "P")] if young else []
    cut_at = at + (_at(rng, 0.15, 0.5) if young else 0.0)
    held = _one(rng, cut_at, "cut-one-network", "S", _at(rng, 0.6, 1.2))
    moment = rng.pick(("S: SECOND green", "P: PRIM green"))
    hangs = _one(rng, cut_at + 0.3, "disk-hangs", "S", _at(rng, 0.3, 0.9), moment)
    return [*found, held._replace(draw=held.draw & ~1), hangs, _one(rng, cut_at + 1.5, "calm", "P")]


def dark_after_a_copy(rng: Rng) -> list[Fault]:
    """Power goes when a copy is complete: on both nodes, and the one that was copied to comes back first, or on that one."""
    at = _at(rng, 0.5, 0.8)
    swap = [_one(rng, at, "swap", "P")] if rng.chance(40) else []
    copied = "P" if swap else "S"
    other = "S" if swap else "P"
    away_at = at + (0.4 if swap else 0.0)
    both = _one(rng, away_at + 0.05, "power-both", copied, _at(rng, 0.05, 0.4), f"{other}: PRIM green")
    found = [
        *swap,
        _one(rng, away_at, rng.pick(("power", "kill", "stop")), copied, _at(rng, 0.3, 1.3)),
        both._replace(draw=both.draw | 99),
        _one(rng, away_at + _at(rng, 3.0, 4.5), "calm", "P"),
    ]
    own = rng.fork(1)
    if own.chance(40):  # only the one that was copied to, and before its disk has flushed the copy
        moment = f"{other}: PRIM flushing"
        found[-2] = _one(own, away_at + 0.05, "power", copied, _at(own, 0.05, 0.8), moment)
    return found


def record_lost_after_a_copy(rng: Rng) -> list[Fault]:
    """The source of a copy cannot record that the other node may be uptodate, or not in time."""
    at = _at(rng, 0.5, 0.8)
    kind = rng.pick(("disk-record-error", "disk-record-late", "disk-record-late"))
    moment = rng.pick(("P: PRIM flushing", "P: PRIM flushing", "P: PRIM copying"))
    return [
        _one(rng, at, rng.pick(("power", "kill", "stop")), "S", _at(rng, 0.3, 1.4)),
        _one(rng, at + 0.05, kind, "P", 0.0, moment),
        _one(rng, at + _at(rng, 2.0, 3.0), "calm", "P"),
    ]


TALES: tuple[Callable[[Rng], list[Fault]], ...] = (
    sleeper,
    late_writes,
    alone_then_dark,
    limping_source,
    end_of_copy,
    end_of_copy,
    source_dies,
    other_one_first,
    late_grant,
    saved_twice,
    swap_in_trouble,
    swap_in_trouble,
    unheard_taker,
    copied_then_dark,
    unwritten_leave,
    unwritten_alone,
    failing_flush,
    dark_at_a_record,
    split_brain,
    split_brain,
    moved_to_another_network,
    dark_after_a_copy,
    record_lost_after_a_copy,
)


# ---- what once took a hundred thousand lives to happen ---------------------------------------------------


def _at_once(fault: Fault) -> Fault:
    """Right when its trigger comes, not a moment later."""
    return fault._replace(draw=fault.draw & ~(3 << 50))


def _with_draw(fault: Fault, low: int, high: int, rng: Rng) -> Fault:
    """Its strength, the lowest six bits of its draw, from a narrower range."""
    return fault._replace(draw=(fault.draw & ~63) | rng.between(low, high))


def unwritten_alone_in_a_slow_network(rng: Rng) -> list[Fault]:
    """The PRIM cannot record that it goes on alone, and the SECOND, which only was not heard, takes over."""
    at = _at(rng, 0.6, 0.9)
    slow = _with_draw(_one(rng, at, "slow-network", "P", _at(rng, 0.85, 1.15)), 48, 63, rng)
    return [
        slow,
        _one(rng, at + 0.01, "disk-record-error", "P"),
        _one(rng, at + _at(rng, 1.5, 2.5), "calm", "P"),
    ]


def swap_in_vain_on_a_slow_disk(rng: Rng) -> list[Fault]:
    """The VM is off, what it had asked for is not done yet, and it boots again because the SECOND died."""
    at = _at(rng, 0.6, 0.9)
    return [
        _one(rng, at - _at(rng, 0.03, 0.1), "disk-hangs", "P", _at(rng, 0.15, 0.23)),
        _one(rng, at, rng.pick(("swap", "swap", "stopstart")), "P"),
        _one(rng, at + _at(rng, 0.03, 0.08), "kill", "S"),
        _one(rng, at + _at(rng, 1.0, 2.0), "calm", "P"),
    ]


def asleep_for_nearly_t(rng: Rng) -> list[Fault]:
    """The PRIM sleeps for less than T, but longer than a new worker of the other node waits that knows a shorter T."""
    at = _at(rng, 0.6, 0.8)
    return [
        _one(rng, at, "freeze-node", "P", _at(rng, 0.78, 0.96)),
        _one(rng, at + _at(rng, 0.04, 0.17), rng.pick(("kill", "kill", "power")), "S", 0.01),
        _one(rng, at + 2.2, "calm", "P"),
    ]


def asleep_at_a_record(rng: Rng) -> list[Fault]:
    """The PRIM sleeps while a record is on its way to its disk."""
    at = _at(rng, 0.6, 0.8)
    moment = rng.pick(("P: PRIM confirming", "P: PRIM recording"))
    return [
        _one(rng, at, rng.pick(("stop", "kill", "power")), "S", _at(rng, 0.1, 0.5)),
        _at_once(_one(rng, at + 0.05, "freeze-node", "P", _at(rng, 1.2, 2.0), moment)),
        _one(rng, at + 2.5, "calm", "S"),
    ]


def signs_of_the_dead(rng: Rng) -> list[Fault]:
    """Signs of life are under way for long, and both nodes lose power meanwhile."""
    at, span = _at(rng, 0.5, 0.7), _at(rng, 1.5, 2.2)
    slow = _with_draw(_one(rng, at, "slow-network", "P", span), 32, 36, rng)
    return [
        slow,
        _one(rng, at + span + _at(rng, -0.05, 0.02), "power-both", "S", _at(rng, 0.02, 0.1)),
        _one(rng, at + span + 3.0, "calm", "P"),
    ]


def order_on_a_disk_that_hangs(rng: Rng) -> list[Fault]:
    """A node is started by name while its disk answers nothing for longer than a record may take."""
    at, node = _at(rng, 0.7, 0.9), rng.pick(("P", "S"))
    cut_at = at + _at(rng, 0.4, 0.8)
    hangs_at = cut_at + _at(rng, 1.3, 2.0)
    return [
        _one(rng, at, "stop", "S", _at(rng, 0.8, 1.2)),
        _one(rng, cut_at, "cut", "P", 5.0),
        _one(rng, hangs_at, "disk-hangs", node, _at(rng, 1.1, 1.6)),
        _one(rng, hangs_at + _at(rng, 0.05, 0.3), "as-primary", node),
        _one(rng, hangs_at + 2.6, "calm", "P"),
    ]


def busy_when_it_should_give_way(rng: Rng) -> list[Fault]:
    """A split brain meets when one side is in the middle of something else."""
    at, span = _at(rng, 0.6, 0.8), _at(rng, 1.4, 2.2)
    return [
        _one(rng, at, "cut", "P", span),
        _one(
            rng,
            at + span + _at(rng, -0.1, 0.5),
            rng.pick(("stopstart", "restart")),
            rng.pick(("P", "S")),
            0.2,
        ),
        _one(rng, at + span + 1.5, "calm", "P"),
    ]


def dies_as_soon_as_it_is_alone(rng: Rng) -> list[Fault]:
    """The PRIM goes on alone and dies at once, and the other one wakes."""
    at = _at(rng, 0.6, 0.8)
    return [
        _one(rng, at, "freeze", "S", _at(rng, 0.82, 1.0)),
        _one(rng, at + 0.02, "kill", "P", 0.1, "P: ALONE"),
        _one(rng, at + 2.0, "calm", "P"),
    ]


def disk_that_cannot_say_that_it_failed(rng: Rng) -> list[Fault]:
    """The SECOND's disk fails a flush and the record of that, and the PRIM dies before it knows what to do."""
    at = _at(rng, 0.6, 0.8)
    late = at + _at(rng, 0.3, 0.6)
    return [
        _one(rng, at, "swap", "P"),
        _one(rng, late, "disk-record-error", "P"),
        _one(rng, late + 0.01, "disk-flush-error", "P"),
        _at_once(_one(rng, late + 0.02, rng.pick(("kill", "power")), "S", _at(rng, 0.05, 0.4), "S: HOLD")),
        _one(rng, late + 2.0, "calm", "P"),
    ]


def successor_with_a_new_disk(rng: Rng) -> list[Fault]:
    """The PRIM sleeps through its own replacement, and its successor's disk is replaced by a blank one."""
    at, span = _at(rng, 0.7, 1.1), _at(rng, 1.3, 2.1)
    return [
        _one(rng, at, "freeze-node", "P", span),
        _one(rng, at + span - _at(rng, -0.1, 0.3), "disk-replaced", "S", _at(rng, 0.1, 0.4)),
        _one(rng, at + span + 1.0, "calm", "P"),
    ]


def woken_behind_a_cut(rng: Rng) -> list[Fault]:
    """The PRIM sleeps through its own replacement and wakes cut off, and its successor dies before the two have met."""
    at, span = _at(rng, 0.6, 1.0), _at(rng, 1.3, 1.8)
    return [
        _one(rng, at, "cut", "P", 7.0),
        _one(rng, at - _at(rng, 0.02, 0.2), "freeze-node", "P", span),  # it wakes with something left to read
        _one(rng, at + span + _at(rng, 0.1, 0.7), rng.pick(("power", "power", "kill")), "S", 5.0),
        _one(rng, at + span + 3.5, "calm", "P"),
    ]


RARE: tuple[Callable[[Rng], list[Fault]], ...] = (
    *(unwritten_alone_in_a_slow_network,) * 2,
    *(swap_in_vain_on_a_slow_disk,) * 4,
    *(asleep_for_nearly_t,) * 6,
    asleep_at_a_record,
    *(signs_of_the_dead,) * 4,
    order_on_a_disk_that_hangs,
    *(busy_when_it_should_give_way,) * 2,
    *(dies_as_soon_as_it_is_alone,) * 2,
    disk_that_cannot_say_that_it_failed,
    successor_with_a_new_disk,
    *(woken_behind_a_cut,) * 3,
)
"""Those that lead to their end seldom come more often."""


# ---- with a witness that has a memory ------------------------------------------------------------------


def taken_by_a_person(rng: Rng) -> list[Fault]:
    """One node runs alone, the network is cut, and a person starts the other one by name."""
    at = _at(rng, 0.6, 0.9)
    long = _at(rng, 4.5, 7.0)
    first = rng.pick(("cut", "cut", "stop", "power"))
    found = [_one(rng, at, first, rng.pick(("S", "S", "P")), long if first == "cut" else _at(rng, 0.8, 1.6))]
    if first != "cut":
        found.append(_one(rng, at + 0.6, "cut", "P", long))
    if rng.chance(50):
        kind = rng.pick(("witness-away", "witness-away", "witness-slow", "witness-down"))
        found.append(_one(rng, at + _at(rng, -0.3, 2.0), kind, rng.pick(("P", "S")), _at(rng, 0.8, 3.0)))
    found.append(_one(rng, at + _at(rng, 1.8, 3.5), "as-primary", rng.pick(("S", "S", "S", "P"))))
    if rng.chance(30):
        found.append(
            _one(rng, at + _at(rng, 2.0, 4.5), rng.pick(("kill", "power")), rng.pick(("P", "S")), 0.5)
        )
    return [*found, _one(rng, at + long + _at(rng, -1.0, 0.5), "calm", "P")]


def asked_in_vain(rng: Rng) -> list[Fault]:
    """What a node asked of the witness lands, or is answered, when things are different again."""
    at = _at(rng, 0.6, 0.9)
    found = [_one(rng, at - 0.1, rng.pick(("witness-slow", "witness-away")), "S", _at(rng, 1.2, 4.0))]
    found.append(_one(rng, at, "cut", "P", _at(rng, 1.0, 1.6)))
    for _ in range(rng.between(1, 3)):
        kind = rng.pick(("stop", "cut", "power", "kill", "swap", "reset", "witness-slow", "freeze-node"))
        at += _at(rng, 0.3, 1.4)
        found.append(_one(rng, at, kind, rng.pick(("P", "S")), _at(rng, 0.3, 1.5)))
    return [*found, _one(rng, at + 2.0, "calm", "P")]


def set_back(rng: Rng) -> list[Fault]:
    """The witness is restored or its record deleted while one node runs alone, or both are in step."""
    at = _at(rng, 0.6, 0.9)
    found = []
    if rng.chance(60):
        found.append(_one(rng, at, rng.pick(("power", "kill", "stop")), "S", _at(rng, 1.4, 3.0)))
    found.append(_one(rng, at + _at(rng, 0.1, 2.5), rng.pick(("witness-restored", "witness-deleted")), "P"))
    found.append(_one(rng, at + _at(rng, 0.5, 3.0), rng.pick(("cut", "cut", "power")), "P", 2.0))
    if rng.chance(40):
        found.append(_one(rng, at + _at(rng, 1.0, 3.5), "witness-reset", rng.pick(("P", "S"))))
    return [*found, _one(rng, at + _at(rng, 3.0, 5.0), "calm", "P")]


def cut_from_everything(rng: Rng) -> list[Fault]:
    """A node reaches neither the other one nor the witness."""
    at, node = _at(rng, 0.6, 0.9), rng.pick(("P", "S"))
    return [
        _one(rng, at, "witness-away", node, _at(rng, 1.2, 3.0)),
        _one(
            rng, at + _at(rng, -0.2, 0.3), rng.pick(("cut", "cut", "cut-one-way")), node, _at(rng, 1.2, 3.0)
        ),
        _one(rng, at + _at(rng, 1.5, 3.0), rng.pick(("power", "kill", "calm")), rng.pick(("P", "S")), 1.0),
        _one(rng, at + 3.5, "calm", "P"),
    ]


WITNESS_TALES: tuple[Callable[[Rng], list[Fault]], ...] = (
    taken_by_a_person,
    asked_in_vain,
    asked_in_vain,
    set_back,
    cut_from_everything,
    sleeper,
    other_one_first,
    dark_after_a_copy,
)
