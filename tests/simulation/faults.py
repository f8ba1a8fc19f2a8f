"""What goes wrong, and what people ask: planned from the seed before the life begins, so that a plan can be made shorter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from twinhull.core import events

from .rng import Rng

if TYPE_CHECKING:
    from .node import Node, Unit
    from .world import World


class Fault(NamedTuple):
    """One thing that goes wrong, or one command.

    Args:
        at: when, in T since the beginning.
        kind: name of a row of `KINDS`.
        node: `a` or `b`.
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


Do = Callable[["World", "Node", Fault], None]


def _unit(node: Node, fault: Fault) -> Unit:
    names = list(node.units)
    return node.units[names[(fault.draw >> 40) % len(names)]]


def _later(world: World, fault: Fault, call: Callable[[], None]) -> None:
    world.schedule.after(fault.span * world.settings.timeout_s, call)


# ---- processes and power ---------------------------------------------------------------------------------


def kill(world: World, node: Node, fault: Fault) -> None:
    """SIGKILL to a worker."""
    unit = _unit(node, fault)
    if unit.process is not None:
        unit.died(unit.process, "kill")


def kill_in_the_act(world: World, node: Node, fault: Fault) -> None:
    """The worker dies at one of its next acts."""
    unit = _unit(node, fault)
    process = unit.process
    if process is not None:
        process.countdown = fault.draw % 40
        process.ends = True
        process.at_zero = lambda: unit.died(process, "kill")


def power(world: World, node: Node, fault: Fault) -> None:
    """Power loss of a node, which comes back."""
    node.power_off()
    _later(world, fault, node.power_on)


def power_in_the_act(world: World, node: Node, fault: Fault) -> None:
    """Power goes at one of the next acts of a worker."""
    process = _unit(node, fault).process
    if process is not None:
        process.countdown = fault.draw % 40
        process.ends = True
        process.at_zero = node.power_off
    _later(world, fault, node.power_on)


def power_both(world: World, node: Node, fault: Fault) -> None:
    """Both lose power at once; they come back one after the other."""
    node.power_off()
    node.peer.power_off()
    _later(world, fault, node.power_on)
    second = fault._replace(span=fault.span * (fault.draw % 100) / 50)
    _later(world, second, node.peer.power_on)


def freeze(world: World, node: Node, fault: Fault) -> None:
    """A worker is frozen for a while."""
    unit = _unit(node, fault)
    process = unit.process
    if process is not None:
        process.freeze()
        _later(world, fault, process.thaw)


def freeze_node(world: World, node: Node, fault: Fault) -> None:
    """A whole node is frozen: its workers and its agent (a suspended host)."""
    processes = [unit.process for unit in node.units.values() if unit.process is not None]
    node.agent_frozen = True
    for process in processes:
        process.freeze()

    def wake() -> None:
        node.agent_frozen = False
        for unit in node.units.values():
            unit.heard_s = world.schedule.now_s
        for process in processes:
            process.thaw()

    _later(world, fault, wake)


def freeze_after_an_act(world: World, node: Node, fault: Fault) -> None:
    """A whole node is frozen right after one of a worker's next acts."""
    process = _unit(node, fault).process
    if process is not None:
        process.countdown = fault.draw % 40
        process.ends = False
        process.at_zero = lambda: freeze_node(world, node, fault)


def agent_down(world: World, node: Node, fault: Fault) -> None:
    """The agent is down for a while."""
    if node.powered:
        node.agent_down()
        _later(world, fault, node.agent_back)


# ---- the network -----------------------------------------------------------------------------------------


def cut(world: World, node: Node, fault: Fault) -> None:
    """All networks are cut, in both directions."""
    _cut(world, [(name, each) for name in world.network.names for each in ("a", "b")], fault)


def cut_one_way(world: World, node: Node, fault: Fault) -> None:
    """Nothing gets from this node to the other."""
    _cut(world, [(name, node.name) for name in world.network.names], fault)


