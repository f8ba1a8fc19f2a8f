"""Reading the logs back, merged by time, with a token that continues where the last page ended."""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .write import AGENT_LOG, NO_MODULE, module_file

_LINE = re.compile(r"(?P<time>\S+) (?P<level>[A-Z]+) (?P<node>[^ /]+)/(?P<module>\S+) (?P<text>.*)")
_TOKEN = re.compile(r"([A-Za-z0-9_.-]+):(\d{1,20}):(\d{1,20})", re.ASCII)
_LONG_LINE_BYTES = 512


class LogLine(NamedTuple):
    """One line read back; `time` is ISO 8601 in UTC, `module` None for the node's own lines."""

    time: str
    level: str
    node: str
    module: str | None
    text: str


class LogPage(NamedTuple):
    """Lines in the order of their times, and the token that continues after them."""

    lines: list[LogLine]
    next: str


class _Position(NamedTuple):
    inode: int
    offset_bytes: int


class _Item(NamedTuple):
    line: LogLine
    file: str
    end: _Position


def read_logs(log_dir: Path, module: str | None = None, after: str = "", limit: int = 200) -> LogPage:
    """Lines of all logs of this node, merged by time.

    Args:
        log_dir: where the files are.
        module: lines about this module only; None: all.
        after: the `next` of an earlier page; empty: the newest `limit` lines.
        limit: at most this many lines.

    What was rotated away since `after` is skipped. Raises ValueError for a token that is none of ours.
    """
    ends = _decode(after)
    names = [AGENT_LOG, module_file(module)] if module else _log_names(log_dir)
    series = [_read_series(log_dir / name, ends.get(name), None if after else limit) for name in names]
    lines: deque[LogLine] = deque(maxlen=None if after else limit)
    for item in heapq.merge(*series, key=lambda item: item.line.time):
        if after and len(lines) >= limit:
            break
        ends[item.file] = item.end
        if module is None or item.line.module == module:
            lines.append(item.line)
    return LogPage(list(lines), _encode(ends))


def _log_names(log_dir: Path) -> list[str]:
    return [AGENT_LOG, *sorted(path.name for path in log_dir.glob("module-*.log"))]


def _files(path: Path) -> list[Path]:
    """The rotated predecessors and the file itself, the oldest first."""
    rotated = [(old.suffix[1:], old) for old in path.parent.glob(f"{path.name}.*")]
    numbered = sorted(((int(number), old) for number, old in rotated if number.isdigit()), reverse=True)
    return [old for _, old in numbered] + ([path] if path.exists() else [])


def _read_series(path: Path, start: _Position | None, newest: int | None) -> Iterator[_Item]:
    """Whole lines after `start` (all, when its file is gone), or some more than `newest` at the end."""
    files = _files(path)
    inodes = [file.stat().st_ino for file in files]
    if newest is not None:
        start = _near_end(files, newest)
    first = inodes.index(start.inode) if start and start.inode in inodes else 0
    for file, inode in list(zip(files, inodes, strict=True))[first:]:
        offset_bytes = start.offset_bytes if start and start.inode == inode else 0
        for line, end_bytes in _read_file(file, offset_bytes):
            yield _Item(line, path.name, _Position(inode, end_bytes))


def _near_end(files: list[Path], lines: int) -> _Position | None:
    wanted_bytes = lines * _LONG_LINE_BYTES
    for file in reversed(files):
        status = file.stat()
        if status.st_size >= wanted_bytes:
            return _Position(status.st_ino, _next_line(file, status.st_size - wanted_bytes))
        wanted_bytes -= status.st_size
    return None


def _next_line(file: Path, offset_bytes: int) -> int:
    if offset_bytes == 0:
        return 0
    with file.open("rb") as stream:
        stream.seek(offset_bytes - 1)
        return offset_bytes - 1 + len(stream.readline())


def _read_file(file: Path, offset_bytes: int) -> Iterator[tuple[LogLine, int]]:
    with file.open("rb") as stream:
        stream.seek(offset_bytes)
        for raw in stream:
            if not raw.endswith(b"\n"):
                return
            offset_bytes += len(raw)
            match = _LINE.fullmatch(raw[:-1].decode("utf-8", "replace"))
            if match:
                module = None if match["module"] == NO_MODULE else match["module"]
                yield (
                    LogLine(match["time"], match["level"], match["node"], module, match["text"]),
                    offset_bytes,
                )


def _encode(positions: dict[str, _Position]) -> str:
    return ";".join(f"{name}:{at.inode}:{at.offset_bytes}" for name, at in sorted(positions.items())) or "0"


def _decode(token: str) -> dict[str, _Position]:
    positions: dict[str, _Position] = {}
    if token in ("", "0"):
        return positions
    for part in token.split(";"):
        match = _TOKEN.fullmatch(part)
        if match is None:
            raise ValueError(f"'{part[:100]}' is no position in the logs")
        positions[match[1]] = _Position(int(match[2]), int(match[3]))
    return positions
