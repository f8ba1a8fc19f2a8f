"""Two real mirrors on fake disks and a fake ordered wire, with a client, and checks of the promises after every step.

Everything is chosen by one random generator, so that a seed replays a life. A disk loses any part of what was not
flushed when its node loses power. The small controller below stands for the machine: it makes only moves that the
design allows, and knows which replica is uptodate.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

from twinhull.core import effects as fx
from twinhull.core import events, frames
from twinhull.core.identity import Id
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BLOCKS, EXTENT_BYTES, PagedBitmap
from twinhull.core.mirror import Mirror, ResyncSettings
from twinhull.core.mirror_digests import digests_of, key_of
from twinhull.core.requests import Op

SECTOR = 512
SIZE = 8 * EXTENT_BYTES
LEASE_S = 1e12
TIMEOUT_S = 1e9


class ClientWrite:
    """A write of the VM and when it was submitted and answered; `value` 0 is a discard."""

    def __init__(self, value: int, first: int, count: int, submitted: int) -> None:
        self.value = value
        self.first = first
        self.count = count
        self.submitted = submitted
        self.done: int | None = None
        self.fua = False
        self.flushed = False


def content(value: int, count: int) -> bytes:
    """`count` sectors that hold the value."""
    return value.to_bytes(8, "little") * (SECTOR // 8) * count


class History:
    """What each sector may hold, given what was submitted, answered and flushed."""

    def __init__(self) -> None:
        self.clock = 0
        self.sectors: dict[int, list[ClientWrite]] = {}

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def add(self, write: ClientWrite) -> None:
        for sector in range(write.first, write.first + write.count):
            if sector not in self.sectors:
                self.sectors[sector] = [known(0, sector, 0)]
            self.sectors[sector].append(write)

    def allowed(self, sector: int, *, flushed_only: bool) -> set[int]:
        """Values that the sector may hold: none that a later answered (flushed) write must have replaced."""
        writes = self.sectors[sector]
        firm = [w.submitted for w in writes if w.done is not None and (w.flushed or not flushed_only)]
        latest = max(firm, default=-1000)
        return {w.value for w in writes if w.done is None or w.done >= latest or w.submitted >= latest}

    def rebase(self, disk: Disk) -> None:
        """The VM starts anew and sees what is there; what is not flushed there may still be lost."""
        for sector in list(self.sectors):
            values = [value_at(disk.durable, sector)]
            values += [
                value_at(data, sector - offset // SECTOR)
                for offset, data in disk.unsynced
                if offset // SECTOR <= sector < (offset + len(data)) // SECTOR
            ]
            self.sectors[sector] = [known(value, sector, age) for age, value in enumerate(values)]


def value_at(data: bytes | bytearray, sector: int) -> int:
    """What a sector holds."""
    return int.from_bytes(data[sector * SECTOR : sector * SECTOR + 8], "little")


def known(value: int, sector: int, age: int) -> ClientWrite:
    """Something that a life before left in a sector; the oldest is flushed."""
    write = ClientWrite(value, sector, 1, 0)
    write.submitted = write.done = age - 1000
    write.flushed = age == 0
    return write


class Disk:
    """A disk with a volatile cache, the durable activity log and the durable bitmap."""

    def __init__(self) -> None:
        self.volatile = bytearray(SIZE)
        self.durable = bytearray(SIZE)
        self.unsynced: list[tuple[int, bytes]] = []
        self.changes = [0] * (SIZE // BLOCK_BYTES)
        self.log: set[int] = set()
        self.bits = PagedBitmap(SIZE // BLOCK_BYTES)

    def write(self, offset: int, data: bytes) -> None:
        self.volatile[offset : offset + len(data)] = data
        self._changed(offset, data)
        self.unsynced.append((offset, data))

    def flush(self, upto: int) -> None:
        for offset, data in self.unsynced[:upto]:
            self.durable[offset : offset + len(data)] = data
            self._changed(offset, data)
        del self.unsynced[:upto]

    def lose_power(self, rng: random.Random) -> None:
        """Of what was not flushed, any sectors may have reached the platter."""
        for offset, data in self.unsynced:
            self._changed(offset, data)
            fate = rng.choice(("all", "none", "some"))
            for at in range(0, len(data), SECTOR):
                if fate == "all" or (fate == "some" and rng.random() < 0.5):
                    self.durable[offset + at : offset + at + SECTOR] = data[at : at + SECTOR]
        self.unsynced.clear()
        self.volatile[:] = self.durable

    def _changed(self, offset: int, data: bytes) -> None:
        for block in range(offset // BLOCK_BYTES, (offset + len(data) - 1) // BLOCK_BYTES + 1):
            self.changes[block] += 1

    def unsynced_blocks(self) -> set[int]:
        return {
            block
            for offset, data in self.unsynced
            for block in range(offset // BLOCK_BYTES, (offset + len(data) - 1) // BLOCK_BYTES + 1)
        }

    def durable_marks(self) -> set[int]:
        marked = {block for first, count in self.bits.runs() for block in range(first, first + count)}
        for extent in self.log:
            marked.update(range(extent * EXTENT_BLOCKS, (extent + 1) * EXTENT_BLOCKS))
        return marked


class Node:
    """One node: its mirror, its disk, and the shell that performs effects, each lane when the world says so."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self.disk = Disk()
        self.uptodate = True
        self.up = True
        self.kept: list[tuple[int, bytes]] = []
        self.start_process()

    def start_process(self) -> None:
        """A new process: all that it knows is on the disk."""
        self.mirror = Mirror(
            SIZE, self.disk.bits.copy(), self.disk.log, self.capacity, TIMEOUT_S, ResyncSettings(max_ops=3)
        )
        self.data: deque[fx.LocalWrite | fx.LocalDiscard | fx.LocalFlush] = deque()
        self.log: deque[fx.SyncLog] = deque()
        self.reads: list[fx.ReadLocal | fx.DigestLocal | fx.KeepOld] = []
        self.verified: deque[fx.VerifyEnded] = deque()
        self.sent: deque[frames.DataFrame] = deque()
        self.told: deque[object] = deque()
        self.answers: deque[fx.Complete] = deque()

    def pull(self) -> None:
        """Sort the effects into lanes."""
        for effect in self.mirror.take():
            match effect:
                case fx.SendFrame(frame):
                    self.sent.append(stable(frame))
                case fx.LocalWrite() | fx.LocalDiscard() | fx.LocalFlush():
                    self.data.append(effect)
                case fx.SyncLog():
                    self.log.append(effect)
                case fx.ReadLocal() | fx.DigestLocal() | fx.KeepOld():
                    self.reads.append(effect)
                case fx.VerifyEnded():
                    self.verified.append(effect)
                case fx.Tell(event):
                    self.told.append(event)
                case fx.Complete():
                    self.answers.append(effect)

    def data_step(self, now_s: float) -> None:
        match self.data.popleft():
            case fx.LocalWrite(ticket, offset, data):
                self.disk.write(offset, bytes(data))
                self.mirror.local_done(ticket, None, False, now_s)
            case fx.LocalDiscard(ticket, offset, length):
                self.disk.write(offset, bytes(length))
                self.mirror.local_done(ticket, None, False, now_s)
            case fx.LocalFlush(ticket):
                self.disk.flush(len(self.disk.unsynced))
                self.mirror.flush_done(ticket, None, False, now_s)

    def log_step(self, now_s: float) -> None:
        effect = self.log.popleft()
        assert not set(effect.add) & set(effect.remove)
        for page, bits in effect.bits:
            self.disk.bits.set_page(page, bits)
        self.disk.log -= set(effect.remove)
        self.disk.log |= set(effect.add)
        assert len(self.disk.log) <= self.capacity
        self.mirror.log_done(effect.ticket, None, False, now_s)

    def read_step(self, index: int, now_s: float) -> tuple[int, bytes | None]:
        effect = self.reads.pop(index)
        end = effect.offset_bytes + effect.length_bytes
        data: bytes | None = bytes(self.disk.volatile[effect.offset_bytes : end])
        if isinstance(effect, fx.KeepOld):
            self.kept.append((effect.offset_bytes, bytes(self.disk.volatile[effect.offset_bytes : end])))
            self.mirror.keep_done(effect.ticket, None, now_s)
            return effect.offset_bytes, data
        if (isinstance(effect, fx.DigestLocal) or effect.hole_ok) and data is not None:
            if data.count(0) == len(data):
                data = None
            elif effect.length_bytes > frames.MAX_DATA_BYTES:
                data = b""
        if isinstance(effect, fx.DigestLocal):
            self.mirror.digest_done(
                effect.ticket, None if data is None else digests_of(data, effect.key), None, now_s
            )
        else:
            self.mirror.read_done(effect.ticket, data, None, now_s)
        return effect.offset_bytes, data

    def marks(self) -> set[int]:
        """Blocks marked in memory."""
        activity = self.mirror._activity
        found: set[int] = set()
        for number, page in activity.pages():
            bits = PagedBitmap(SIZE // BLOCK_BYTES)
            bits.set_page(number, page)
            found.update(block for first, count in bits.runs() for block in range(first, first + count))
        return found


def stable(frame: frames.DataFrame) -> frames.DataFrame:
    """The frame as it travels: its bytes do not change any more."""
    if isinstance(frame, frames.Write | frames.Copy | frames.Fetched):
        return frame._replace(data=bytes(frame.data))
    return frame


class World:
    """Both nodes, the wire, the client and the controller.

    Args:
        seed: everything follows from it.
        capacities: of the activity logs, extents.
    """

    def __init__(self, seed: int, capacities: tuple[int, int] = (4, 4)) -> None:
        self.rng = random.Random(seed)
        self.nodes = (Node("a", capacities[0]), Node("b", capacities[1]))
        self.now_s = 0.0
        self.history = History()
        self.serving: int | None = None  # the node that runs the VM
        self.alone = False
        self.session = False
        self.green = False
        self.everything = False
        self.ready = False
        self.epoch = 0
        self.ending: set[int] = set()
        self.after_end = "none"
        self.value = 0
        self.tag = 0
        self.writes: dict[int, ClientWrite] = {}
        self.flushes: dict[int, list[ClientWrite]] = {}
        self.reads: dict[int, tuple[int, int]] = {}
        self.blocks: set[int] = set()
        self.compared: dict[int, tuple[int, int, bool, bool]] = {}
        self.weak = [False, False]  # lost power since it last was known to hold everything
        self.counts: dict[str, int] = {}

    # ---- the client ----------------------------------------------------------------------------------

    def submit(self) -> None:
        """One request of the VM."""
        assert self.serving is not None
        rng = self.rng
        self.tag += 1
        kind = rng.choices(("write", "flush", "read", "discard"), (12, 3, 2, 2))[0]
        mirror = self.nodes[self.serving].mirror
        if kind == "flush":
            self.flushes[self.tag] = [w for w in self.live_writes() if w.done is not None]
            mirror.submit(self.tag, Op.FLUSH, 0, 0, None, False, self.now_s)
            return
        extent = rng.randrange(8)
        block = extent * EXTENT_BLOCKS + rng.choice((0, 1, 2, EXTENT_BLOCKS - 1))
        offset = block * BLOCK_BYTES + rng.randrange(0, 4) * SECTOR
        count = rng.choice((1, 2, 8))
        if rng.random() < 0.05:
            offset, count = block * BLOCK_BYTES, 2 * BLOCK_BYTES // SECTOR
        count = min(count, (SIZE - offset) // SECTOR)
        length = count * SECTOR
        if kind == "read":
            self.reads[self.tag] = (offset // SECTOR, count)
            mirror.submit(self.tag, Op.READ, offset, length, None, False, self.now_s)
            return
        self.value += 1
        value = self.value if kind == "write" else 0
        write = ClientWrite(value, offset // SECTOR, count, self.history.now())
        write.fua = rng.random() < 0.1
        self.history.add(write)
        self.writes[self.tag] = write
        self.blocks.update(range(offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES + 1))
        data = content(value, count) if kind == "write" else None
        op = Op.WRITE if kind == "write" else Op.DISCARD
        mirror.submit(self.tag, op, offset, length, data, write.fua, self.now_s)

    def live_writes(self) -> Iterator[ClientWrite]:
        seen: set[int] = set()
        for writes in self.history.sectors.values():
            for write in writes:
                if id(write) not in seen:
                    seen.add(id(write))
                    yield write

    def answered(self, node: int, answer: fx.Complete) -> None:
        """The VM gets an answer: it must be the truth."""
        assert answer.error == 0, answer
        assert node == self.serving
        self.counts["answers"] = self.counts.get("answers", 0) + 1
        if answer.tag in self.reads:
            first, count = self.reads.pop(answer.tag)
            assert answer.data is not None
            for index in range(count):
                if first + index in self.history.sectors:
                    at = index * SECTOR
                    value = int.from_bytes(bytes(answer.data[at : at + 8]), "little")
                    assert value in self.history.allowed(first + index, flushed_only=False)
        elif answer.tag in self.writes:
            write = self.writes.pop(answer.tag)
            write.done = self.history.now()
            self.check_held(write)
            if write.fua:
                write.flushed = True
                self.check_flushed([write])
        else:
            covered = self.flushes.pop(answer.tag)
            for write in covered:
                write.flushed = True
            self.check_flushed(covered)

    def check_held(self, write: ClientWrite) -> None:
        """Acknowledged means that both nodes hold it."""
        for node in self.holders():
            for sector in range(write.first, write.first + write.count):
                self.check_sector(node.disk.volatile, sector, flushed_only=False)

    def check_flushed(self, writes: list[ClientWrite]) -> None:
        """Flushed means durable on both disks."""
        for node in self.holders():
            for write in writes:
                for sector in range(write.first, write.first + write.count):
                    if sector in self.history.sectors and write in self.history.sectors[sector]:
                        self.check_sector(node.disk.durable, sector, flushed_only=True)

    def holders(self) -> list[Node]:
        """The nodes that must hold what is acknowledged."""
        assert self.serving is not None
        both = self.session and self.green
        return [n for i, n in enumerate(self.nodes) if i == self.serving or both]

    def check_sector(self, disk: bytearray, sector: int, *, flushed_only: bool) -> None:
        value = value_at(disk, sector)
        allowed = self.history.allowed(sector, flushed_only=flushed_only)
        assert value in allowed, f"sector {sector} holds {value}, allowed {allowed}"

    def check_takeover(self, node: int) -> None:
        """Whoever starts the VM has everything acknowledged; after its own power loss, everything flushed."""
        for sector in self.history.sectors:
            self.check_sector(self.nodes[node].disk.volatile, sector, flushed_only=self.weak[node])
        self.history.rebase(self.nodes[node].disk)
        self.weak[node] = False
        self.writes.clear()
        self.flushes.clear()
        self.reads.clear()

    # ---- the controller --------------------------------------------------------------------------------

    def start_alone(self, node: int) -> None:
        assert self.nodes[node].uptodate
        self.check_takeover(node)
        self.serving, self.alone = node, True
        self.nodes[1 - node].uptodate = False
        self.nodes[node].mirror.open_alone(self.now_s)

    def connect(self, *, resend: bool) -> None:
        """A session begins between both nodes, neither of which has an unfinished one."""
        assert not self.session and not self.ending
        assert all(node.up for node in self.nodes)
        if self.serving is None:
            first = min((i for i in (0, 1) if self.nodes[i].uptodate), key=lambda i: self.weak[i])
            self.check_takeover(first)
            self.serving = first
        p = self.serving
        second = self.nodes[1 - p]
        self.session, self.alone, self.ready = True, False, False
        self.green = self.green and resend
        for node in self.nodes:
            node.sent.clear()
        sessions = self.counts.get("sessions", 0)
        key = key_of(Id(sessions.to_bytes(16, "big"))) if sessions % 3 else b""
        self.nodes[p].mirror.begin_session(
            primary=True,
            resend=resend,
            everything=self.everything,
            serve=False,
            digest_key=key,
            now_s=self.now_s,
        )
        second.mirror.begin_session(primary=False, resend=resend, digest_key=key, now_s=self.now_s)
        self.nodes[p].mirror.set_lease(LEASE_S, self.now_s)
        self.counts["sessions"] = self.counts.get("sessions", 0) + 1

    def told(self, node: int, event: object) -> None:
        mirror = self.nodes[node].mirror
        match event:
            case events.PeerMarksComplete(left):
                assert node == self.serving
                if left or not self.nodes[1 - node].uptodate:
                    self.green = False
                    self.nodes[1 - node].uptodate = False
                    mirror.serve(self.now_s)
                    mirror.start_copy(self.now_s)
                else:
                    self.green = True
                    self.weak[1 - node] = False
                    mirror.serve(self.now_s)
            case events.CopyDone():
                self.epoch += 1
                mirror.end_copy_flush(self.epoch, self.now_s)
            case events.CopyFlushedBoth(epoch):
                assert epoch == self.epoch
                second = 1 - node
                self.nodes[second].uptodate = True
                self.weak[second] = False
                self.everything = False
                self.green = True
                self.counts["copies"] = self.counts.get("copies", 0) + 1
                self.nodes[second].mirror.finish_copy(self.now_s)
                if self.rng.random() < 0.8:
                    mirror.finish_copy(self.now_s)
            case events.SessionEnded():
                self.ending.discard(node)
            case _:
                raise AssertionError(event)

    def cut(self) -> None:
        """The connection breaks; what is on the wire is lost. The SECOND stays what it is."""
        assert self.session
        self.end_session()
        assert self.serving is not None
        self.nodes[self.serving].mirror.hold(self.now_s)
        self.after_end = self.rng.choice(("resend", "resend", "alone"))

    def end_session(self) -> None:
        self.session = False
        for index, node in enumerate(self.nodes):
            node.sent.clear()
            if node.up:
                self.ending.add(index)
                node.mirror.end_session(self.now_s)

    def after_cut(self) -> None:
        """The old session is over on both nodes."""
        if self.after_end in ("resend", "again"):
            self.connect(resend=self.after_end == "resend")
        elif self.after_end == "alone":
            assert self.serving is not None
            self.green = False
            self.nodes[1 - self.serving].uptodate = False
            self.alone = True
            self.nodes[self.serving].mirror.open_alone(self.now_s)
        self.after_end = "none"

    def crash(self, index: int, *, power: bool) -> None:
        """A node loses power, or only its process dies."""
        node = self.nodes[index]
        survivor = 1 - index
        was_green = self.green and self.session
        if power:
            node.disk.lose_power(self.rng)
            self.weak[index] = True
        else:
            for effect in node.data:  # the system has some of what the process had handed over
                if isinstance(effect, fx.LocalWrite):
                    if self.rng.random() < 0.5:
                        node.disk.write(effect.offset_bytes, bytes(effect.data))
                    else:
                        break
        node.up = False
        node.start_process()
        self.counts["crashes"] = self.counts.get("crashes", 0) + 1
        if self.session:
            self.end_session()
        self.ending.discard(index)
        self.after_end = "none"
        if index != self.serving:
            if self.serving is not None and not self.alone:
                self.after_end = self.rng.choice(("alone", "again"))
                self.green = False
                self.nodes[self.serving].mirror.hold(self.now_s)
            return
        self.serving, self.alone, self.green = None, False, False
        self.writes.clear()
        self.flushes.clear()
        self.reads.clear()
        if self.nodes[survivor].up and self.nodes[survivor].uptodate and was_green:
            node.uptodate = False
            self.after_end = "takeover"

    def boot(self, index: int) -> None:
        self.nodes[index].up = True

    # ---- steps -------------------------------------------------------------------------------------------

    def moves(self) -> list[tuple[str, float]]:
        """What can happen now: (what, weight)."""
        out: list[tuple[str, float]] = [("tick", 1)]
        for index, node in enumerate(self.nodes):
            name = str(index)
            if not node.up:
                out.append(("boot" + name, 2))
                continue
            out += [(what + name, 20) for what, lane in (("data", node.data), ("log", node.log)) if lane]
            if node.reads:
                out.append(("read" + name, 20))
            if node.sent and self.session:
                out.append(("wire" + name, 25))
        if self.serving is not None and len(self.writes) < 12:
            out.append(("submit", 14))
        if self.session:
            out.append(("cut", 0.3))
        settled = not self.ending and not self.session
        both = all(node.up for node in self.nodes)
        if settled and self.after_end != "none" and (self.after_end not in ("resend", "again") or both):
            out.append(("after", 10))
        elif settled and self.after_end == "none":
            if both and (self.serving is None or self.alone) and any(n.uptodate for n in self.nodes):
                out.append(("connect", 3))
            for index, node in enumerate(self.nodes):
                known = node.up and node.uptodate and not self.nodes[1 - index].uptodate
                if self.serving is None and known:
                    out.append(("alone" + str(index), 2))
        if all(node.up for node in self.nodes) and not self.ending and self.after_end == "none":
            out += [("power0", 0.06), ("power1", 0.06), ("kill0", 0.06), ("kill1", 0.06)]
        return out

    def step(self) -> str:
        """One step, then every check."""
        moves = self.moves()
        move = self.rng.choices([m for m, _ in moves], [w for _, w in moves])[0]
        self.perform(move)
        self.settle()
        self.check()
        return move

    def perform(self, move: str) -> None:
        what, index = move.rstrip("01"), int(move[-1]) if move[-1] in "01" else 0
        node = self.nodes[index]
        match what:
            case "tick":
                self.now_s += 1.5
                for each in self.nodes:
                    if each.up:
                        each.mirror.tick(self.now_s)
            case "data":
                node.data_step(self.now_s)
            case "log":
                node.log_step(self.now_s)
            case "read":
                node.read_step(self.rng.randrange(len(node.reads)), self.now_s)
            case "wire":
                other = self.nodes[1 - index]
                for _ in range(self.rng.choice((1, 1, 4))):
                    if node.sent:
                        other.mirror.frame(node.sent.popleft(), self.now_s)
            case "submit":
                self.submit()
            case "cut":
                self.cut()
            case "after":
                if self.after_end == "takeover":
                    self.after_end = "none"
                    self.start_alone(next(i for i, n in enumerate(self.nodes) if n.uptodate))
                else:
                    self.after_cut()
            case "connect":
                if self.rng.random() < 0.1:
                    self.everything = True
                self.connect(resend=False)
            case "alone":
                self.start_alone(index)
            case "power" | "kill":
                self.crash(index, power=what == "power")
            case "boot":
                self.boot(index)

    def settle(self) -> None:
        """Hand effects out, events and answers on."""
        busy = True
        while busy:
            busy = False
            for index, node in enumerate(self.nodes):
                node.pull()
                while node.told:
                    busy = True
                    self.told(index, node.told.popleft())
                while node.answers:
                    busy = True
                    self.answered(index, node.answers.popleft())

    # ---- checks after every step -----------------------------------------------------------------------

    def check(self) -> None:
        """Whatever may differ, now or after any crash, is marked where the survivors can see it."""
        if self.everything:
            return
        marks = [node.marks() if node.up else node.disk.durable_marks() for node in self.nodes]
        durable = [node.disk.durable_marks() for node in self.nodes]
        unsynced = [node.disk.unsynced_blocks() for node in self.nodes]
        for block in self.blocks:
            differ, differ_durably = self.compare(block)
            both_durable = block in durable[0] or block in durable[1]
            if differ:
                assert block in marks[0] or block in marks[1], f"block {block} differs and nobody knows"
            if differ or differ_durably:
                assert both_durable, f"block {block} differs and nobody would know after a power loss"
            for index in (0, 1):
                if block in unsynced[index]:
                    assert both_durable, f"block {block} is not flushed on {index}, not durably marked"
                    seen = block in durable[index] or block in marks[1 - index]
                    assert seen, f"block {block} may be lost on {index} unseen"
        for index, node in enumerate(self.nodes):
            if node.up:
                assert marks[index] <= durable[index] | self.pending_cover(index), "a mark is not durable"

    def compare(self, block: int) -> tuple[bool, bool]:
        """Whether a block differs between the nodes, now and durably."""
        a, b = self.nodes[0].disk, self.nodes[1].disk
        known = self.compared.get(block)
        if known is None or known[:2] != (a.changes[block], b.changes[block]):
            span = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
            now, durably = a.volatile[span] != b.volatile[span], a.durable[span] != b.durable[span]
            known = self.compared[block] = (a.changes[block], b.changes[block], now, durably)
        return known[2], known[3]

    def pending_cover(self, index: int) -> set[int]:
        """Marks taken over from the peer are durable there; pages of them are still being written here."""
        return self.nodes[1 - index].disk.durable_marks()

    def heal(self) -> None:
        """Let everything run until both nodes are green and quiet, then compare them."""
        for _ in range(200_000):
            moves = [m for m, _ in self.moves()]
            calm = [m for m in moves if m.rstrip("01") not in ("submit", "cut", "power", "kill", "tick")]
            if calm:
                self.perform(self.rng.choice(calm))
            else:
                idle = self.session and self.green and not self.writes and not self.flushes and not self.reads
                if idle and not any(node.marks() for node in self.nodes):
                    break
                if self.session and self.green and not self.nodes[self.serving or 0].mirror.in_step:
                    self.nodes[self.serving or 0].mirror.finish_copy(self.now_s)
                self.perform("tick")
            self.settle()
        else:
            raise AssertionError("the pair does not become green")
        self.check()
        assert self.nodes[0].disk.volatile == self.nodes[1].disk.volatile
        assert self.serving is not None
        for sector in self.history.sectors:
            for node in self.nodes:
                self.check_sector(node.disk.volatile, sector, flushed_only=False)
