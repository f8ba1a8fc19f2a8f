"""The audit log: who did what and when, one JSON object per line, appended and synced, never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from .write import clean

AUDIT_LOG = "audit.log"


class AuditEntry(NamedTuple):
    """One deed.

    Args:
        time: ISO 8601 in UTC.
        who: the person, and the certificate's name where it came over the network.
        node, module: where; the module is empty for the node's own concerns.
        what: one sentence or command.
        details: further facts.
    """

    time: str
    who: str
    node: str
    module: str
    what: str
    details: dict[str, str]


class AuditLog:
    """The audit log of one node, in its log directory; several processes may append to it."""

    def __init__(self, log_dir: Path, node: str) -> None:
        self.path = log_dir / AUDIT_LOG
        self._node = node

    def write(
        self, who: str, what: str, module: str = "", details: Mapping[str, object] | None = None
    ) -> None:
        """Append one entry; durable when this returns. Raises OSError when it cannot be."""
        facts = {key: clean(str(value)) for key, value in (details or {}).items()}
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = AuditEntry(time, clean(who), self._node, module, clean(what), facts)
        line = json.dumps(entry._asdict(), ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if _torn(file):
                line = b"\n" + line
            if os.write(file, line) != len(line):
                raise OSError(f"{self.path} took only a part of an entry")
            os.fsync(file)
        finally:
            os.close(file)


def _torn(file: int) -> bool:
    """Whether the last entry was cut by a crash, so that ours must not continue its line."""
    size_bytes = os.fstat(file).st_size
    if not size_bytes:
        return False
    os.lseek(file, size_bytes - 1, os.SEEK_SET)  # where it is written is the end all the same
    return os.read(file, 1) != b"\n"


def read_audit(path: Path, limit: int = 200) -> list[AuditEntry]:
    """The newest entries, the oldest first. What is torn or foreign is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-limit:]:
        try:
            plain = json.loads(line)
            entries.append(AuditEntry(**plain))
        except (ValueError, TypeError, RecursionError):
            continue
    return entries
