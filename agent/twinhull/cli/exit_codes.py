"""The exit codes of the command, as `twinhull exit-codes` and docs/cli.md list them."""

from __future__ import annotations

DONE = 0
FAILED = 1
STATUS_ORANGE = 20
STATUS_RED = 21
INTERRUPTED = 130

EXIT_CODES: dict[int, str] = {
    DONE: "done",
    FAILED: "it was tried and did not succeed; the message says why",
    2: "wrong arguments, or a dangerous command that was not confirmed; nothing was changed",
    3: "a configuration is invalid; nothing was applied",
    4: "the network between the nodes, a certificate that was refused, or an error told by the other node",
    5: "the volume's own files or the disk",
    6: "export, device, file system or mount of the folder",
    7: "the resource (VM or scripts)",
    8: "the witness cannot be asked",
    9: "no agent answers on this node",
    10: "certificates and keys",
    STATUS_ORANGE: "only `status --check`: some module is not green, or there are warnings",
    STATUS_RED: "only `status --check`: some module is red, or a node cannot be reached",
    INTERRUPTED: "interrupted with Ctrl-C; what was asked for goes on in the agent",
}
