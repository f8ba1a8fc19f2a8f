"""The heartbeat of a guest of Hyper-V, by the names of its enumeration and never by localised text.

It is armed by the first Ok since the VM's start: a guest without the integration services is never called dead. A guest
that lost contact because it restarts by itself is forgiven for its boot time; one that hangs is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from twinhull.errors import TwinhullError
from twinhull.powershell import PowerShell

from .base import CheckResult

_OK = frozenset({"OkApplicationsHealthy", "OkApplicationsUnknown", "OkApplicationsCritical", "Ok"})
_LOCKED_UP = frozenset({"LostCommunication", "Error"})
_NO_CONTACT = "NoContact"


class Armed(NamedTuple):
    """What is remembered between two looks.

    Args:
        armed: whether this life of the VM had an Ok.
        uptime_s: the VM's age at the last look; a smaller one is another life.
        silent_since_s: when the guest was found without contact; None while it has it.
    """

    armed: bool = False
    uptime_s: float = 0.0
    silent_since_s: float | None = None


def judge(
    state: str, heartbeat: str, uptime_s: float, before: Armed, now_s: float, boot_time_s: float
) -> tuple[CheckResult, Armed]:
    """What one look means. Pure.

    Args:
        state: the member of VMState by name.
        heartbeat: the member of VMHeartbeatStatus by name.
        uptime_s: the VM's age in seconds.
        before: what was remembered.
        now_s: the time, by a clock that only grows.
        boot_time_s: for how long a guest that restarts by itself may be without contact.
    """
    armed = before.armed and uptime_s >= before.uptime_s
    if state in ("Paused", "PausedCritical", "Saving", "Starting", "Stopping"):
        what = "paused because its disk has no room or failed" if state == "PausedCritical" else state
        return CheckResult(False, f"the VM is {what}", conclusive=False), Armed(armed, uptime_s)
    if state != "Running":
        return CheckResult(False, f"the VM is {state or 'not there'}"), Armed()
    if heartbeat in _OK:
        return CheckResult(True, heartbeat), Armed(True, uptime_s)
    if not armed:
        return CheckResult(False, f"no heartbeat since the start yet ({heartbeat})", conclusive=False), Armed(
            False, uptime_s
        )
    if heartbeat in _LOCKED_UP:
        return CheckResult(False, f"the guest is locked up ({heartbeat})"), Armed(True, uptime_s)
    if heartbeat == _NO_CONTACT:
        since_s = now_s if before.silent_since_s is None else before.silent_since_s
        kept = Armed(True, uptime_s, since_s)
        if now_s - since_s < boot_time_s:
            return CheckResult(
                False, "the guest has no contact; it may be restarting", conclusive=False
            ), kept
        return CheckResult(False, f"the guest has had no contact for {now_s - since_s:.0f} s"), kept
    return CheckResult(False, f"the heartbeat is {heartbeat or 'not offered'}", conclusive=False), Armed(
        True, uptime_s
    )


class HeartbeatChecker:
    """Whether the guest of a VM of Hyper-V shows a heartbeat; a Hyper-V that does not answer is no failure.

    Args:
        identifier: gives the VM's identifier; empty while it is not known.
        shell: runs our PowerShell functions.
        boot_time_s: see `judge`.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        identifier: Callable[[], str],
        shell: PowerShell,
        boot_time_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identifier = identifier
        self._shell = shell
        self._boot_time_s = boot_time_s
        self._clock = clock
        self._armed = Armed()

    def check(self, timeout_s: float) -> CheckResult:
        """Look once, within `timeout_s` seconds."""
        identifier = self._identifier()
        if not identifier:
            return CheckResult(False, "the VM is not known yet", conclusive=False)
        try:
            answer: dict[str, Any] = self._shell.query(
                "Get-TwinhullVmState", {"Id": identifier}, timeout_s=timeout_s
            )
            state, heartbeat = str(answer.get("state") or ""), str(answer.get("heartbeat") or "")
            uptime_s = float(answer.get("uptime_s") or 0.0)
        except TwinhullError as error:
            return CheckResult(False, f"Hyper-V does not answer: {error}", conclusive=False)
        except (AttributeError, TypeError, ValueError) as error:
            return CheckResult(False, f"Hyper-V's answer cannot be read: {error}", conclusive=False)
        result, self._armed = judge(
            state,
            heartbeat,
            uptime_s,
            self._armed,
            self._clock(),
            self._boot_time_s,
        )
        return result
