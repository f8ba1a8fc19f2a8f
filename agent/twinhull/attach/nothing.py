"""Where the host mounts nothing: whoever runs on the module logs in to its iSCSI disk himself."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import AttachError


class NoAttacher:
    """See `attach.base.Attacher`: attached is what is offered.

    Args:
        module: its name, for messages.
        offered: whether the disk is offered now.
        withdraw: what a dead worker told of its disk is taken back.
    """

    def __init__(self, module: str, offered: Callable[[], bool], withdraw: Callable[[], None]) -> None:
        self._module = module
        self._offered = offered
        self._withdraw = withdraw

    def attach(self, *, make: bool) -> None:  # noqa: ARG002 - nothing is ever made on the disk here
        """Nothing to do but to see that the disk is offered. Raises AttachError."""
        if not self._offered():
            raise AttachError(f"The disk of module {self._module} is not offered.")

    def flush(self) -> None:
        """Whoever logged in flushes: its stop command ends when it has."""

    def detach(self, *, forced: bool) -> None:
        """The worker takes the disk away when this returns."""

    def attached(self) -> bool:
        """Whether the disk is offered."""
        return self._offered()

    def clean_up(self) -> list[str]:
        """Take back what a dead worker told; its disk went with it."""
        if not self._offered():
            return []
        self._withdraw()
        return [f"the iSCSI disk of {self._module} was offered until its worker died"]
