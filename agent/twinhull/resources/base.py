"""The one small interface of every resource. Methods block; the worker calls them on its host lane."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

Log = Callable[[str], None]


class ResourceState(enum.Enum):
    """What the host says of the resource."""

    RUNNING = "running"
    PAUSED = "paused"
    PAUSED_CRITICAL = "paused-critical"
    """The hypervisor paused it because its disk has no room or failed: neither restart nor failover heals that."""
    OFF = "off"
    SAVED = "saved"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check before protection found. `fatal`: protection is refused."""

    fatal: bool
    sentence: str


class Progress(NamedTuple):
    """How far a move of a VM is: the file or VM being copied, and bytes of all files."""

    what: str
    bytes_done: int
    bytes_total: int


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

        Idempotent. One that stays is told in the log: see `Returning`. Raises ResourceError when it must not be removed.
        """


@runtime_checkable
class Returning(Protocol):
    """A resource whose registration of an earlier life has to be removed before its folder is mounted again."""

    def clear(self, *, last_resort: bool = False) -> bool:
        """Remove what an earlier life left registered here, while nothing is mounted. Idempotent.

        Args:
            last_resort: also restart the hypervisor's management, which running VMs survive.

        Returns whether nothing is left. If something stays: mount the local replica with an export that throws all
        writes away, `leave`, unmount, and `clear` again, at last with the last resort. Raises ResourceError when removing
        it would delete files, or it runs.
        """


@runtime_checkable
class Awaiting(Protocol):
    """A resource that needs a service of its host which starts after ours when the host boots."""

    def host_ready(self) -> bool:
        """Whether that service runs. Returns soon. Raises ResourceError."""


@runtime_checkable
class Warm(Protocol):
    """A resource that starts faster when something was made ready before."""

    def warm(self) -> None:
        """Have ready what a start needs, such as processes. Idempotent. Raises TwinhullError."""


@runtime_checkable
class Vm(Protocol):
    """A resource that is a VM whose definition can be judged by either host before it is protected."""

    def check_definition(self, definition: str) -> list[Finding]:
        """What this host lacks to run the VM of that definition, in words."""
