"""The agent as a Windows service: `python -m twinhull.agent.windows_service`, started by the service manager alone.

`service_life` says what the manager is told; here are Windows' calls around it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Final

assert sys.platform == "win32"

from twinhull.windows import eventlog
from twinhull.windows.service import ServiceProcess, set_preshutdown_timeout

from .service_life import ServiceLife

if TYPE_CHECKING:
    from .main import Manager

NAME: Final = "twinhull-agent"
NOT_A_SERVICE: Final = 1063
PRESHUTDOWN_TIMEOUT_MS: Final = 300_000
"""Longer than a module's hand-over may take (`agent.LEAVE_TIMEOUT_S`)."""

log = logging.getLogger("twinhull.agent.windows_service")  # not __name__, which is __main__ here


def main() -> int:
    """Serve the service manager until the service has stopped; the exit code."""
    life = ServiceLife(lambda status: process.report(*status), _prepare, _serve, _tell, os._exit)
    process = ServiceProcess(NAME, life.live, life.control)
    try:
        process.dispatch()
    except OSError as error:
        if error.winerror != NOT_A_SERVICE:
            raise
        sys.stderr.write(
            f"Only the service manager starts this: `sc.exe start {NAME}`. By hand: `twinhull agent run`.\n"
        )
        return 1
    return 0


def _serve(manager: Manager) -> int:
    # Imported here, because the service manager gives a new process only seconds to speak to it.
    from twinhull.config import DEFAULT_NODE_CONFIG

    from .main import serve

    return serve(DEFAULT_NODE_CONFIG, manager)


def _prepare() -> None:
    set_preshutdown_timeout(NAME, PRESHUTDOWN_TIMEOUT_MS)


def _tell(why: str) -> None:
    """Leave words in the agent's log and in the event log, although no configuration was read."""
    from twinhull import log as logs
    from twinhull.config import USUAL_LOG_DIRECTORY

    try:
        handle = logs.setup_logging(USUAL_LOG_DIRECTORY, logs.NO_NODE)
    except OSError as error:
        with contextlib.suppress(OSError):  # there is no third place
            events = eventlog.EventLog()
            events.report(eventlog.Kind.ERROR, f"{why}\nIts log cannot be written either: {error}")
            events.close()
        return
    log.critical("%s", why)
    handle.close()


if __name__ == "__main__":
    # Not by sys.exit, which waits for threads: the service has stopped, so nothing of it may hold files any more.
    os._exit(main())
