"""The part of the logical unit that describes it: INQUIRY, capacity, modes, logs, what it supports (SPC-4 clause 6)."""

from __future__ import annotations

from struct import pack
from typing import Final

from . import cdb as table
from . import pages, sense
from .cdb import Command
from .pages import ModePage
from .sense import ScsiError, bad_field, bad_parameter
from .steps import Data, Plan, Steps
from .store import Store

_CURRENT, _CHANGEABLE, _SAVED = 0, 1, 3
_FUNCTIONS: Final = bytes((0x80 | 0x40 | 0x10 | 0x08, 0x00, 0x00, 0x00))
"""ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET (SPC-4 6.36.2)."""


class Describer:
    """What the disk says of itself, and the one thing of it that may be changed: the write cache.

    Args:
        identity: who it is.
        store: turned to write-through when the write cache is turned off.
    """

    def __init__(self, identity: pages.DiskIdentity, store: Store) -> None:
        self._identity = identity
        self._store = store
        self.space = pages.Space(0, identity.size_bytes)
        """What LOG SENSE tells of the room below."""

    def plan(self, command: Command, cdb: bytes) -> Plan:
        """Answer one of the commands that are not of `disk`. Raises ScsiError."""
        planned: Plan = getattr(self, f"_{command.part}")(cdb)
        return planned

    # ---- identity and capacity -------------------------------------------------------------------------

    def _inquiry(self, cdb: bytes) -> Plan:
        room = table.number(cdb, 3, 5)
        if not cdb[1] & 0x01:
            if cdb[2]:
                raise bad_field(2)
            return Plan(answer=pages.standard_inquiry()[:room])
        page = pages.VPD_PAGES.get(cdb[2])
        if page is None:
            raise bad_field(2)
        return Plan(answer=page(self._identity)[:room])

    def _request_sense(self, cdb: bytes) -> Plan:
        """There is nothing to report: sense travels with the status that it belongs to."""
        form = sense.descriptor if cdb[1] & 0x01 else sense.fixed
        return Plan(answer=form(sense.NO_SENSE)[: cdb[4]])

    def _report_luns(self, cdb: bytes) -> Plan:
        room = table.number(cdb, 6, 10)
        if cdb[2] > 2:
            raise bad_field(2)
        if room < 16:
            raise bad_field(6)
        listed = b"" if cdb[2] == 1 else bytes(8)  # LUN 0 is no well-known unit
        return Plan(answer=(pack(">II", len(listed), 0) + listed)[:room])

    def _read_capacity_10(self, cdb: bytes) -> Plan:
        if cdb[8] & 0x01 or table.number(cdb, 2, 6):  # PMI is obsolete
            raise bad_field(8 if cdb[8] & 0x01 else 2)
        return Plan(answer=pages.read_capacity_10(self._identity))

    def _read_capacity_16(self, cdb: bytes) -> Plan:
        if cdb[14] & 0x01 or table.number(cdb, 2, 10):
            raise bad_field(14 if cdb[14] & 0x01 else 2)
        return Plan(answer=pages.read_capacity_16(self._identity)[: table.number(cdb, 10, 14)])

    # ---- modes -----------------------------------------------------------------------------------------

    def _body(self, page: ModePage, control: int) -> bytes:
        if control == _CHANGEABLE:
            return page.changeable
        if control == _CURRENT and page.code == pages.CACHING:
            return bytes((0 if self._store.write_through else pages.WRITE_CACHE_BIT,)) + page.default[1:]
        return page.default

    def _sensed(self, cdb: bytes) -> tuple[bytes, bytes]:
        """Block descriptor and pages that a MODE SENSE asks for. Raises ScsiError."""
        control, code = cdb[2] >> 6, cdb[2] & 0x3F
        if control == _SAVED:
            raise ScsiError(sense.SAVING_NOT_SUPPORTED)
        found = pages.wanted_pages(code, cdb[3])
        if not found:
            raise bad_field(2)
        descriptor = b"" if cdb[1] & 0x08 else pages.block_descriptor(self._identity.size_bytes)
        return descriptor, b"".join(pages.mode_page(page, self._body(page, control)) for page in found)

    def _mode_sense_6(self, cdb: bytes) -> Plan:
        descriptor, body = self._sensed(cdb)
        head = bytes((3 + len(descriptor) + len(body), 0, pages.DPO_FUA, len(descriptor)))
        return Plan(answer=(head + descriptor + body)[: cdb[4]])

    def _mode_sense_10(self, cdb: bytes) -> Plan:
        descriptor, body = self._sensed(cdb)
        head = pack(">HBBHH", 6 + len(descriptor) + len(body), 0, pages.DPO_FUA, 0, len(descriptor))
        return Plan(answer=(head + descriptor + body)[: table.number(cdb, 7, 9)])

    def _mode_select_6(self, cdb: bytes) -> Plan:
        return self._selection(cdb, cdb[4], 4)

    def _mode_select_10(self, cdb: bytes) -> Plan:
        return self._selection(cdb, table.number(cdb, 7, 9), 8)

    def _selection(self, cdb: bytes, length: int, header_bytes: int) -> Plan:
        if cdb[1] & 0x01 or not cdb[1] & 0x10:  # nothing can be saved; pages are of the standard's format
            raise bad_field(1)
        if not length:
            return Plan()
        if length < header_bytes:
            raise ScsiError(sense.PARAMETER_LIST_LENGTH)
        return Plan(length, work=lambda data: self._select_steps(bytes(data), header_bytes))

    def _select_steps(self, data: bytes, header_bytes: int) -> Steps[Data]:
        write_cache = self._selected(data, header_bytes)
        if write_cache is not None:
            if not write_cache:
                # What was answered before, with the cache on, must not stay behind it.
                yield self._store.flush
            self._store.write_through = not write_cache
        return b""

    def _selected(self, data: bytes, header_bytes: int) -> bool | None:
        """Whether the write cache is to be on; None when that is not touched. Raises ScsiError."""
        size = data[3] if header_bytes == 4 else table.number(data, 6, 8)
        if size not in (0, 8):
            raise bad_parameter(header_bytes - 1)
        at = header_bytes + size
        if len(data) < at:
            raise ScsiError(sense.PARAMETER_LIST_LENGTH)
        if size and table.number(data, header_bytes + 5, at) != pages.BLOCK_BYTES:
            raise bad_parameter(header_bytes + 5)
        chosen: bool | None = None
        while at < len(data):
            page, start, end = self._page_at(data, at)
            self._require_unchanged(page, data[start:end], start)
            if page.code == pages.CACHING:
                chosen = bool(data[start + pages.WRITE_CACHE_BYTE] & pages.WRITE_CACHE_BIT)
            at = end
        return chosen

    def _page_at(self, data: bytes, at: int) -> tuple[ModePage, int, int]:
        """The mode page that begins there, and where its values begin and end. Raises ScsiError."""
        long = bool(data[at] & 0x40)
        start = at + (4 if long else 2)
        if start > len(data):
            raise ScsiError(sense.PARAMETER_LIST_LENGTH)
        found = pages.wanted_pages(data[at] & 0x3F, data[at + 1] if long else 0)
        length = table.number(data, at + 2, at + 4) if long else data[at + 1]
        if len(found) != 1:
            raise bad_parameter(at)
        if length != len(found[0].default):
            raise bad_parameter(at + 1)
        if start + length > len(data):
            raise ScsiError(sense.PARAMETER_LIST_LENGTH)
        return found[0], start, start + length

    def _require_unchanged(self, page: ModePage, body: bytes, start: int) -> None:
        current = self._body(page, _CURRENT)
        for index, (new, old, may) in enumerate(zip(body, current, page.changeable, strict=True)):
            if (new ^ old) & ~may:
                raise bad_parameter(start + index)

    # ---- logs and what is supported --------------------------------------------------------------------

    def _log_sense(self, cdb: bytes) -> Plan:
        code, room = cdb[2] & 0x3F, table.number(cdb, 7, 9)
        if cdb[1] & 0x01:  # nothing can be saved
            raise bad_field(1)
        if code not in pages.LOG_PAGES or cdb[3]:
            raise bad_field(2)
        return Plan(answer=pages.log_page(code, self.space)[:room])

    def _report_functions(self, cdb: bytes) -> Plan:
        body = _FUNCTIONS if not cdb[2] & 0x80 else _FUNCTIONS[:3] + bytes((0x0C,)) + bytes(12)
        return Plan(answer=body[: table.number(cdb, 6, 10)])

    def _report_commands(self, cdb: bytes) -> Plan:
        wanted, timeouts = cdb[2] & 0x07, bool(cdb[2] & 0x80)
        room = table.number(cdb, 6, 10)
        if wanted == 0:
            return Plan(answer=_all_commands(timeouts)[:room])
        opcode, action = cdb[3], table.number(cdb, 4, 6)
        has_actions = opcode in table.WITH_ACTION
        if wanted > 3 or (wanted == 1 and has_actions):
            raise bad_field(2)
        if wanted == 2 and not has_actions and any(opcode == known.opcode for known in table.COMMANDS):
            raise bad_field(2)
        command = table.BY_OPCODE.get((opcode, action if has_actions else None))
        return Plan(answer=_one_command(command, timeouts)[:room])


_NO_TIMEOUTS: Final = pack(">HH", 0x000A, 0) + bytes(8)
"""A command timeouts descriptor that names none (SPC-4 6.35.4)."""


def _all_commands(timeouts: bool) -> bytes:
    listed = b""
    for command in table.COMMANDS:
        flags = (0x02 if timeouts else 0) | (0x01 if command.action is not None else 0)
        listed += pack(">BBHBBH", command.opcode, 0, command.action or 0, 0, flags, len(command.usage))
        listed += _NO_TIMEOUTS if timeouts else b""
    return pack(">I", len(listed)) + listed


def _one_command(command: Command | None, timeouts: bool) -> bytes:
    if command is None:
        return bytes((0, 0x01, 0, 0))
    head = bytes((0, (0x80 if timeouts else 0) | 0x03)) + len(command.usage).to_bytes(2, "big")
    return head + command.usage + (_NO_TIMEOUTS if timeouts else b"")
