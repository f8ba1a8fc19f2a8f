"""An attacher without a host: it implements the whole interface and does what it is told to do."""

from __future__ import annotations

import threading

from twinhull.errors import AttachError, FolderBusyError

HANG_LIMIT_S = 60.0


class FakeAttacher:
    """A folder that is mounted or not. Thread-safe.

    Attributes:
        calls: what was called, in order, such as `attach`, `attach make`, `detach`, `detach forced`.
        fail: names of methods that raise (`attach`, `flush`, `detach`).
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail: set[str] = set()
        self._mounted = False
        self._hanging: set[str] = set()
        self._changed = threading.Condition()

    def attach(self, *, make: bool) -> None:
        self._enter("attach", "attach make" if make else "attach", AttachError("The fake folder refuses."))
        self._mounted = True

    def flush(self) -> None:
        self._enter("flush", "flush", AttachError("The fake folder cannot be written back."))

    def detach(self, *, forced: bool) -> None:
        self._enter("detach", "detach forced" if forced else "detach", FolderBusyError("The fake is busy."))
        self._mounted = False

    def attached(self) -> bool:
        return self._mounted

    def clean_up(self) -> list[str]:
        self._enter("clean_up", "clean_up", AttachError("The fake cannot be cleaned up."))
        freed = ["freed the fake mount"] if self._mounted else []
        self._mounted = False
        return freed

    # ---- for tests -----------------------------------------------------------------------------------

    def lose_mount(self) -> None:
        """Somebody else unmounted it."""
        self._mounted = False

    def hang(self, method: str) -> None:
        """From now on this method waits for `release`."""
        with self._changed:
            self._hanging.add(method)

    def release(self, method: str) -> None:
        """Let those that hang in this method go on."""
        with self._changed:
            self._hanging.discard(method)
            self._changed.notify_all()

    def wait_for_call(self, call: str, timeout_s: float = 10.0) -> bool:
        """Wait until this was called; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: call in self.calls, timeout_s)

    def _enter(self, method: str, call: str, error: AttachError) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: method not in self._hanging, HANG_LIMIT_S):
                raise AttachError(f"The fake attacher was never released from {method}.")
            if method in self.fail:
                raise error
