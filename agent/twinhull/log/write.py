"""Writing the log: one file per process, behind a queue that drops instead of blocking.

The worker sits under the page cache of its own volume, so no line of log may make it wait for a disk:
loggers put finished lines into a bounded queue, a thread writes them, and what does not fit is dropped and
counted.

A line of a file is `TIME LEVEL node/module text`; line breaks and control characters of the text are
escaped, so that what a guest or a script prints can forge nothing.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from twinhull.secrets_file import make_private_directory

from .events import EventSink, host_events

ROOT = "twinhull"
AGENT_LOG = "agent.log"
NO_MODULE = "-"
NO_NODE = "-"
"""For what is logged before the configuration said which node this is."""
QUEUE_LINES = 10_000
FILE_BYTES = 10 << 20
FILES_KEPT = 5
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?P<key>\b(?:pass(?:word|phrase)?|secret|token|chap)\s*[=:]\s*)\S+",
    re.DOTALL | re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def module_file(module: str | None) -> str:
    """The name of the log file of a module, or of the agent."""
    return AGENT_LOG if module is None else f"module-{module}.log"


def clean(text: str) -> str:
    """The text on one line without control characters and without what looks like a secret."""
    hidden = _SECRETS.sub(lambda match: f"{match['key'] or ''}[hidden]", text)
    return _CONTROL.sub(_escape, hidden)


def _escape(match: re.Match[str]) -> str:
    letter = match[0]
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter, f"\\x{ord(letter):02x}")


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that carries its node and module.

    Args:
        node: name of this node.
        module: name of the module, or None for the node's own concerns.
        part: dotted name below `twinhull`, such as `worker`.
    """

    def __init__(self, node: str, module: str | None = None, part: str = "agent") -> None:
        self.node = node
        self.module = module
        super().__init__(logging.getLogger(f"{ROOT}.{part}"), {})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add node and module to the record."""
        extra = {"node": self.node, "module_name": self.module or NO_MODULE}
        return msg, {**kwargs, "extra": {**extra, **(kwargs.get("extra") or {})}}

    def for_module(self, module: str) -> Log:
        """The same logger for one module."""
        return Log(self.node, module, self.logger.name.removeprefix(f"{ROOT}."))


class _Formatter(logging.Formatter):
    def __init__(self, node: str, module: str | None) -> None:
        super().__init__()
        self._node = node
        self._module = module or NO_MODULE

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        node = getattr(record, "node", self._node)
        module = getattr(record, "module_name", self._module)
        return f"{time} {record.levelname} {node}/{module} {clean(text)}"


class _DroppingHandler(logging.handlers.QueueHandler):
    """Puts finished lines into the queue; counts what does not fit."""

    def __init__(self, lines: queue.Queue[Any], formatter: _Formatter) -> None:
        super().__init__(lines)
        self.setFormatter(formatter)
        self.dropped = 0
        self._told = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record with its finished line as its message."""
        return _finished(record, self.format(record))

    def enqueue(self, record: logging.LogRecord) -> None:
        """Never blocks. The first line after dropped ones is preceded by how many they were."""
        try:
            if self.dropped > self._told:
                text = f"{self.dropped - self._told} lines were dropped because the log could not keep up"
                self.queue.put_nowait(_finished(record, self.format(_notice(record, text))))
                self._told = self.dropped
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def _finished(record: logging.LogRecord, line: str) -> logging.LogRecord:
    done = logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, line, None, None)
    done.created = record.created
    return done


def _notice(record: logging.LogRecord, text: str) -> logging.LogRecord:
    notice = logging.LogRecord(record.name, logging.WARNING, record.pathname, 0, text, None, None)
    notice.created = record.created
    return notice


class LogHandle:
    """The process's logging, from `setup_logging` to `close`."""

    def __init__(self, handler: _DroppingHandler, listener: logging.handlers.QueueListener) -> None:
        self._handler = handler
        self._listener = listener

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._handler.dropped

    def close(self) -> None:
        """Write what is queued and stop. Idempotent."""
        logging.getLogger(ROOT).removeHandler(self._handler)
        if self._listener.handlers:
            self._listener.stop()
            for sink in self._listener.handlers:
                sink.close()
            self._listener.handlers = ()


class _Listener(logging.handlers.QueueListener):
    """Its end waits for room in a full queue: the thread that makes room is its own."""

    def __init__(self, lines: queue.Queue[Any], *sinks: logging.Handler) -> None:
        super().__init__(lines, *sinks, respect_handler_level=True)
        self._lines = lines

    def enqueue_sentinel(self) -> None:
        """Called by `stop`."""
        self._lines.put(None)


class _FileSink(logging.handlers.RotatingFileHandler):
    """A log that cannot be written says so once on standard error and harms nothing else."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's name
        """Called in the handler of the exception."""
        if not self._failed and sys.stderr is not None:  # a Windows service has none
            self._failed = True
            reason = sys.exc_info()[1]
            sys.stderr.write(f"The log {self.baseFilename} cannot be written: {reason}; lines are lost.\n")


class _StderrSink(logging.StreamHandler[TextIO]):
    """Standard error without the time stamp, which the journal adds itself."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).partition(" ")[2]

    def close(self) -> None:
        """Leaves the stream open: it is not ours."""


def setup_logging(
    log_dir: Path,
    node: str,
    module: str | None = None,
    *,
    stderr: bool = True,
    level: int = logging.INFO,
    queue_lines: int = QUEUE_LINES,
    file_bytes: int = FILE_BYTES,
    files_kept: int = FILES_KEPT,
) -> LogHandle:
    """Send everything logged below `twinhull` to this process's file (and to standard error).

    On Windows warnings and worse go to the host's event log too.

    Args:
        log_dir: made if it is not there, readable by root alone.
        node: name of this node.
        module: the worker's module; None for the agent.
        stderr: whether standard error (the journal) gets the lines too.
        level: lowest level written.
        queue_lines: lines that may wait for the disk before further ones are dropped.
        file_bytes: a file of this size is rotated.
        files_kept: rotated files kept beside the present one.

    Raises OSError when the directory cannot be made or the file not be opened.
    """
    _make_log_directory(log_dir)
    sinks: list[logging.Handler] = [
        _FileSink(
            log_dir / module_file(module), maxBytes=file_bytes, backupCount=files_kept, encoding="utf-8"
        )
    ]
    if stderr and sys.stderr is not None:
        sinks.append(_StderrSink(sys.stderr))
    with contextlib.suppress(OSError):  # the file has everything
        events = host_events()
        if events is not None:
            sinks.append(EventSink(events))
    lines: queue.Queue[Any] = queue.Queue(queue_lines)
    handler = _DroppingHandler(lines, _Formatter(node, module))
    listener = _Listener(lines, *sinks)
    logger = logging.getLogger(ROOT)
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(handler)
    listener.start()
    return LogHandle(handler, listener)


def _make_log_directory(path: Path) -> None:
    if sys.platform == "win32" and not path.is_dir():
        make_private_directory(path)
    else:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
