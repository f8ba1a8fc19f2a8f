"""The one small interface of every resource. Methods block; the worker calls them on its host lane."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Log = Callable[[str], None]


class ResourceState(enum.Enum):
    """What the host says of the resource."""

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"
    SAVED = "saved"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check before protection found. `fatal`: protection is refused."""

    fatal: bool
    sentence: str


class Resource(Protocol):
    """What runs on the folder."""

    def start(self, *, resume: bool) -> None:
        """Start it (define it first where the host needs that). Raises ResourceError."""

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        """Stop it by `stop`, `save` or `off`; wait at most `timeout_s`. True when a state was saved.

        Returns only when nothing of it can write any more. Raises ResourceError when it still runs.
        """

    def force_off(self) -> None:
        """Off at once, whoever started it, also when its disk answers nothing. Idempotent."""

    def forget(self) -> None:
        """Remove its registration from this host, leaving the folder alone. Idempotent."""

    def suspend(self) -> None:
        """Pause it (best effort)."""

    def resume(self) -> None:
        """Let it go on (best effort)."""

    def interrupt(self) -> None:
        """Make a `stop` that waits for its guest give up: it raises ResourceError and the resource runs on.

        From any thread; does nothing where nobody waits, and for what cannot be asked to go on.
        """

    def state(self) -> ResourceState:
        """What the host says."""

    def ended(self) -> str:
        """Why it is off, in words for people, after `state` said so."""

    def check_host(self) -> list[Finding]:
        """What this host lacks to run it, in words."""


@runtime_checkable
class Leaving(Protocol):
    """A resource whose registration can only be removed while no write of the host reaches the volume.

    In a gentle detach the worker flushes the folder, lets the export throw away all further writes, calls `leave`, and
    then detaches. Whoever removes a registration otherwise would change what the other node is about to run.
    """

    def leave(self) -> None:
        """Remove the registration from this host; what that writes into the folder is thrown away.

        Idempotent. Raises ResourceError when it stays.
        """
