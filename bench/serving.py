"""What measures exports by themselves: a loop that does nothing but the file's own I/O, and the processor time it took."""

from __future__ import annotations

import os
import selectors
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

SOURCE = Path(__file__).resolve().parent.parent / "agent"
sys.path.insert(0, str(SOURCE))

if TYPE_CHECKING:
    from twinhull.exports.base import Export


def serve_file(export: Export, backing: str) -> None:
    """Answer the export's requests out of a file until SIGTERM."""
    from twinhull.exports.base import Op

    file = os.open(backing, os.O_RDWR)
    selector = selectors.DefaultSelector()
    selector.register(export.fileno(), selectors.EVENT_READ)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while selector.select():
            for request in export.receive():
                if request.op is Op.WRITE:
                    os.pwrite(file, request.data or b"", request.offset_bytes)
                    export.reply(request.tag)
                elif request.op is Op.READ:
                    export.reply(request.tag, 0, os.pread(file, request.length_bytes, request.offset_bytes))
                else:
                    if request.op is Op.FLUSH:
                        os.fdatasync(file)
                    export.reply(request.tag)
    finally:
        export.close()


def cpu_seconds(process: int) -> float:
    """Processor time that a process has used, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
