"""Moving a VM into the folder before its first start, and out of it after its last stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from twinhull.errors import ResourceError
from twinhull.resources.base import Finding, Progress, Resource, ResourceState


class Plan(Protocol):
    """What would be moved where, and what stands against it; each hypervisor has its own."""

    @property
    def definition(self) -> str:
        """The VM as the other node judges it."""

    @property
    def inside(self) -> bool:
        """Whether the VM is in its folder already."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What speaks against it."""


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class Mover(Generic[PlanT]):
    """How one hypervisor moves one VM; all of it blocks and raises ResourceError.

    Args:
        plan_in: looks at the VM where it is; changes nothing.
        plan_out: looks at it in the mounted folder; is told where it goes.
        carry_out: does it; after a failure the VM is as it was, and the same may be done again.
        originals: files that the move into the folder left behind, once the VM has run from there.
        remove_originals: deletes them; tells which.
    """

    plan_in: Callable[[], PlanT]
    plan_out: Callable[[str], PlanT]
    carry_out: Callable[[PlanT], None]
    originals: Callable[[], Sequence[str]]
    remove_originals: Callable[[], Sequence[str]]


class Moves(Generic[PlanT]):
    """The moves of one module's VM; they block (host lane), `progress` may be asked for meanwhile.

    Args:
        make_mover: makes a mover that tells its progress to the function given.
        resource: the VM, to be shut down before it is moved.
        stop_timeout_s: how long its shutdown may take.
    """

    def __init__(
        self,
        make_mover: Callable[[Callable[[Progress], None]], Mover[PlanT]],
        resource: Resource,
        stop_timeout_s: float,
    ) -> None:
        self._mover = make_mover(self._moved)
        self._resource = resource
        self._stop_timeout_s = stop_timeout_s
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self.failure = ""
        """Why the last move failed; empty when it did not."""

    def progress(self) -> dict[str, Any] | None:
        """How far the present move is; None when there is none."""
        with self._lock:
            seen = self._progress
        if seen is None:
            return None
        return {"what": seen.what, "done_bytes": seen.bytes_done, "total_bytes": seen.bytes_total}

    def plan(self) -> PlanT:
        """What adopting the VM would move, and what speaks against it; changes nothing. Raises ResourceError."""
        return self._mover.plan_in()

    def adopt(self, *, stop_vm: bool) -> None:
        """Move the VM into the mounted folder. After a failure it is as it was. Raises ResourceError."""
        self.failure = ""
        try:
            if stop_vm:
                self._resource.stop(mode="stop", timeout_s=self._stop_timeout_s)
            self._mover.carry_out(self.plan())
        except ResourceError as error:
            self.failure = str(error)
            raise
        finally:
            self._done()

    def runs(self) -> bool:
        """Whether the VM runs now, wherever its disks are."""
        return self._resource.state() in (ResourceState.RUNNING, ResourceState.PAUSED)

    def release(self, target: str) -> None:
        """Move the VM out of the folder, which is still mounted, to the directory `target`. Raises ResourceError."""
        try:
            self._mover.carry_out(self._mover.plan_out(target))
        finally:
            self._done()

    def originals(self) -> Sequence[str]:
        """Files at the VM's old places that may be removed. Raises ResourceError while it has not run from its folder."""
        return self._mover.originals()

    def remove_originals(self) -> Sequence[str]:
        """Remove them; tells which. Raises ResourceError."""
        return self._mover.remove_originals()

    def _moved(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress

    def _done(self) -> None:
        with self._lock:
            self._progress = None
