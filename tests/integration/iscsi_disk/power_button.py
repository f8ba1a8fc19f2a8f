"""Presses the power button of a guest: `python -m tests.integration.iscsi_disk.power_button MONITOR`.

MONITOR is the socket of QEMU's monitor. A forced stop (TWINHULL_FORCED) is none: the machine is turned off anyway.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT_S = 10.0


def main() -> int:
    """Press it; whoever called waits until the guest is off."""
    if os.environ.get("TWINHULL_FORCED"):
        return 0
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(TIMEOUT_S)
        monitor.connect(sys.argv[1])
        monitor.sendall(b"system_powerdown\n")
        said = b""
        # The monitor greets, echoes the command, and prompts again when it is done.
        while said.count(b"(qemu)") < 2:
            piece = monitor.recv(4096)
            if not piece:
                return 1
            said += piece
    return 0


if __name__ == "__main__":
    sys.exit(main())
