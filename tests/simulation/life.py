"""One life: a world, its faults, and the peace afterwards in which everything must become whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from twinhull.core.decide import Kind
from twinhull.core.session import verdict_of
from twinhull.core.state import HostState, Mode, Phase, Work

from .faults import KINDS, plan
from .judge import ViolationError
from .node import Unit
from .process import Process, simulated_edges
from .rescued import look_back
from .rng import Rng
from .tales import Fault
from .world import ROOM_BYTES, World

PEACE_T = 60
"""Within so many T after the last fault everything is green, or a person was told what to do."""
LOSE_CONTENT = ("disk-e", "disk-f", "disk-h", "disk-l", "disk-replaced", "disk-slow", "as-primary")
"""Faults (beginnings of their names) after which it may be that no replica is whole: not those of a mere record."""
RESET = "twinhull witness reset"
ROOM_ASKED = "raise rescue.share"
STEPS_IN_T = 8
"""How often in T somebody looks whether it is whole."""


@dataclass
class Life:
    """How it went.

    Args:
        violation: what promise did not hold; empty when all did.
        story: all of it, in sentences.
    """

    seed: int
    violation: str
    story: str
    faults: tuple[Fault, ...]
    coverage: Counter[str]
    simulated_s: float
    acked: int


def live(seed: int, faults: Sequence[Fault] | None = None, *, without: frozenset[str] = frozenset()) -> Life:
    """Live through one life.

    Args:
        seed: everything follows from it.
        faults: instead of those that follow from the seed (for shrinking).
        without: kinds of faults that are left out.
    """
    with simulated_edges():
        world = World(seed)
        planned = (
            list(faults)
            if faults is not None
            else plan(Rng(seed).fork(77), without, remembers=world.remembers)
        )
        violation = ""
        try:
            _go(world, planned)
        except ViolationError as error:
            violation = str(error)
        began_s = 1000.0
        return Life(
            seed,
            violation,
            world.story.told() if violation else "",
            tuple(planned),
            world.coverage,
            world.schedule.now_s - began_s,
            world.judge.acked,
        )


def story_of(
    seed: int, faults: Sequence[Fault] | None = None, *, without: frozenset[str] = frozenset()
) -> str:
    """The whole story, also of a life without any violation."""
    with simulated_edges():
        world = World(seed)
        planned = (
            list(faults)
            if faults is not None
            else plan(Rng(seed).fork(77), without, remembers=world.remembers)
        )
        try:
            _go(world, planned)
        except ViolationError:
            return world.story.told()
        return world.story.told()


def _go(world: World, faults: Sequence[Fault]) -> None:
    timeout_s = world.settings.timeout_s
    world.begin()
    world.happens = lambda fault: _happens(world, fault)
    for fault in faults:
        when_s = 1000.0 + fault.at * timeout_s
        call = world.armed.append if fault.trigger else world.happens
        world.schedule.at(when_s, lambda fault=fault, call=call: call(fault))  # type: ignore[misc]
    last = max((fault.at for fault in faults), default=1.0)
    world.schedule.run_until(1000.0 + (last + world.settings.calm_share) * timeout_s)
    _peace(world)
    _converge(world)


def _happens(world: World, fault: Fault) -> None:
    if world.last_fault == "peace":
        return
    world.story.add("FAULT", fault.told())
    world.cover(f"fault: {fault.kind}")
    for other in world.faults:
        first, second = sorted((other.kind, fault.kind))
        world.cover(f"faults: {first} + {second}")
    world.faults.append(fault)
    world.last_fault = fault.kind
    KINDS[fault.kind][1](world, world.nodes[world.named(fault.node)], fault)


# ---- peace -----------------------------------------------------------------------------------------------


def _peace(world: World) -> None:
    """All faults end."""
    world.story.add("PEACE", "all faults end")
    world.network.calm = True
    world.last_fault = "peace"
    world.armed.clear()
    world.settings.lane_s["witness"] = 0.001
    world.etcd.down = ""
    for name, source in world.network.ways:
        world.network.heal(name, source)
        world.network.ways[name, source].delay_s = world.settings.delay_s
    for node in world.nodes.values():
        world.etcd.heal(node)
        node.disk.failing.clear()
        node.disk.full = False
        node.disk.total_bytes = ROOM_BYTES
        node.slow_s, node.limp_s, node.late_s, node.slow_percent = 0.0, 0.0, 0.0, 0
        node.disk_answers()
        if not node.powered:
            node.power_on()
        node.agent_frozen = False
        if not node.agent_up:
            node.agent_back()
        for unit in node.units.values():
            unit.attach_fails = unit.start_fails = unit.stubborn = unit.folder_busy = False
            unit.witness.reachable = True
            unit.heard_s = world.schedule.now_s
            if unit.process is not None:
                unit.process.countdown = None
                unit.process.thaw()


def _converge(world: World) -> None:
    """Everything becomes green by itself, or with what a person is told to do."""
    timeout_s = world.settings.timeout_s
    step_s = timeout_s / STEPS_IN_T
    quiet = 0
    for step in range(PEACE_T * STEPS_IN_T):
        world.schedule.run_until(world.schedule.now_s + step_s)
        units = list(world.nodes["a"].units.values())
        if all(_whole(unit) for unit in units):
            for unit in world.units():
                unit.guest.resting = True
            quiet = quiet + 1 if not any(unit.guest.open for unit in world.units()) else 0
            if quiet >= 2:
                for unit in units:
                    world.judge.equal(unit)
                for unit in world.units():
                    look_back(unit)
                world.cover("converged")
                return
        else:
            quiet = 0
            if step and step % STEPS_IN_T == 0:
                for unit in units:
                    _person(world, unit, step)
    shown = "; ".join(_shown(unit) for unit in world.units())
    world.judge.broken(f"{PEACE_T} T after the last fault the cluster is not whole: {shown}")


def _whole(unit: Unit) -> bool:
    """PRIM and SECOND, green, and the VM runs."""
    processes = [each.process for each in (unit, unit.peer) if each.process is not None]
    modules = [process.machine._module for process in processes]
    if {module.mode for module in modules} != {Mode.PRIM, Mode.SECOND}:
        return False
    for module in modules:
        if module.session is None or module.session.phase is not Phase.GREEN:
            return False
        if module.mode is Mode.PRIM and module.host.state is not HostState.RUNNING:
            return False
    return True


def _person(world: World, unit: Unit, step: int) -> None:
    """A person looks at both nodes, and does what they say."""
    pair = (unit, unit.peer)
    views = [each.process.machine.view(each.node.clock()) if each.process else None for each in pair]
    if None in views or any(_repairs(world, each) for each in pair):
        return
    if step < 3 * STEPS_IN_T:
        return
    if _resets(world, pair):
        return
    found = [verdict_of(each.process.machine._module) for each in pair if each.process is not None]
    verdicts = [verdict for verdict in found if verdict is not None]
    kinds = {verdict.kind for verdict in verdicts}
    if Kind.SPLIT in kinds:
        world.cover("person: told of a split brain")
        if not world.may_split:
            world.judge.broken(
                f"a split brain, though nothing could make one: {_shown(unit)}; {_shown(unit.peer)}"
            )
        if verdicts and all(verdict.heal is not None for verdict in verdicts):
            return
        if world.heals and step > 15 * STEPS_IN_T:
            world.judge.broken(
                f"a split brain waits for a person, though its policy names one: {_shown(unit)}"
            )
        elif not world.heals:
            _decide(world, pair)
    elif Kind.GRANT in kinds:
        _go_on_without_what_is_gone(world, pair, step)
    elif Kind.NOTHING in kinds:
        world.cover("person: told that no replica is whole")
        if not _happened(world, *LOSE_CONTENT):
            world.judge.broken(
                f"no replica is known to be whole, though no disk failed: {_shown(unit)}; {_shown(unit.peer)}"
            )
        _decide(world, pair)


def _go_on_without_what_is_gone(world: World, pair: tuple[Unit, Unit], step: int) -> None:
    """One disk is a new one, and the witness does not let the other node go on: what the old disk held is lost."""
    for unit in pair:
        view = unit.process.machine.view(unit.node.clock()) if unit.process is not None else None
        told = view is not None and f"start --as-primary on {unit.node.name}" in view.waiting_for
        if told and step >= 6 * STEPS_IN_T:
            world.cover("person: gave up what was on a disk that is gone")
            _say(world, unit, "starts it by name: what the disk that was replaced held is lost")
            unit.command("start", {"as_primary": True})


def _resets(world: World, pair: tuple[Unit, Unit]) -> bool:
    """What a status asks for where the witness is not the one that was seen before."""
    for unit in pair:
        process = unit.process
        view = process.machine.view(unit.node.clock()) if process is not None else None
        if view is not None and view.state in ("PRIM", "ALONE") and RESET in " ".join(view.warnings):
            if not world.etcd.restored:
                world.judge.broken(f"the witness is strange to {unit.node.name}, though nobody restored it")
            world.cover("person: reset the witness")
            _say(world, unit, "resets the witness")
            unit.command("witness-reset", {})
            return True
    return False


def _happened(world: World, *kinds: str) -> bool:
    return any(fault.kind.startswith(kinds) for fault in world.faults)


def _repairs(world: World, unit: Unit) -> bool:
    """What a status asks for: repair the disk, then stop and start; start what is stopped."""
    process = unit.process
    view = process.machine.view(unit.node.clock()) if process is not None else None
    if process is None or view is None:
        return True
    if view.state == "STOP" and not view.operation:
        if view.fault:
            _say(world, unit, "the disk is repaired; the agent begins a new worker, which is started")
            world.cover("person: repaired a disk")
            unit.wanted = True
            unit.died(process, "kill")
        else:
            if ROOM_ASKED in view.sentence:
                _say(world, unit, "gives the rescue store more room")
                world.cover("person: gave the rescue store more room")
                unit.disk.total_bytes = ROOM_BYTES
            _say(world, unit, "starts what is stopped")
            world.cover("person: started what was stopped")
            unit.command("start", {})
        return True
    if not view.fault:
        return _is_stopping(process)
    if not world.disks_are_slow and not _happened(world, "disk"):
        world.judge.broken(f"a disk is said to have failed, though none did: {_shown(unit)}")
    if process not in world.asked_to_stop:
        world.asked_to_stop.add(process)
        _say(world, unit, "repairs the disk, and stops the module")
        unit.command("stop", {})
    return True


def _is_stopping(process: Process) -> bool:
    """Whether the module goes on alone only until its stop is through: nothing more is to be done about it."""
    module = process.machine._module
    return module.work is not None and module.work.work is Work.LEAVE and module.mode is Mode.ALONE


def _decide(world: World, pair: tuple[Unit, Unit]) -> None:
    """Stop the one whose changes are given up, start the other as primary, then start the first again.

    The one that runs alone is kept, where one does; else where the VM ran last. A blank disk is never the better one.
    """
    owner = world.judge.case(pair[0]).owner
    holds = [each for each in pair if each.process is not None and not each.process.volume.record.blank]
    runs = [each for each in holds if each.guest.running]
    winner = (runs or [each for each in holds if each is owner] or holds or list(pair))[0]
    loser = winner.peer
    world.cover("person: decided")
    _say(world, winner, "is chosen by a person")
    loser.command("stop", {"forced": True})
    world.schedule.after(
        0.4 * world.settings.timeout_s, lambda: winner.command("start", {"as_primary": True})
    )
    world.schedule.after(1.2 * world.settings.timeout_s, lambda: loser.command("start", {}))


def _say(world: World, unit: Unit, what: str) -> None:
    world.story.add("PERSON", f"{unit.module} on {unit.node.name}: {what}")


def _shown(unit: Unit) -> str:
    if unit.process is None:
        return f"{unit.node.name} has no worker"
    view = unit.process.machine.view(unit.node.clock())
    return (
        f"{unit.node.name} is {view.state} {view.colour} {view.phase} (resource {view.resource_state}; waits for "
        f"{view.waiting_for or 'nothing'}; {view.sentence} {view.fault})"
    )
