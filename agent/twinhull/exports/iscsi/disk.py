"""The logical unit: what each SCSI command does (SBC-3 clause 5, SPC-4 clause 6).

`plan` looks at a CDB before any data travels: it refuses what is wrong, or says how much data the command takes and
what is then done, at once or step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import cdb as table
from . import sense
from .cdb import Command, Form
from .describe import Describer
from .pages import (
    BLOCK_BYTES,
    MAX_COMPARE_BLOCKS,
    MAX_TRANSFER_BLOCKS,
    MAX_UNMAP_BLOCKS,
    MAX_UNMAP_DESCRIPTORS,
    MAX_WRITE_SAME_BLOCKS,
    DiskIdentity,
)
from .sense import ScsiError, Sense, bad_field, bad_parameter, sense_of_error
from .steps import Data, Done, Plan, Step, Steps, checked
from .store import Store

PIECE_BYTES = 1 << 20
NextData = Callable[[int], tuple[int, int] | None]

_write_failed = partial(sense_of_error, failed=sense.WRITE_ERROR)
_read_failed = partial(sense_of_error, failed=sense.READ_ERROR)
_flush_failed = partial(sense_of_error, failed=sense.FLUSH_ERROR)


class LogicalUnit:
    """The one disk behind a target.

    Args:
        identity: who it is.
        store: its reads and writes.
        next_data: the next range (offset, length in bytes) from an offset on that may hold more than zeros; without it
            everything counts as mapped. It must not wait.
    """

    def __init__(self, identity: DiskIdentity, store: Store, next_data: NextData | None = None) -> None:
        self.identity = identity
        self.store = store
        self._next_data = next_data
        self.describer = Describer(identity, store)
        """What it says of itself."""
        self._blocks = identity.size_bytes // BLOCK_BYTES

    def plan(self, cdb: bytes) -> Plan:
        """What to do about a CDB of 16 bytes (shorter ones padded with zeros). Raises ScsiError."""
        command = table.find(cdb)
        if command is None:
            known = cdb[0] in table.WITH_ACTION
            raise bad_field(1) if known else ScsiError(sense.INVALID_OPCODE)
        if cdb[len(command.usage) - 1] & 0x04:  # NACA: there is no auto contingent allegiance here
            raise bad_field(len(command.usage) - 1)
        own = getattr(self, f"_{command.part}", None)
        if own is not None:
            planned: Plan = own(command, cdb)
            return planned
        return self.describer.plan(command, cdb)

    # ---- ranges --------------------------------------------------------------------------------------

    def _range(self, command: Command, cdb: bytes, limit_blocks: int) -> tuple[int, int]:
        """Offset and length in bytes of the blocks that a CDB names. Raises ScsiError."""
        lba, count = table.blocks(command.form, cdb)
        if lba + count > self._blocks or lba >= self._blocks + (count == 0):
            raise ScsiError(sense.OUT_OF_RANGE)
        if count > limit_blocks:
            raise bad_field({Form.SIX: 4, Form.TEN: 7, Form.TWELVE: 6}.get(command.form, 10))
        return lba * BLOCK_BYTES, count * BLOCK_BYTES

    # ---- reading and writing -------------------------------------------------------------------------

    def _nothing(self, _: Command, __: bytes) -> Plan:
        return Plan()

    def _read(self, command: Command, cdb: bytes) -> Plan:
        if command.form is not Form.SIX and cdb[1] & 0xE0:
            raise bad_field(1)
        offset, length = self._range(command, cdb, MAX_TRANSFER_BLOCKS)
        return Plan(work=lambda _: self._read_steps(offset, length)) if length else Plan()

    def _read_steps(self, offset: int, length: int) -> Steps[Data]:
        return checked((yield partial(self.store.read, offset, length)), _read_failed)

    def _write(self, command: Command, cdb: bytes) -> Plan:
        if command.form is not Form.SIX and cdb[1] & 0xE0:
            raise bad_field(1)
        offset, length = self._range(command, cdb, MAX_TRANSFER_BLOCKS)
        fua = command.form is not Form.SIX and bool(cdb[1] & 0x08)
        if not length:
            return Plan()
        return Plan(
            length,
            work=lambda data: self._write_steps(offset, data, fua),
            part=lambda data: self._part_steps(offset, data, fua),
        )

    def _write_steps(self, offset: int, data: Data, fua: bool) -> Steps[Data]:
        yield_ = partial(self.store.write, offset, len(data), data, fua)
        checked((yield yield_), _write_failed)
        return b""

    def _part_steps(self, offset: int, data: Data, fua: bool) -> Steps[Data]:
        """Less came than the command names: what came is written, what lies behind it stays (FCP-4 9.4.2, case a)."""
        if len(data):
            whole = -(-len(data) // BLOCK_BYTES) * BLOCK_BYTES
            yield from self._update_steps(
                offset, whole, lambda old: bytes(data) + bytes(old[len(data) :]), fua
            )
        return b""

    def _write_and_verify(self, command: Command, cdb: bytes) -> Plan:
        check = self._byte_check(cdb, (0, 1))
        offset, length = self._range(command, cdb, MAX_TRANSFER_BLOCKS)

        def work(data: Data) -> Steps[Data]:
            write = self._write_steps if len(data) == length else self._part_steps
            yield from write(offset, data, True)
            if check and len(data):
                whole = -(-len(data) // BLOCK_BYTES) * BLOCK_BYTES
                found = yield from self._read_steps(offset, whole)
                _require_equal(found[: len(data)], data)
            return b""

        return Plan(length, work=work, part=work) if length else Plan()

    def _byte_check(self, cdb: bytes, known: tuple[int, ...]) -> int:
        """BYTCHK of a CDB without protection. Raises ScsiError."""
        check = cdb[1] >> 1 & 3
        if cdb[1] & 0xE0 or check not in known:
            raise bad_field(1)
        return check

    def _verify(self, command: Command, cdb: bytes) -> Plan:
        check = self._byte_check(cdb, (0, 1, 3))
        offset, length = self._range(command, cdb, MAX_TRANSFER_BLOCKS if check else self._blocks)
        if not length:
            return Plan()
        if check == 0:
            return Plan(work=lambda _: self._readable_steps(offset, length))
        if check == 1:
            return Plan(length, work=lambda data: self._compare_steps(offset, data))
        times = length // BLOCK_BYTES
        return Plan(BLOCK_BYTES, work=lambda data: self._compare_steps(offset, bytes(data) * times))

    def _readable_steps(self, offset: int, length: int) -> Steps[Data]:
        for at in range(offset, offset + length, PIECE_BYTES):
            piece = min(PIECE_BYTES, offset + length - at)
            checked((yield partial(self.store.read, at, piece)), _read_failed)
        return b""

    def _compare_steps(self, offset: int, wanted: Data) -> Steps[Data]:
        found = yield from self._read_steps(offset, len(wanted))
        _require_equal(found, wanted)
        return b""

    def _compare_and_write(self, _: Command, cdb: bytes) -> Plan:
        if cdb[1] & 0xE0:
            raise bad_field(1)
        lba, count = table.number(cdb, 2, 10), cdb[13]
        if lba + count > self._blocks or lba >= self._blocks + (count == 0):
            raise ScsiError(sense.OUT_OF_RANGE)
        if count > MAX_COMPARE_BLOCKS:
            raise bad_field(13)
        offset, length = lba * BLOCK_BYTES, count * BLOCK_BYTES
        fua = bool(cdb[1] & 0x08)

        def work(data: Data) -> Steps[Data]:
            halves = memoryview(data)

            def change(old: Data) -> Data:
                _require_equal(old, halves[:length])
                return bytes(halves[length:])

            yield from self._update_steps(offset, length, change, fua)
            return b""

        return Plan(2 * length, work=work) if length else Plan()

    def _update_steps(
        self, offset: int, length: int, change: Callable[[Data], Data], fua: bool
    ) -> Steps[Data]:
        failed: list[ScsiError] = []

        def step(done: Done) -> None:
            def finished(_: None, error: ScsiError | None) -> None:
                if error is not None:
                    failed.append(error)
                done(0, None)

            self.store.update(offset, length, change, fua, finished)

        yield step
        if failed:
            raise failed[0]
        return b""

    def _synchronize(self, command: Command, cdb: bytes) -> Plan:
        lba, count = table.blocks(command.form, cdb)
        if lba + count > self._blocks or lba >= self._blocks + (count == 0):
            raise ScsiError(sense.OUT_OF_RANGE)
        return Plan(work=lambda _: self._flush_steps())

    def _flush_steps(self) -> Steps[Data]:
        """The whole volume is flushed, and IMMED does not hurry the answer: durable is durable."""
        checked((yield self.store.flush), _flush_failed)
        return b""

    def _start_stop(self, _: Command, cdb: bytes) -> Plan:
        if cdb[4] & 0xF0:  # power conditions there are none
            raise bad_field(4)
        if cdb[4] & 0x02:  # it cannot be ejected
            raise bad_field(4)
        return Plan() if cdb[4] & 0x05 else Plan(work=lambda _: self._flush_steps())

    # ---- space ---------------------------------------------------------------------------------------

    def _unmap(self, _: Command, cdb: bytes) -> Plan:
        if cdb[1] & 0x01:  # ANCHOR
            raise bad_field(1)
        length = table.number(cdb, 7, 9)
        if not length:
            return Plan()
        if length < 8:
            raise ScsiError(sense.PARAMETER_LIST_LENGTH)
        return Plan(length, work=self._unmap_steps)

    def _unmap_steps(self, data: Data) -> Steps[Data]:
        for offset, length in self._unmap_ranges(bytes(data)):
            if length:
                step: Step = partial(self.store.discard, offset, length, False)
                checked((yield step), _write_failed)
        return b""

    def _unmap_ranges(self, data: bytes) -> list[tuple[int, int]]:
        """Offsets and lengths in bytes (SBC-3 5.28.2). Raises ScsiError before anything is done."""
        size = min(table.number(data, 2, 4), len(data) - 8)
        count = max(0, size) // 16
        if count > MAX_UNMAP_DESCRIPTORS:
            raise bad_parameter(2)
        ranges, total = [], 0
        for at in range(8, 8 + 16 * count, 16):
            lba, blocks = table.number(data, at, at + 8), table.number(data, at + 8, at + 12)
            if lba + blocks > self._blocks:
                raise ScsiError(sense.OUT_OF_RANGE)
            total += blocks
            ranges.append((lba * BLOCK_BYTES, blocks * BLOCK_BYTES))
        if total > MAX_UNMAP_BLOCKS:
            raise bad_parameter(8)
        return ranges

    def _write_same(self, command: Command, cdb: bytes) -> Plan:
        if cdb[1] & 0xE0 or cdb[1] & 0x10 or cdb[1] & 0x06:  # protection, ANCHOR, obsolete ways to fill
            raise bad_field(1)
        no_data = command.form is Form.SIXTEEN and bool(cdb[1] & 0x01)
        offset, length = self._range(command, cdb, MAX_WRITE_SAME_BLOCKS)
        if not length:
            raise bad_field(7 if command.form is Form.TEN else 10)
        if no_data:
            return Plan(work=lambda _: self._fill_steps(offset, length, bytes(BLOCK_BYTES)))
        return Plan(BLOCK_BYTES, work=lambda data: self._fill_steps(offset, length, bytes(data)))

    def _fill_steps(self, offset: int, length: int, block: bytes) -> Steps[Data]:
        """Zeros take no room on the volume, whether or not that was asked for."""
        if not any(block):
            checked((yield partial(self.store.discard, offset, length, False)), _write_failed)
            return b""
        for at in range(offset, offset + length, PIECE_BYTES):
            piece = min(PIECE_BYTES, offset + length - at)
            yield from self._write_steps(at, block * (piece // BLOCK_BYTES), False)
        return b""

    def _get_lba_status(self, _: Command, cdb: bytes) -> Plan:
        lba, room = table.number(cdb, 2, 10), table.number(cdb, 10, 14)
        if lba >= self._blocks:
            raise ScsiError(sense.OUT_OF_RANGE)
        end, mapped = self._extent(lba)
        entry = lba.to_bytes(8, "big") + min(end - lba, 0xFFFFFFFF).to_bytes(4, "big")
        entry += bytes((0x00 if mapped else 0x01, 0, 0, 0))
        return Plan(answer=((len(entry) + 4).to_bytes(4, "big") + bytes(4) + entry)[:room])

    def _extent(self, lba: int) -> tuple[int, bool]:
        """Where the extent that begins at a block ends, and whether it is mapped."""
        if self._next_data is None or self.store.discards_writes:
            return self._blocks, True
        found = self._next_data(lba * BLOCK_BYTES)
        if found is None:
            return self._blocks, False
        start, length = found
        if start // BLOCK_BYTES > lba:
            return start // BLOCK_BYTES, False
        return max(lba + 1, min(self._blocks, (start + length) // BLOCK_BYTES)), True


def _require_equal(found: Data, wanted: Data) -> None:
    """Raises ScsiError: MISCOMPARE, with the offset of the first byte that differs."""
    ours, theirs = bytes(found), bytes(wanted)
    if ours == theirs:
        return
    low, high = 0, len(ours)  # the first difference is in ours[low:high]
    while high - low > 1:
        middle = (low + high) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            high = middle
    raise ScsiError(Sense(*sense.MISCOMPARE[:3], information=low))