def cut_one_network(world: World, node: Node, fault: Fault) -> None:
    """The network of first choice is cut, in one direction or both."""
    ways = [(world.network.names[0], node.name)]
    if fault.draw & 1:
        ways.append((world.network.names[0], node.peer.name))
    _cut(world, ways, fault)


def _cut(world: World, ways: list[tuple[str, str]], fault: Fault) -> None:
    for name, source in ways:
        world.network.cut(name, source)
    world.note_cuts()

    def heal() -> None:
        for name, source in ways:
            world.network.heal(name, source)

    _later(world, fault, heal)


def reset(world: World, node: Node, fault: Fault) -> None:
    """The connections are reset."""
    world.network.reset()


def slow_network(world: World, node: Node, fault: Fault) -> None:
    """Everything takes longer for a while."""
    before = world.settings.delay_s
    slow_s = world.settings.timeout_s * (0.02 + 0.4 * (fault.draw % 64) / 64)
    for way in world.network.ways.values():
        way.delay_s = slow_s

    def again() -> None:
        for way in world.network.ways.values():
            way.delay_s = before

    _later(world, fault, again)


# ---- disks -----------------------------------------------------------------------------------------------

FILES = ("data.img", "data.img", "meta.bin", "log.bin", "bits.bin")


def disk_error(world: World, node: Node, fault: Fault) -> None:
    """The next read, write or sync of some file fails."""
    file = FILES[fault.draw % len(FILES)]
    op = ("write", "sync", "sync", "read")[(fault.draw >> 8) % (4 if file == "data.img" else 3)]
    node.disk.failing.append((op, file))


def disk_full(world: World, node: Node, fault: Fault) -> None:
    """No room for new data for a while."""
    node.disk.full = True

    def room() -> None:
        node.disk.full = False

    _later(world, fault, room)


def disk_hangs(world: World, node: Node, fault: Fault) -> None:
    """The disk answers nothing for a while."""
    node.hung = True
    _later(world, fault, node.disk_answers)


def disk_slow(world: World, node: Node, fault: Fault) -> None:
    """The disk is slow for a while."""
    node.slow_s = world.settings.timeout_s * (0.01 + 0.3 * (fault.draw % 64) / 64)
    node.slow_percent = (fault.draw >> 8) % 60

    def again() -> None:
        node.slow_s, node.slow_percent = 0.0, 0

    _later(world, fault, again)


# ---- hosts, witness ----------------------------------------------------------------------------------------


def guest_stubborn(world: World, node: Node, fault: Fault) -> None:
    """The guest does not stop when asked to, or its folder is held."""
    unit = _unit(node, fault)
    unit.stubborn, unit.folder_busy = bool(fault.draw & 1), bool(fault.draw & 2)

    def again() -> None:
        unit.stubborn = unit.folder_busy = False

    _later(world, fault, again)


def start_fails(world: World, node: Node, fault: Fault) -> None:
    """Folder or resource do not come up for a while."""
    unit = _unit(node, fault)
    unit.attach_fails, unit.start_fails = bool(fault.draw & 1), not fault.draw & 1

    def again() -> None:
        unit.attach_fails = unit.start_fails = False

    _later(world, fault, again)


def guest_dies(world: World, node: Node, fault: Fault) -> None:
    """The guest crashes."""
    _unit(node, fault).guest.stop()


def checker_fails(world: World, node: Node, fault: Fault) -> None:
    """A checker finds the guest ill."""
    unit = _unit(node, fault)
    process = unit.process
    if process is not None and process.checkers.armed:
        action = ("restart", "stopstart")[fault.draw & 1]
        event = events.CheckerFailed("vm", action, "no heartbeat")
        world.schedule.after(0.0, lambda: process.worker.event(event), process)


def witness_away(world: World, node: Node, fault: Fault) -> None:
    """This node does not reach the witness for a while."""
    for unit in node.units.values():
        unit.witness.reachable = False

    def again() -> None:
        for unit in node.units.values():
            unit.witness.reachable = True

    _later(world, fault, again)


def witness_slow(world: World, node: Node, fault: Fault) -> None:
    """The witness takes its time."""
    world.settings.lane_s["witness"] = world.settings.timeout_s * (0.05 + (fault.draw % 64) / 64)

    def again() -> None:
        world.settings.lane_s["witness"] = 0.001

    _later(world, fault, again)


