"""The judge of the fake world: the promises of DESIGN.md section 2, checked after every smallest step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinhull.core.identity import Relation
from twinhull.core.record import WitnessKind

from .storage import BLOCKS, Request

if TYPE_CHECKING:
    from .world import Node, World


class PromiseBrokenError(AssertionError):
    """A promise of the design does not hold."""


@dataclass
class Acked:
    """The last acknowledged write of a block, and which disks took it at that time."""

    value: int
    holders: set[str]


class Judge:
    """Knows what was acknowledged, and looks whether it is kept."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._value = BLOCKS
        self.acked: dict[int, Acked] = {}
        self.completed_ok = 0
        self.failed = 0
        self.flushes = 0
        self.split = False
        self.cut_ever = False
        self.overridden = False
        self.state_saved = False
        self._power_lost_s: dict[str, float] = {}

    # ---- the client -------------------------------------------------------------------------------

    def next_value(self) -> int:
        """Every request has a number of its own."""
        self._value += 1
        return self._value

    def submitted(self, name: str, value: int, flush: bool, block: int) -> None:
        """The client asked for something."""

    def completed(self, name: str, request: Request, ok: bool, alone: bool) -> None:
        """A request was answered."""
        if not ok:
            self.failed += 1
            return
        self.completed_ok += 1
        holders = {name} if alone else {"a", "b"}
        if request.flush:
            self.flushes += 1
            self._flushed(holders)
            return
        for holder in sorted(holders):
            if self._world.nodes[holder].disk.value(request.block) < request.value:
                if self._power_lost_s.get(holder, 0.0) >= request.since_s:
                    self.acked.pop(request.block, None)
                    return
                raise PromiseBrokenError(
                    f"write {request.value} was acknowledged, and {holder} does not hold it"
                )
        self.acked[request.block] = Acked(request.value, holders)

    def _flushed(self, holders: set[str]) -> None:
        if self.split:
            return
        for block, acked in self.acked.items():
            for holder in holders & acked.holders:
                if self._world.nodes[holder].disk.durable.get(block, 0) < acked.value:
                    raise PromiseBrokenError(
                        f"a flush was completed, and {holder} has not flushed {acked.value}"
                    )

    # ---- excuses ----------------------------------------------------------------------------------

    def power_lost(self, name: str) -> None:
        """A write that some disk had not flushed yet may be lost with the power."""
        self._power_lost_s[name] = self._world.now_s
        for block, acked in list(self.acked.items()):
            nodes = self._world.nodes
            if any(nodes[holder].disk.durable.get(block, 0) < acked.value for holder in acked.holders):
                del self.acked[block]

    def disk_destroyed(self, name: str) -> None:
        """What only this disk held is gone."""
        for block, acked in list(self.acked.items()):
            acked.holders.discard(name)
            if not acked.holders:
                del self.acked[block]

    # ---- the promises -----------------------------------------------------------------------------

    def look(self) -> None:
        """Check everything that holds at every moment."""
        a, b = self._world.nodes["a"], self._world.nodes["b"]
        if self._world.cut:
            self.cut_ever = True
        if self._acks(a) and self._acks(b):
            if not self.cut_ever:
                raise PromiseBrokenError("both nodes can acknowledge, and the network was never cut")
            self._never_with_a_memory()
            self.split = True
        first, second = a.record.generation, b.record.generation
        if first is not None and second is not None and first.relation(second) is Relation.DIVERGED:
            if not self.cut_ever and not self.overridden:
                raise PromiseBrokenError("the histories diverged, and the network was never cut")
            self._never_with_a_memory()
            self.split = True
        for node in (a, b):
            self._runs_whole(node)
        if not self.split and not self.overridden:
            self._equal_where_not_marked(a, b)

    def _never_with_a_memory(self) -> None:
        kinds = {node.record.witness for node in self._world.nodes.values()}
        if kinds == {WitnessKind.ETCD} and not self.overridden:
            raise PromiseBrokenError("two histories, under a witness with a memory")

    @staticmethod
    def _acks(node: Node) -> bool:
        return node.acts and node.process is not None and node.process.mirror.can_ack()

    def _runs_whole(self, node: Node) -> None:
        """Whoever can acknowledge is durably uptodate and holds everything that was acknowledged."""
        if not self._acks(node) or node.process is None:
            return
        if not node.record.uptodate:
            raise PromiseBrokenError(f"{node.name} serves although its record says that it is not uptodate")
        if node.process.mirror.mode == "alone" and node.record.peer_may_be_uptodate:
            raise PromiseBrokenError(
                f"{node.name} serves alone although its record says that the peer is uptodate"
            )
        self._holds_everything(node.name)

    def starting(self, name: str, *, resume: bool) -> None:
        """A node starts the resource, from its saved state if `resume`."""
        if resume and not self.state_saved and not (self.split or self.overridden):
            raise PromiseBrokenError(
                f"{name} resumes the resource from a state that was resumed before, or is none"
            )
        self.state_saved = False
        self._holds_everything(name)

    def _holds_everything(self, name: str) -> None:
        node = self._world.nodes[name]
        if self._world.peer(name).host.running and not self.cut_ever and not self._frozen_or_held(name):
            raise PromiseBrokenError(f"{name} starts the resource while it runs on the other node")
        if self.split or self.overridden:
            return
        for block, acked in self.acked.items():
            if node.disk.value(block) < acked.value:
                raise PromiseBrokenError(f"{name} runs without the acknowledged write {acked.value}")

    def _frozen_or_held(self, name: str) -> bool:
        """The other node's resource may still stand there, if it can get nothing answered."""
        peer = self._world.peer(name)
        return not self._acks(peer)

    def _equal_where_not_marked(self, a: Node, b: Node) -> None:
        first, second = a.record.generation, b.record.generation
        if first is None or second is None or first.id != second.id:
            return
        if not (a.record.uptodate and b.record.uptodate) or not self._quiet():
            return
        marked = a.disk.marks | b.disk.marks
        for block in range(BLOCKS):
            if a.disk.value(block) != b.disk.value(block) and block not in marked:
                raise PromiseBrokenError(f"both are uptodate, and block {block} differs unmarked")
        if not (a.record.peer_may_be_uptodate and b.record.peer_may_be_uptodate):
            raise PromiseBrokenError("both are uptodate and equal, and one records the other as outdated")

    def _quiet(self) -> bool:
        for node in self._world.nodes.values():
            process = node.process
            if process is None:
                continue
            if not process.mirror.quiet:
                return False
            if process.conn is not None and any(
                item[0] == "frame" for queue in process.conn.queues.values() for item in queue
            ):
                return False
        return True

    def equal(self) -> bool:
        """Whether both disks hold the same."""
        a, b = self._world.nodes["a"].disk, self._world.nodes["b"].disk
        return all(a.value(block) == b.value(block) for block in range(BLOCKS))

    def may_split(self) -> bool:
        """Whether the kind of witness allows two histories when the network was cut."""
        kinds = {node.record.witness for node in self._world.nodes.values()}
        return self.cut_ever and kinds <= {WitnessKind.NONE, WitnessKind.PING}
