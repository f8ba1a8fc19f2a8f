"""A resource without a host: it implements the whole interface and does what it is told to do."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twinhull.errors import ResourceError
from twinhull.resources.base import Finding, ResourceState

HANG_LIMIT_S = 60.0


class FakeResource:
    """A VM that lives in memory. Thread-safe, as real ones are.

    Args:
        on_start: called while it starts (with `resume`), for tests that look at the folder then.

    Attributes:
        calls: what was called, in order, such as `start`, `start resume`, `stop save`, `force_off`.
        saved: whether a saved state lies in the folder.
        fail: names of methods that raise ResourceError (`start`, `stop`, `force_off`, ...).
        guest_refuses: `stop` by shutdown fails in its time, as with a guest that does not listen.
        findings: what `check_host` answers.
    """

    def __init__(self, on_start: Callable[[bool], None] = lambda _resume: None) -> None:
        self.calls: list[str] = []
        self.saved = False
        self.fail: set[str] = set()
        self.guest_refuses = False
        self.findings: list[Finding] = []
        self._on_start = on_start
        self._state = ResourceState.ABSENT
        self._changed = threading.Condition()
        self._hanging: set[str] = set()

    # ---- the interface -------------------------------------------------------------------------------

    def start(self, *, resume: bool) -> None:
        self._enter("start", "start resume" if resume else "start")
        self._on_start(resume)
        with self._changed:
            if self._state in (ResourceState.RUNNING, ResourceState.PAUSED):
                raise ResourceError("The fake resource runs already.")
            self.saved = False
            self._become(ResourceState.RUNNING)

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        self._enter("stop", f"stop {mode}")
        with self._changed:
            if self._state not in (ResourceState.RUNNING, ResourceState.PAUSED):
                return False
            if mode == "stop" and self.guest_refuses:
                raise ResourceError(f"The fake guest did not shut down within {timeout_s:g} s; it runs on.")
            self.saved = mode == "save"
            self._become(ResourceState.SAVED if self.saved else ResourceState.OFF)
            return self.saved

    def force_off(self) -> None:
        self._enter("force_off", "force_off")
        with self._changed:
            if self._state is not ResourceState.ABSENT:
                self._become(ResourceState.OFF)

    def forget(self) -> None:
        self._enter("forget", "forget")
        with self._changed:
            if self._state in (ResourceState.RUNNING, ResourceState.PAUSED):
                raise ResourceError("The fake resource runs, so it stays registered.")
            self._become(ResourceState.ABSENT)

    def suspend(self) -> None:
        self._enter("suspend", "suspend")
        with self._changed:
            if self._state is ResourceState.RUNNING:
                self._become(ResourceState.PAUSED)

    def resume(self) -> None:
        self._enter("resume", "resume")
        with self._changed:
            if self._state is ResourceState.PAUSED:
                self._become(ResourceState.RUNNING)

    def interrupt(self) -> None:
        self._enter("interrupt", "interrupt")

    def ended(self) -> str:
        return "the fake died"

    def state(self) -> ResourceState:
        with self._changed:
            return self._state

    def check_host(self) -> list[Finding]:
        self._enter("check_host", "check_host")
        return list(self.findings)

    # ---- for tests -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it could write: it runs or is paused."""
        return self.state() in (ResourceState.RUNNING, ResourceState.PAUSED)

    def die(self) -> None:
        """It stops by itself, as after a crash."""
        with self._changed:
            self._become(ResourceState.OFF)

    def pause_critical(self, paused: bool) -> None:
        """Its hypervisor holds it, or lets it go on."""
        with self._changed:
            self._become(ResourceState.PAUSED_CRITICAL if paused else ResourceState.RUNNING)

    def hang(self, method: str) -> None:
        """From now on this method waits for `release`."""
        with self._changed:
            self._hanging.add(method)

    def release(self, method: str) -> None:
        """Let those that hang in this method go on."""
        with self._changed:
            self._hanging.discard(method)
            self._changed.notify_all()

    def wait_for(self, state: ResourceState, timeout_s: float = 10.0) -> bool:
        """Wait until it is in this state; whether it got there."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state is state, timeout_s)

    def wait_for_call(self, call: str, timeout_s: float = 10.0) -> bool:
        """Wait until this was called; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: call in self.calls, timeout_s)

    def _enter(self, method: str, call: str) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: method not in self._hanging, HANG_LIMIT_S):
                raise ResourceError(f"The fake resource was never released from {method}.")
            if method in self.fail:
                raise ResourceError(f"The fake resource was told to fail in {method}.")

    def _become(self, state: ResourceState) -> None:
        self._state = state
        self._changed.notify_all()


class LeavingResource(FakeResource):
    """One whose registration is removed while writes are thrown away; implements `resources.base.Leaving` too."""

    def leave(self) -> None:
        self._enter("leave", "leave")
        with self._changed:
            self._become(ResourceState.ABSENT)


class ReturningResource(LeavingResource):
    """One that may be registered of an earlier life; implements `resources.base.Returning`, `Awaiting` and `Warm` too.

    Attributes:
        starts_after: how many looks find the service that it needs not running yet.
        looks: how often that was looked at; `blind`: it cannot be seen.
        left: what removes the registration that an earlier life left: `clear`, `leave`, `last resort`, `nothing`;
            empty where there is none.
    """

    def __init__(self, on_start: Callable[[bool], None] = lambda _resume: None) -> None:
        super().__init__(on_start)
        self.left = ""
        self.starts_after = 0
        self.looks = 0
        self.blind = False

    def host_ready(self) -> bool:
        with self._changed:
            self.looks += 1
            self._changed.notify_all()
            if self.blind:
                raise ResourceError("It cannot be seen.")
            return self.looks > self.starts_after

    def wait_for_looks(self, count: int) -> bool:
        """Whether it was looked at so often, in the end."""
        with self._changed:
            return self._changed.wait_for(lambda: self.looks >= count, HANG_LIMIT_S)

    def clear(self, *, last_resort: bool = False) -> bool:
        call = "clear at last" if last_resort else "clear"
        self._enter(call, call)
        with self._changed:
            if self.left == "clear" or (last_resort and self.left == "last resort"):
                self.left = ""
            return not self.left

    def leave(self) -> None:
        super().leave()
        with self._changed:
            if self.left == "leave":
                self.left = ""

    def warm(self) -> None:
        self._enter("warm", "warm")
