"""The heartbeat of a guest: the QEMU guest agent answers a ping through libvirt (virsh(1), qemu-ga(8))."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from typing import NamedTuple

from .base import CheckResult
from .command import Answer, RunCommand, run_command

_PING = json.dumps({"execute": "guest-ping"})


class Guest(enum.Enum):
    """What can be said of a guest."""

    ANSWERS = "answers"
    SILENT = "silent"
    PAUSED = "paused"
    NOT_RUNNING = "not running"
    HOST_SILENT = "libvirt does not answer"


class Look(NamedTuple):
    """What was found, and the host's words for it."""

    guest: Guest
    detail: str = ""


class GuestAgentChecker:
    """Whether the guest's agent answers. A guest that is paused, or a libvirt that hangs, is no failure.

    Args:
        domain: the VM's name in libvirt.
        uri: the hypervisor's URI.
        virsh: the words that start virsh.
        run: runs commands.
    """

    def __init__(
        self,
        domain: str,
        *,
        uri: str = "qemu:///system",
        virsh: Sequence[str] = ("virsh",),
        run: RunCommand = run_command,
    ) -> None:
        self._domain = domain
        self._words = [*virsh, "-q", "-c", uri]
        self._run = run

    def check(self, timeout_s: float) -> CheckResult:
        """Ping the guest's agent once, within `timeout_s` seconds."""
        look = self.look(timeout_s)
        reason = f"{look.guest.value}: {look.detail}" if look.detail else look.guest.value
        if look.guest in (Guest.PAUSED, Guest.HOST_SILENT):
            return CheckResult(False, reason, conclusive=False)
        return CheckResult(look.guest is Guest.ANSWERS, reason)

    def look(self, timeout_s: float) -> Look:
        """The guest's state as a value. The state is asked first, so that silence is the guest's own."""
        share_s = timeout_s / 3
        try:
            state = self._ask(share_s, "domstate", self._domain)
            if state.code != 0:
                return Look(Guest.HOST_SILENT, _line(state))
            if state.out != "running":
                return Look(_NOT_RUNNING.get(state.out, Guest.NOT_RUNNING), state.out)
            # virsh takes whole seconds; the limit on the command itself is what holds
            seconds = str(max(1, int(timeout_s - share_s)))
            ping = self._ask(
                timeout_s - share_s, "qemu-agent-command", self._domain, _PING, "--timeout", seconds
            )
        except OSError as error:
            return Look(Guest.HOST_SILENT, str(error))
        return Look(Guest.ANSWERS) if _is_pong(ping) else Look(Guest.SILENT, _line(ping))

    def _ask(self, timeout_s: float, *words: str) -> Answer:
        return self._run([*self._words, *words], timeout_s=timeout_s, environment={"LC_ALL": "C"})


_NOT_RUNNING = {"paused": Guest.PAUSED, "pmsuspended": Guest.PAUSED}


def _is_pong(answer: Answer) -> bool:
    if answer.code != 0:
        return False
    try:
        return "return" in json.loads(answer.out)
    except (ValueError, TypeError):
        return False


def _line(answer: Answer) -> str:
    if answer.code is None:
        return "no answer in time"
    return " ".join(answer.out.removeprefix("error:").split())[:200]
