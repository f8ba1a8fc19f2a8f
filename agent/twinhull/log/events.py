"""The event log of Windows as a sink: warnings and worse, where those who look after Windows hosts look first."""

from __future__ import annotations

import logging
import sys
from typing import Protocol

if sys.platform == "win32":
    from twinhull.windows.eventlog import EventLog, Kind


class Events(Protocol):
    """An event log."""

    def error(self, text: str) -> None:
        """Add an error. Raises OSError."""

    def warning(self, text: str) -> None:
        """Add a warning. Raises OSError."""

    def close(self) -> None:
        """Let go."""


class EventSink(logging.Handler):
    """Adds finished lines to an event log, without the time, which it notes itself.

    An event log that cannot be written harms nothing else: the same line is in the file.
    """

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        line = self.format(record).partition(" ")[2]
        try:
            if record.levelno >= logging.ERROR:
                self._events.error(line)
            else:
                self._events.warning(line)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nobody is told: the file says that line too."""

    def close(self) -> None:
        """Let go of the event log."""
        self._events.close()
        super().close()


if sys.platform == "win32":

    class WindowsEvents:
        """Windows' own. Raises OSError."""

        def __init__(self) -> None:
            self._log = EventLog()

        def error(self, text: str) -> None:
            """See `Events`."""
            self._log.report(Kind.ERROR, text)

        def warning(self, text: str) -> None:
            """See `Events`."""
            self._log.report(Kind.WARNING, text)

        def close(self) -> None:
            """See `Events`."""
            self._log.close()


def host_events() -> Events | None:
    """The event log of this host; None where there is none. Raises OSError."""
    if sys.platform == "win32":
        return WindowsEvents()
    return None
