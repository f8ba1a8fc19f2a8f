"""What goes wrong, and what people ask: planned from the seed before the life begins, so that a plan can be made shorter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twinhull.core import events

from .etcd import REFUSED, SILENT, TROUBLES
from .rng import Rng
from .tales import RARE, TALES, WITNESS_TALES, Fault

if TYPE_CHECKING:
    from .node import Node, Unit
    from .world import World


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
        process.interrupt(fault.draw % 40, lambda: unit.died(process, "kill"), ends=True)


def power(world: World, node: Node, fault: Fault) -> None:
    """Power loss of a node, which comes back."""
    node.power_off()
    _later(world, fault, node.power_on)


def power_in_the_act(world: World, node: Node, fault: Fault) -> None:
    """Power goes at one of the next acts of a worker."""
    process = _unit(node, fault).process
    if process is not None:
        process.interrupt(fault.draw % 40, node.power_off, ends=True)
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
        process.interrupt(fault.draw % 40, lambda: freeze_node(world, node, fault), ends=False)


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
    slow_s = world.settings.shortest_s * (0.02 + 0.4 * (fault.draw % 64) / 64)
    for way in world.network.ways.values():
        way.delay_s = slow_s
    if slow_s > world.settings.shortest_s / 4:
        world.answers_late = True

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
    node.slow_s = world.settings.shortest_s * (0.01 + 0.3 * (fault.draw % 64) / 64)
    node.slow_percent = (fault.draw >> 8) % 60

    def again() -> None:
        node.slow_s, node.slow_percent = 0.0, 0

    _later(world, fault, again)


def disk_room(world: World, node: Node, fault: Fault) -> None:
    """The disk has hardly any room for a rescue for a while."""
    before, node.disk.total_bytes = node.disk.total_bytes, 1 << 20

    def room() -> None:
        node.disk.total_bytes = before

    _later(world, fault, room)


def record_error(world: World, node: Node, fault: Fault) -> None:
    """The next record does not become durable."""
    node.disk.failing.append(("sync", "meta.bin"))


def record_late(world: World, node: Node, fault: Fault) -> None:
    """The next record (or log) takes longer than a write may."""
    node.late_s = world.settings.timeout_s * (1.05 + (fault.draw % 64) / 64)


def log_error(world: World, node: Node, fault: Fault) -> None:
    """The activity log or the bitmap cannot be written next time."""
    node.disk.failing.append(
        (("write", "sync")[fault.draw & 1], ("log.bin", "bits.bin")[fault.draw >> 1 & 1])
    )


def flush_error(world: World, node: Node, fault: Fault) -> None:
    """The next flush fails."""
    node.disk.failing.append(("sync", "data.img"))


def disk_replaced(world: World, node: Node, fault: Fault) -> None:
    """The server comes back with a blank disk."""
    node.power_off()
    node.replace_disk()
    _later(world, fault, node.power_on)


def disk_limps(world: World, node: Node, fault: Fault) -> None:
    """Now and then a write takes long, while others overtake it."""
    node.limp_s = world.settings.shortest_s * (0.05 + 0.6 * (fault.draw % 64) / 64)
    node.slow_percent = 10 + (fault.draw >> 8) % 40

    def again() -> None:
        node.limp_s, node.slow_percent = 0.0, 0

    _later(world, fault, again)


def calm(world: World, node: Node, fault: Fault) -> None:
    """Nothing: what went wrong before goes on for so long."""


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
    """This node does not reach the witness for a while, or is not reached by its answers."""
    node.way.trouble = TROUBLES[(fault.draw >> 8) % len(TROUBLES)]
    for unit in node.units.values():
        unit.witness.reachable = False

    def again() -> None:
        world.etcd.heal(node)
        for unit in node.units.values():
            unit.witness.reachable = True

    _later(world, fault, again)


def witness_slow(world: World, node: Node, fault: Fault) -> None:
    """The witness takes its time; one with a memory hears late, answers late, or both."""
    slow_s = world.settings.lane_s["witness"] = world.settings.timeout_s * (0.05 + 2 * (fault.draw % 64) / 64)
    late = (fault.draw >> 8) % 3
    if late != 0:
        node.way.request_s = slow_s
    if late != 1:
        node.way.answer_s = slow_s

    def again() -> None:
        world.settings.lane_s["witness"] = 0.001
        world.etcd.heal(node)

    _later(world, fault, again)


def witness_down(world: World, node: Node, fault: Fault) -> None:
    """The witness with a memory is down: it refuses, or says nothing."""
    world.etcd.down = (REFUSED, SILENT)[fault.draw & 1]

    def up() -> None:
        world.etcd.down = ""

    _later(world, fault, up)


def witness_restored(world: World, node: Node, fault: Fault) -> None:
    """The witness is set back to an older backup."""
    world.etcd.restore(fault.draw)


def witness_deleted(world: World, node: Node, fault: Fault) -> None:
    """Somebody deletes the module's record by hand."""
    world.etcd.delete(_unit(node, fault).module)


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


