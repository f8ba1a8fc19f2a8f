"""One round: trouble by its plan, then everything is made whole, then all promises are looked at."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

from tests.integration.failover.configuring import apply, take_everywhere
from tests.integration.failover.pair import MODULE, PATIENCE_S, pause
from tests.lab import LabError

from twinhull.errors import TwinhullError

from .faults import begin, order
from .nodes import ChaosPair
from .plan import Plan

GREEN_TIMEOUT_S = 2 * PATIENCE_S
LOOK_S = 2.0
TRIES = 3


@dataclass(frozen=True)
class Outcome:
    """How a round ended.

    Args:
        plan: what was done.
        took_s: all of it, seconds.
        acknowledged: writes that were told of in it.
        split: there were two histories, as the status announced, and a person chose one.
        violations: sentences by the name of the promise; empty lists for those kept.
        story: what was seen and done, one line each.
    """

    plan: Plan
    took_s: float
    acknowledged: int
    split: bool = False
    violations: dict[str, list[str]] = field(default_factory=dict)
    story: str = ""

    @property
    def failed(self) -> bool:
        """Whether something was found."""
        return any(self.violations.values())


def play(pair: ChaosPair, plan: Plan) -> Outcome:
    """Play a round on a pair that is green.

    Whatever cannot be made whole, and every broken promise, is in the outcome.
    """
    pair.watch.forget()
    begun_s, before = time.monotonic(), pair.acknowledged()
    pair.say(f"seed {plan.seed}: {plan}")
    common, runs = pair.reports.last(), frozenset(run.name for run in pair.reports.read())
    split = False
    try:
        _trouble(pair, plan)
        split, violations = _look(pair, plan, common, runs)
    except (LabError, TwinhullError, OSError) as error:
        violations = {"not_green": [str(error)]}
    return Outcome(
        plan,
        time.monotonic() - begun_s,
        pair.acknowledged() - before,
        split,
        violations,
        pair.watch.story(400),
    )


def _trouble(pair: ChaosPair, plan: Plan) -> None:
    """All faults, each ending when its own time is over."""
    ends: list[tuple[float, contextlib.ExitStack]] = []
    with contextlib.ExitStack() as whatever_is_left:
        if plan.ballast_mb:
            pair.write_ballast(pair.primary, plan.ballast_mb)
        for fault, pause_s in zip(plan.faults, plan.pauses_s, strict=True):
            _pass_time(ends, time.monotonic() + pause_s)
            own = whatever_is_left.enter_context(contextlib.ExitStack())
            own.enter_context(begin(pair, fault))
            ends.append((time.monotonic() + fault.lasts_s, own))
        _pass_time(ends, max((end_s for end_s, _ in ends), default=0.0))


def _pass_time(ends: list[tuple[float, contextlib.ExitStack]], until_s: float) -> None:
    """Wait until then, ending what ends before."""
    for end_s, fault in sorted(ends, key=lambda item: item[0]):
        if end_s <= until_s:
            pause(max(0.0, end_s - time.monotonic()))
            fault.close()
            ends.remove((end_s, fault))
    pause(max(0.0, until_s - time.monotonic()))


def _look(
    pair: ChaosPair, plan: Plan, common: int, runs: frozenset[str]
) -> tuple[bool, dict[str, list[str]]]:
    """Make the pair whole and look at every promise: whether it had split, and what was found.

    A trouble that is noticed only now (a status is a moment old) makes this begin anew, a few times.
    """
    split, tries_left = False, TRIES
    while True:
        tries_left -= 1
        split = _make_whole(pair, common, runs, may_split=plan.may_split) or split
        if pair.reconfigured:
            _configure_as_before(pair)
        try:
            pair.wait_writing(pair.primary)
            return split, pair.violations(split=split)
        except (LabError, OSError):
            if not tries_left or pair.is_settled():
                raise
        pair.say("the pair was not as settled as it looked")


def _make_whole(pair: ChaosPair, common: int, runs: frozenset[str], *, may_split: bool) -> bool:
    """End all trouble, as a person at the site would, until both nodes are green; whether they had split.

    Raises LabError when that takes too long, or when there was a split that nothing in the plan allows.
    """
    pair.say("the trouble is over")
    pair.lab.heal()
    pair.full_speed()
    pair.repair_disks()
    if pair.etcd is not None:
        pair.etcd.start()
    for node in pair.lab.nodes.values():
        if not node.alive:
            pair.power_on(node)
        pair.make_room(node)
        node.start_service("agent")
    deadline_s = time.monotonic() + GREEN_TIMEOUT_S
    split = False
    while not pair.is_settled():
        if time.monotonic() > deadline_s:
            raise LabError(f"not green {GREEN_TIMEOUT_S:g} s after the trouble ended\n{pair.watch.story()}")
        with contextlib.suppress(LabError):
            pair.wait("both nodes to be green and at rest", lambda _: pair.is_settled(), LOOK_S)
            break
        if pair.split_told() and not split:
            split = True
            if not may_split:
                raise LabError(f"the nodes split, and nothing in the plan allows that: {pair.warnings()}")
            _choose(pair, common, runs)
        _start_what_stopped(pair)
    return split


def _configure_as_before(pair: ChaosPair) -> None:
    """A person takes the change of the witness back, on a green pair. Raises LabError."""
    apply(pair, pair.primary)
    take_everywhere(pair)
    kinds = {name: words["witness"] for name in pair.lab.nodes if (words := pair.watch.now(name).words)}
    if set(kinds.values()) != {pair.cluster["witness"]["kind"]}:
        raise LabError(f"after the change was taken back the witnesses that rule are {kinds}")
    pair.reconfigured = False


def _choose(pair: ChaosPair, common: int, runs: frozenset[str]) -> None:
    """A person gives up what one side wrote, as the messages say."""
    alone = [node for node in pair.lab.nodes.values() if pair.watch.now(node.name).state == "ALONE"]
    winner = alone[0] if alone else pair.lab["a"]
    loser = pair.other(winner)
    pair.say(f"split brain: a person gives up what node {loser.name} wrote")
    loser.twinhull("stop", MODULE, check=False)
    pair.wait_state(loser, "STOP")
    winner.twinhull("start", MODULE, "--as-primary", "--yes", MODULE, check=False)
    pair.give_up(loser, common, runs)
    loser.twinhull("start", MODULE, check=False)


def _start_what_stopped(pair: ChaosPair) -> None:
    for node in pair.lab.nodes.values():
        look = pair.watch.now(node.name)
        words = look.words
        if look.state == "STOP" and words and words["worker"]["alive"] and not words.get("operation"):
            pair.say(f"node {node.name} is stopped: {words['sentence']}")
            order(pair, node, "start")
