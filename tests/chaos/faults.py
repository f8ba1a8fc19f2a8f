"""Each kind of trouble, done to the real thing: a context manager that begins it and ends it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from tests.integration.failover.configuring import apply
from tests.integration.failover.pair import MODULE
from tests.integration.failover.watching import WORKER
from tests.lab import LabError, Node
from tests.lab.install import WITNESS_NETWORK
from tests.lab.network import Direction

from twinhull.errors import TwinhullError
from twinhull.exports.base import Op

from .nodes import AGENT, FULL, PING, ChaosPair, other_version
from .plan import Fault, Kind

LEFT_BYTES = 65_536
Do = Callable[[ChaosPair, Node, Fault], contextlib.AbstractContextManager[None]]


def node_for(pair: ChaosPair, role: str) -> Node:
    """The node in this role now; while nobody has it, some node."""
    try:
        return pair.node_of(role)
    except LabError:
        return pair.lab["a" if role == "primary" else "b"]


def begin(pair: ChaosPair, fault: Fault) -> contextlib.AbstractContextManager[None]:
    """The fault as a block: it lasts as long as the block."""
    node = node_for(pair, fault.role)
    pair.say(f"{fault.kind.value} on node {node.name}: {fault}")
    return FAULTS[fault.kind](pair, node, fault)


def _matches(what: str) -> list[str]:
    return {"agent": [AGENT], "worker": [WORKER], "everything": [""]}.get(what, [AGENT, WORKER])


@contextlib.contextmanager
def _kill(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    for match in _matches(fault.details["what"]):
        with contextlib.suppress(LabError):  # it does not run, by an earlier fault
            node.send_signal(match, signal.SIGKILL)
    yield


@contextlib.contextmanager
def _freeze(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for match in _matches(fault.details["what"]):
            with contextlib.suppress(LabError):  # it does not run, by an earlier fault
                stack.enter_context(pair.frozen(node, match))
        yield


@contextlib.contextmanager
def _cut(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    network = fault.details.get("network")
    direction = Direction(fault.details["direction"])
    if network is None:
        node.cut_all(direction)
    else:
        node.cut(network, direction)
    yield
    node.heal(network)


@contextlib.contextmanager
def _split(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    for network in pair.lab.fabric.subnets:
        pair.lab.isolate(network)
    yield
    for network in pair.lab.fabric.subnets:
        pair.lab.fabric.isolate(network, isolated=False)


@contextlib.contextmanager
def _slow(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    if node.alive:
        for network in pair.lab.fabric.subnets:
            words = ["tc", "qdisc", "replace", "dev", network, "root", "tbf", "rate", fault.details["rate"]]
            node.run([*words, "burst", "64kb", "latency", "100ms"], check=False)
    yield
    pair.full_speed()


@contextlib.contextmanager
def _disk_full(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    if node.alive:
        fill = f"space=$(df --output=avail -B1 /var/lib/twinhull | tail -n 1); fallocate -l $((space - {LEFT_BYTES}))"
        node.run(["sh", "-c", f"{fill} {FULL}"], check=False)
    yield
    pair.make_room(node)


@contextlib.contextmanager
def _disk_errors(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    disk = pair.disks[node.name]
    disk.errors(*(Op[name] for name in fault.details["ops"]), share=fault.details["share"])
    yield
    disk.healthy()
    pair.damaged.add(node.name)


@contextlib.contextmanager
def _disk_slow(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    disk = pair.disks[node.name]
    disk.delay(fault.details["delay_s"])
    yield
    disk.healthy()


@contextlib.contextmanager
def _disk_stall(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    disk = pair.disks[node.name]
    disk.stall()
    yield
    disk.healthy()


@contextlib.contextmanager
def _power(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    if node.alive:
        pair.lose_power(node, fault.details["seed"])
    yield
    if not node.alive:
        pair.power_on(node)


@contextlib.contextmanager
def _power_both(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    both = (node, pair.other(node))
    for lost in both:
        if lost.alive:
            pair.lose_power(lost, fault.details["seed"])
    yield
    for lost in both:
        if not lost.alive:
            pair.power_on(lost)


@contextlib.contextmanager
def _restart(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    _restart_agent(node)
    yield


@contextlib.contextmanager
def _upgrade(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    lab = pair.lab
    version = other_version(lab.version_of(node.name))
    pair.say(f"node {node.name} is changed to version {version}")
    lab.set_version(node.name, version)
    _restart_agent(node)
    yield
    if fault.details["module_too"]:
        for command in ("stop", "start"):
            order(pair, node, command)


@contextlib.contextmanager
def _witness_down(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    pair.witness.kill()
    yield
    pair.witness.start()


@contextlib.contextmanager
def _witness_frozen(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    pair.witness.freeze()
    yield
    pair.witness.start()


@contextlib.contextmanager
def _witness_cut(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    node.cut(WITNESS_NETWORK)
    yield
    node.heal(WITNESS_NETWORK)


@contextlib.contextmanager
def _witness_reset(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    order(pair, node, "witness-reset")
    yield


@contextlib.contextmanager
def _witness_changed(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    words = {"kind": "none"} if fault.details["to"] == "none" else PING
    pair.reconfigured = True
    try:
        apply(pair, node, witness=words)
    except LabError as error:
        pair.say(f"config apply was not taken: {error}")
    yield


@contextlib.contextmanager
def _override(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    """A person who believes that the other node is lost. Nobody starts a half-copied replica over its rescue."""
    words = pair.watch.now(node.name).words
    if words and words["state"] in ("WAIT", "STOP") and words["uptodate"]:
        order(pair, node, "start", as_primary=True, **fault.details)
    else:
        pair.say(f"nobody would start node {node.name} by name as it is")
    yield


def _restart_agent(node: Node) -> None:
    node.stop_service("agent", signal.SIGTERM)
    node.start_service("agent")


@contextlib.contextmanager
def _command(pair: ChaosPair, node: Node, fault: Fault) -> Iterator[None]:
    order(pair, node, fault.details["command"])
    yield


def order(pair: ChaosPair, node: Node, command: str, **flags: bool) -> None:
    """Give the command as an operator would, and do not wait for its end: a refusal is an answer, too."""
    word, _, how = command.partition(" ")
    try:
        if word == "verify":
            pair.say(f"{command} on node {node.name}")
            pair.call(node, "verify", {"module": MODULE, "repair": how == "repair"})
        else:
            pair.command(node, word, **({"forced": True} if how == "forced" else {}), **flags)
    except (LabError, TwinhullError, OSError) as error:
        pair.say(f"{command} was not taken: {error}")


FAULTS: dict[Kind, Do] = {
    Kind.KILL: _kill,
    Kind.FREEZE: _freeze,
    Kind.CUT: _cut,
    Kind.CUT_OFF: _cut,
    Kind.SPLIT: _split,
    Kind.SLOW: _slow,
    Kind.DISK_FULL: _disk_full,
    Kind.DISK_ERRORS: _disk_errors,
    Kind.DISK_SLOW: _disk_slow,
    Kind.DISK_STALL: _disk_stall,
    Kind.POWER: _power,
    Kind.POWER_BOTH: _power_both,
    Kind.RESTART: _restart,
    Kind.UPGRADE: _upgrade,
    Kind.COMMAND: _command,
    Kind.WITNESS_DOWN: _witness_down,
    Kind.WITNESS_FROZEN: _witness_frozen,
    Kind.WITNESS_CUT: _witness_cut,
    Kind.WITNESS_RESET: _witness_reset,
    Kind.WITNESS_CHANGED: _witness_changed,
    Kind.OVERRIDE: _override,
}
