"""The life of the agent as a Windows service: what the service manager is told and when, whatever happens.

It is called running when the agent is at work, and stopped with the agent's own exit code when it could not begin or
broke, so that the service's recovery actions start it again. Why is told to the log and to the event log. When the host
shuts down, the modules are handed over first. Nothing here is Windows' own: the shell around it is `windows_service`.

Source: Service Control Handler Function, Service State Transitions (learn.microsoft.com, windows/win32/services).
"""

from __future__ import annotations

import enum
import logging
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from twinhull.errors import TwinhullError

if TYPE_CHECKING:
    from .agent import Agent
    from .main import Manager

DEFECT: Final = 70
START_HINT_MS: Final = 60_000
END_HINT_MS: Final = 30_000
PROGRESS_S: Final = 5.0
WATCHDOG_S: Final = 7.0
DONE: Final = 0
NOT_KNOWN: Final = 120  # ERROR_CALL_NOT_IMPLEMENTED
SUSPENDS: Final = 4  # PBT_APMSUSPEND
RESUMES: Final = 18  # PBT_APMRESUMEAUTOMATIC

log = logging.getLogger(__name__)


class State(enum.IntEnum):
    """SERVICE_STATUS.dwCurrentState."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


class Control(enum.IntEnum):
    """What the service manager may say."""

    STOP = 1
    INTERROGATE = 4
    POWER = 13
    PRESHUTDOWN = 15


ACCEPTED: Final = 0x1 | 0x40 | 0x100
"""SERVICE_ACCEPT_STOP, _POWEREVENT, _PRESHUTDOWN: while it runs; a pending service is sent none."""


class Status(NamedTuple):
    """What the service manager is told.

    Args:
        accepted: controls, as SERVICE_ACCEPT bits.
        exit_code: the agent's own; 0 is no error.
        checkpoint: counts up while a pending state makes progress.
        hint_ms: how long until the next report, at most.
    """

    state: State
    accepted: int = 0
    exit_code: int = 0
    checkpoint: int = 0
    hint_ms: int = 0


class ServiceLife:
    """One agent's life between two calls of the service manager.

    Args:
        report: tells the service manager. Raises OSError.
        prepare: what the service has to set before the agent is at work. Raises OSError, which is logged.
        serve: runs the agent to its end; its exit code. This object is the manager that it is given.
        tell: leaves words for a person where they are found although the agent could not begin.
        die: ends the process at once, for an agent that hangs.
        progress_s: how often a pending state is reported.
    """

    def __init__(
        self,
        report: Callable[[Status], None],
        prepare: Callable[[], None],
        serve: Callable[[Manager], int],
        tell: Callable[[str], None],
        die: Callable[[int], None],
        progress_s: float = PROGRESS_S,
    ) -> None:
        self._report = report
        self._prepare = prepare
        self._serve = serve
        self._tell = tell
        self._die = die
        self._progress_s = progress_s
        self._lock = threading.Lock()
        self._state = State.STOPPED
        self._checkpoint = 0
        self._agent: Agent | None = None
        self._told_to_end = False
        self._host_goes_down = False
        self._over = threading.Event()

    # ---- what the service manager calls ----------------------------------------------------------

    def live(self) -> None:
        """The whole life; nothing is raised."""
        threading.excepthook = _log_defect
        self._enter(State.START_PENDING)
        progress = threading.Thread(target=self._tell_progress, name="progress", daemon=True)
        progress.start()
        exit_code, why = self._outcome()
        self._over.set()
        progress.join()
        if exit_code:
            self._tell(why)
        self._enter(State.STOPPED, exit_code)

    def control(self, number: int, event: int) -> int:
        """Do what the service manager asks; returns soon, with a number of Windows' errors."""
        if number == Control.INTERROGATE:
            return DONE
        if number == Control.POWER:
            if event == SUSPENDS:
                log.warning(
                    "this host goes to sleep: what it does not answer meanwhile counts as silence on the peer"
                )
            elif event == RESUMES:
                log.warning("this host woke up")
            return DONE
        if number not in (Control.STOP, Control.PRESHUTDOWN):
            return NOT_KNOWN
        with self._lock:
            self._told_to_end = True
            self._host_goes_down |= number == Control.PRESHUTDOWN
            agent = self._agent
        self._enter(State.STOP_PENDING)  # before the agent may have ended
        if agent is not None:
            agent.end()
        return DONE

    # ---- what the agent's main calls -------------------------------------------------------------

    def takes(self, agent: Agent) -> None:
        """Remember whom to end; one that was told to end meanwhile ends at once."""
        with self._lock:
            self._agent = agent
            if self._told_to_end:
                agent.end()
        try:
            self._prepare()
        except OSError as error:
            log.warning("the service manager does not wait longer when this host shuts down: %s", error)

    def ready(self) -> None:
        """It is at work."""
        with self._lock:
            if self._told_to_end:
                return
        self._enter(State.RUNNING)

    def ending(self) -> None:
        """It ends: told, or by itself."""
        self._enter(State.STOP_PENDING)

    def host_goes_down(self) -> bool:
        """Whether the modules are to be handed over."""
        return self._host_goes_down

    def watchdog_s(self) -> float:
        """How often it is looked whether the agent does its work."""
        return WATCHDOG_S

    def works(self) -> None:
        """It does; the service manager asks nobody."""

    def hangs(self) -> None:
        """It does not: end the process; the recovery actions start it again, and it adopts its workers."""
        self._tell(
            "The agent does not do its work any more. It is ended, so that the service's recovery starts it again."
        )
        self._die(DEFECT)

    # ---- inside ----------------------------------------------------------------------------------

    def _outcome(self) -> tuple[int, str]:
        """The exit code, and why it is one."""
        try:
            code = self._serve(self)
        except TwinhullError as error:
            return error.exit_code, f"The agent could not begin or go on: {error}"
        except BaseException as error:  # noqa: BLE001 - told, and the manager by the exit code
            text = "".join(traceback.format_exception(error))
            return DEFECT, f"The agent ends because of a defect: {type(error).__name__}: {error}\n{text}"
        return code, f"The agent ended with exit code {code}."

    def _enter(self, state: State, exit_code: int = 0) -> None:
        with self._lock:
            if self._state != state:
                self._checkpoint = 0
            self._state = state
            self._report_now(exit_code)

    def _tell_progress(self) -> None:
        while not self._over.wait(self._progress_s):
            with self._lock:
                if self._state in (State.START_PENDING, State.STOP_PENDING):
                    self._report_now(0)

    def _report_now(self, exit_code: int) -> None:
        """With the lock held."""
        pending = self._state in (State.START_PENDING, State.STOP_PENDING)
        if pending:
            self._checkpoint += 1
        hint_ms = START_HINT_MS if self._state == State.START_PENDING else END_HINT_MS
        accepted = ACCEPTED if self._state == State.RUNNING else 0
        checkpoint = self._checkpoint if pending else 0
        try:
            self._report(Status(self._state, accepted, exit_code, checkpoint, hint_ms if pending else 0))
        except OSError as error:
            log.error(
                "the service manager could not be told that the service is %s: %s", self._state.name, error
            )


def _log_defect(what: threading.ExceptHookArgs) -> None:
    """A service has no standard error, where the end of a thread would be told."""
    thread = what.thread.name if what.thread is not None else "?"
    error = what.exc_value
    if error is not None:
        log.critical("the thread %s ended because of a defect: %s", thread, error, exc_info=error)