def verify(world: World, node: Node, fault: Fault) -> None:
    """Compare; in one of four cases make equal what differs."""
    source = {"source": node.name} if fault.draw & 3 == 0 else {}
    for each in (node, node.peer):
        _unit(each, fault).command("verify", source)


def as_primary(world: World, node: Node, fault: Fault) -> None:
    """A person starts this node against the rules, now and then without the witness; never a blank disk."""
    unit = _unit(node, fault)
    if unit.record is None or unit.record.blank:
        return
    without = fault.draw & 3 == 0
    unit.command("start", {"as_primary": True, "without_witness": without})


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
    "disk-replaced": (2, disk_replaced),
    "guest-stubborn": (3, guest_stubborn),
    "start-fails": (2, start_fails),
    "guest-dies": (3, guest_dies),
    "checker-fails": (3, checker_fails),
    "witness-away": (3, witness_away),
    "witness-slow": (3, witness_slow),
    "witness-down": (0, witness_down),
    "witness-restored": (0, witness_restored),
    "witness-deleted": (0, witness_deleted),
    "witness-reset": (0, _command("witness-reset")),
    "swap": (6, _command("swap")),
    "swap-saving": (3, _command("swap", mode="save")),
    "stop": (6, stop),
    "start": (3, _command("start")),
    "restart": (2, _command("restart")),
    "stopstart": (3, _command("stopstart")),
    "verify": (4, verify),
    "abandon": (2, _command("abandon")),
    "as-primary": (1, as_primary),
    "calm": (0, calm),
    "disk-log-error": (0, log_error),
    "disk-record-error": (0, record_error),
    "disk-record-late": (0, record_late),
    "disk-flush-error": (0, flush_error),
    "disk-limps": (0, disk_limps),
    "disk-room": (0, disk_room),
}
"""Weight among those that happen at any time, and what is done."""

WITH_A_MEMORY = {
    "witness-away": 8,
    "witness-slow": 8,
    "witness-down": 5,
    "witness-restored": 2,
    "witness-deleted": 3,
    "witness-reset": 2,
    "as-primary": 3,
}
"""Other weights where the witness has a memory."""

LENGTH = (1.2, 2.0, 3.2)
"""How long faults go on, in T."""


STATES = (
    "SECOND copying", "SECOND copying", "SECOND green", "SECOND green", "SECOND", "PRIM begun", "PRIM copying",
    "PRIM flushing", "PRIM flushing", "PRIM confirming", "PRIM confirming", "PRIM green", "PRIM taken", "HOLD", "HOLD",
    "ALONE", "ALONE", "ASKING", "GIVING green", "WAIT", "STOP",
)  # fmt: skip


def plan(rng: Rng, without: frozenset[str] = frozenset(), *, remembers: bool = False) -> list[Fault]:
    """Everything that is to go wrong in a life, in the order of time.

    Half of the lives follow a tale: a few faults in an order that is dangerous, each time a little different.

    Args:
        without: kinds that are left out.
        remembers: the witness has a memory.
    """
    if rng.chance(50):
        told_of_it = remembers and rng.chance(50)
        tales = WITNESS_TALES if told_of_it else TALES
        rare = rng.fork(1)
        found = rare.pick(RARE)(rare) if rare.chance(20) else rng.pick(tales)(rng)
        if rng.chance(25):
            found += _anything(rng, 1, remembers)
    else:
        found = _anything(rng, rng.pick((1, 2, 2, 3, 3, 4, 5, 7)), remembers)
    return sorted(fault for fault in found if fault.kind not in without)


def _anything(rng: Rng, count: int, remembers: bool) -> list[Fault]:
    length = rng.pick(LENGTH)
    weights = {name: weight for name, (weight, _) in KINDS.items()}
    if remembers:
        weights |= WITH_A_MEMORY
    rows = [(weight, name) for name, weight in weights.items() if weight]
    found = []
    cluster_at = rng.within(0.8, length)
    favourite = rng.pick(("a", "b", ""))
    for _ in range(count):
        near = rng.chance(60)
        at = cluster_at + rng.within(0.0, 1.2) if near else rng.within(0.1, length)
        span = rng.pick((0.05, 0.2, 0.5, 0.9, 1.05, 1.3, 2.0, 3.0)) * rng.within(0.7, 1.3)
        kind, node, draw = rng.weighted(rows), favourite or rng.pick(("a", "b")), rng.bits()
        trigger = f"{rng.pick(('a', 'b'))}: {rng.pick(STATES)}"
        if rng.chance(35):
            at, node = at * 0.5, rng.pick(("a", "b"))
        else:
            trigger = ""
        found.append(Fault(at, kind, node, span, draw, trigger))
    return found
