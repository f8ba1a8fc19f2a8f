"""Runs a command as if the worker were an ordinary process: `python -I -S plainly.py COMMAND [ARGUMENT...]`.

A worker sits under the page cache (PR_SET_IO_FLUSHER) and is spared by the OOM killer; children inherit both, also
over an exec. An application that kept them could starve the host of memory unpunished. This file imports nothing of
ours, so that it starts quickly. It ends with 126 when the command cannot be run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Sequence

PR_SET_IO_FLUSHER = 57
CANNOT_RUN = 126


def be_ordinary() -> None:
    """Give back what the worker's process is privileged with. What was never had stays as it is."""
    zero = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(PR_SET_IO_FLUSHER, zero, zero, zero, zero)
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)


def main(argv: Sequence[str]) -> int:
    """Become the command; answers only when that is not possible."""
    be_ordinary()
    try:
        os.execv(argv[0], list(argv))  # noqa: S606 - that is its purpose
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be run: {error.strerror}\n".encode())
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
