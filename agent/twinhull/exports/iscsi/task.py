"""One SCSI command on its way through a session."""

from __future__ import annotations

from typing import Final, Protocol

from .pdu import NO_TAG
from .steps import Data, Plan

NO_PLAN: Final = Plan()


class Owner(Protocol):
    """The session that answers it."""

    def written(self, task: Task, error: int) -> None: ...
    def was_read(self, task: Task, error: int, data: Data | None) -> None: ...


class Task:
    """A command from its arrival to its status.

    Args:
        owner: who answers it.
        tag: the initiator's task tag.
        lun: as it travels.
        flags: byte 1 of the command's PDU.
        expected: the expected data transfer length in bytes.
        immediate: whether it takes no room in the window.
    """

    # What few tasks change stands on the class: making one is on the path of every read and write.
    aborted = False
    """Nothing may be said of it any more."""
    ordered = False
    shortly = False
    """Whether it is a read or write of the usual kind."""
    plan = NO_PLAN
    offset = 0
    fua = False
    wanted = 0
    """How much data its CDB names."""
    out_bytes = 0
    """How much data it takes: less than is wanted where the initiator expects to send less."""
    buffer: bytearray | None = None
    """The data that came so far, while there is more to come."""
    received = 0
    burst_end = 0
    transfer_tag = NO_TAG
    data_sn = 0
    r2t_sn = 0
    waiting: Data | None = None
    """Its data, complete, while an ordered task stands before it."""
    spare: bytearray | None = None
    """Room that another write may have once this one has gone well."""

    def __init__(self, owner: Owner, tag: int, lun: int, flags: int, expected: int, immediate: bool) -> None:
        self.owner = owner
        self.tag = tag
        self.lun = lun
        self.flags = flags
        self.expected = expected
        self.immediate = immediate

    def written(self, error: int, _: Data | None) -> None:
        """The volume has answered its write."""
        self.owner.written(self, error)

    def was_read(self, error: int, data: Data | None) -> None:
        """The volume has answered its read."""
        self.owner.was_read(self, error, data)
