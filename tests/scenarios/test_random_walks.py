"""Random walks: faults and commands in any order, the judge looking after every step, and a happy end.

A failing seed replays exactly: `pytest -k "walk and 17"`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from twinhull.core import events
from twinhull.core.record import WitnessKind

from .storage import BLOCKS
from .world import T_S, World

STEPS = 60
SEEDS_PER_WITNESS = 40

Act = Callable[[World, random.Random, str], None]


def _kill(world: World, rnd: random.Random, name: str) -> None:
    world.kill(name, told=rnd.random() < 0.5)


def _boot(world: World, rnd: random.Random, name: str) -> None:
    world.power_on(name)
    world.spawn(name)
    world.tell(name, events.Start())


def _power(world: World, rnd: random.Random, name: str) -> None:
    world.power_off(name, lambda _: rnd.random() < 0.5)


def _freeze(world: World, rnd: random.Random, name: str) -> None:
    process = world.nodes[name].process
    if process is not None:
        process.paused = not process.paused


def _cut(world: World, rnd: random.Random, name: str) -> None:
    kinds = rnd.choice((("stream",), ("agents",), ("stream", "agents")))
    peer = world.peer(name).name
    for kind in kinds:
        world.cut.add((kind, name, peer))
        if rnd.random() < 0.7:
            world.cut.add((kind, peer, name))


def _heal(world: World, rnd: random.Random, name: str) -> None:
    world.cut.clear()


def _write(world: World, rnd: random.Random, name: str) -> None:
    for _ in range(rnd.randint(1, 5)):
        world.write(name, rnd.randrange(BLOCKS))
    if rnd.random() < 0.5:
        world.flush(name)


def _agent(world: World, rnd: random.Random, name: str) -> None:
    node = world.nodes[name]
    node.agent_up = not node.agent_up
    world.tell(name, events.AgentLink(node.agent_up))


def _disk(world: World, rnd: random.Random, name: str) -> None:
    disk, other = world.nodes[name].disk, world.peer(name).disk
    if other.failed or other.full or other.hung or other.record_fails:
        return
    what = rnd.randrange(4)
    if what == 0:
        disk.failed = "input/output error"
    elif what == 1:
        disk.full = True
    elif what == 2:
        disk.hung = True
    else:
        disk.record_fails = True


def _guest(world: World, rnd: random.Random, name: str) -> None:
    host = world.nodes[name].host
    host.guest_stops = not host.guest_stops
    host.folder_busy = rnd.random() < 0.2
    host.start_fails = rnd.random() < 0.2


def _checker(world: World, rnd: random.Random, name: str) -> None:
    world.tell(name, events.CheckerFailed("vm", rnd.choice(("restart", "stopstart")), "no heartbeat"))


def _died(world: World, rnd: random.Random, name: str) -> None:
    node = world.nodes[name]
    if node.host.running:
        node.host.running = False
        world.tell(name, events.ResourceDied("it crashed"))


def _witness(world: World, rnd: random.Random, name: str) -> None:
    node = world.nodes[name]
    if node.settings.witness is WitnessKind.ETCD:
        late, node.late = node.late, []
        for land in late:
            land()
        node.witness = rnd.choice(("grants", "is away", "is silent", "loses answers", "answers late"))
    else:
        node.witness = rnd.choice(("grants", "refuses", "is silent"))


def _command(make: Callable[[random.Random], events.Event]) -> Act:
    return lambda world, rnd, name: world.tell(name, make(rnd))


ACTS: tuple[tuple[int, str, Act], ...] = (
    (14, "write", _write),
    (10, "boot", _boot),
    (5, "heal", _heal),
    (3, "kill", _kill),
    (3, "power", _power),
    (3, "freeze", _freeze),
    (3, "cut", _cut),
    (2, "agent", _agent),
    (1, "disk", _disk),
    (2, "guest", _guest),
    (2, "checker", _checker),
    (1, "died", _died),
    (2, "witness", _witness),
    (3, "swap", _command(lambda _: events.Swap())),
    (2, "stop", _command(lambda rnd: events.Stop(forced=rnd.random() < 0.3))),
    (1, "stopstart", _command(lambda _: events.StopStart())),
    (1, "restart", _command(lambda _: events.Restart())),
)


def protected(seed: int | None, **settings: object) -> World:
    """A world whose module is mirrored and runs on a."""
    world = World(seed, **settings)
    world.tell("a", events.Start(as_primary=True))
    world.advance(1)
    world.tell("b", events.Start())
    world.advance(8 if settings.get("witness") is WitnessKind.ETCD else 3)  # it is read and written first
    return world


def repair(world: World) -> None:
    """Undo every fault; a disk that failed is replaced when the other node can go on, else repaired."""
    world.cut.clear()
    for node in world.nodes.values():
        if node.process is not None:
            node.process.paused = False
        node.agent_up = True
        world.power_on(node.name)
        world.spawn(node.name)
        node.host.guest_stops, node.host.folder_busy, node.host.start_fails = True, False, False
        node.witness = "grants"
        world.tell(node.name, events.AgentLink(True))
    world.advance(2 * T_S)
    for node in world.nodes.values():
        disk = node.disk
        if disk.failed or disk.full or disk.hung or disk.record_fails or node.view().fault:
            disk.failed, disk.full, disk.hung, disk.record_fails = "", False, False, False
            world.kill(node.name)
            world.spawn(node.name)
        world.tell(node.name, events.Start())
    world.advance(8 * T_S)
    for node in world.nodes.values():
        world.tell(node.name, events.Start())
    world.advance(8 * T_S)


def green(world: World) -> bool:
    """PRIM and SECOND, in step."""
    views = [node.view() for node in world.nodes.values()]
    return sorted(view.state for view in views) == ["PRIM", "SECOND"] and all(
        v.colour == "green" for v in views
    )


def decide_by_a_person(world: World) -> None:
    """What the manual says for split brain, and for no replica that is known to be whole."""
    world.judge.overridden = True
    whole = [name for name in world.nodes if world.nodes[name].record.uptodate] or list(world.nodes)
    keep = next((name for name in whole if world.nodes[name].host.running), whole[0])
    world.tell(world.peer(keep).name, events.Stop(forced=True))
    world.advance(3 * T_S)
    world.tell(keep, events.Start(as_primary=True))
    world.advance(3 * T_S)
    world.tell(world.peer(keep).name, events.Start())
    world.advance(8 * T_S)


def needs_a_person(world: World) -> bool:
    """Split brain, or no replica that is known to be whole."""
    views = [node.view() for node in world.nodes.values()]
    return any("split brain" in w or "known to be whole" in w for view in views for w in view.warnings)


@pytest.mark.parametrize("witness", list(WitnessKind))
@pytest.mark.parametrize("seed", range(SEEDS_PER_WITNESS))
def test_walk_keeps_every_promise_and_ends_in_green(seed: int, witness: WitnessKind) -> None:
    world = protected(seed, witness=witness)
    assert green(world)
    rnd = world.random
    weights = [weight for weight, _, _ in ACTS]
    for _ in range(STEPS):
        _, what, act = rnd.choices(ACTS, weights)[0]
        name = rnd.choice("ab")
        world.log.append(f"{world.now_s:.1f} {what} {name}")
        act(world, rnd, name)
        world.advance(rnd.choice((0.5, 0.5, 1.0, 3.0, 8.0, 12.0, 25.0)))
    repair(world)
    if not green(world):
        assert needs_a_person(world), "\n".join([*world.log, *(f"{n}: {s}" for n, s in world.said[-30:])])
        decide_by_a_person(world)
    assert green(world), "\n".join([*world.log, *(f"{n}: {s}" for n, s in world.said[-30:])])
    world.advance(T_S)
    assert world.judge.equal()