# ---- people ----------------------------------------------------------------------------------------------


def _command(name: str, **arguments: object) -> Do:
    def do(world: World, node: Node, fault: Fault) -> None:
        _unit(node, fault).command(name, arguments)

    return do


def stop(world: World, node: Node, fault: Fault) -> None:
    """Stop, and start again later."""
    unit = _unit(node, fault)
    unit.command("stop", {"forced": bool(fault.draw & 1)})
    _later(world, fault, lambda: unit.command("start", {}))


def as_primary(world: World, node: Node, fault: Fault) -> None:
    """A person starts this node against the rules."""
    _unit(node, fault).command("start", {"as_primary": True})


KINDS: dict[str, tuple[int, Do]] = {
    "kill": (6, kill),
    "kill-in-the-act": (8, kill_in_the_act),
    "power": (6, power),
    "power-in-the-act": (8, power_in_the_act),
    "power-both": (4, power_both),
    "freeze": (8, freeze),
    "freeze-node": (8, freeze_node),
    "freeze-after-an-act": (8, freeze_after_an_act),
    "agent-down": (4, agent_down),
    "cut": (6, cut),
    "cut-one-way": (6, cut_one_way),
    "cut-one-network": (4, cut_one_network),
    "reset": (6, reset),
    "slow-network": (4, slow_network),
    "disk-error": (6, disk_error),
    "disk-full": (3, disk_full),
    "disk-hangs": (4, disk_hangs),
    "disk-slow": (4, disk_slow),
    "guest-stubborn": (3, guest_stubborn),
    "start-fails": (2, start_fails),
    "guest-dies": (3, guest_dies),
    "checker-fails": (3, checker_fails),
    "witness-away": (3, witness_away),
    "witness-slow": (3, witness_slow),
    "swap": (6, _command("swap")),
    "swap-saving": (3, _command("swap", mode="save")),
    "stop": (6, stop),
    "start": (3, _command("start")),
    "restart": (2, _command("restart")),
    "stopstart": (3, _command("stopstart")),
    "abandon": (2, _command("abandon")),
    "as-primary": (1, as_primary),
}
"""Weight, and what is done."""

LENGTH = (1.2, 2.0, 3.2)
"""How long faults go on, in T."""


STATES = (
    "SECOND copying", "SECOND copying", "SECOND green", "SECOND green", "SECOND", "PRIM begun", "PRIM copying",
    "PRIM flushing", "PRIM flushing", "PRIM confirming", "PRIM confirming", "PRIM green", "PRIM taken", "HOLD", "HOLD",
    "ALONE", "ALONE", "ASKING", "GIVING green", "WAIT", "STOP",
)  # fmt: skip


def plan(rng: Rng, without: frozenset[str] = frozenset()) -> list[Fault]:
    """Everything that is to go wrong in a life, in the order of time.

    Args:
        without: kinds that are left out.
    """
    length = rng.pick(LENGTH)
    rows = [(weight, name) for name, (weight, _) in KINDS.items()]
    found = []
    cluster_at = rng.within(0.8, length)
    favourite = rng.pick(("a", "b", ""))
    for _ in range(rng.pick((1, 2, 2, 3, 3, 4, 5, 7))):
        near = rng.chance(60)
        at = cluster_at + rng.within(0.0, 1.2) if near else rng.within(0.1, length)
        span = rng.pick((0.05, 0.2, 0.5, 0.9, 1.05, 1.3, 2.0, 3.0)) * rng.within(0.7, 1.3)
        kind, node, draw = rng.weighted(rows), favourite or rng.pick(("a", "b")), rng.bits()
        trigger = f"{rng.pick(('a', 'b'))}: {rng.pick(STATES)}"
        if rng.chance(35):
            at, node = at * 0.5, rng.pick(("a", "b"))
        else:
            trigger = ""
        if kind not in without:
            found.append(Fault(at, kind, node, span, draw, trigger))
    return sorted(found)
