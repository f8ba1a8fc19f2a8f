"""QEMU's iSCSI initiator, on Linux, at the disk that a worker under Windows Python offers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 300.0


def read_offer(file: Path) -> dict[str, Any] | None:
    """What a worker offers now: address, port, target, user, secret; None while it offers nothing."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def use_disk(enter: Sequence[str], offer: Mapping[str, Any], secret: Path, *commands: str) -> str:
    """Run commands of qemu-io(1) on an offered disk.

    Args:
        enter: the command that runs its arguments in the host's network.
        offer: as `read_offer` told.
        secret: a file that is written for QEMU; no secret is on a command line.
        commands: such as `write -P 17 0 1M`; the first that fails ends them all.

    Raises AssertionError with what QEMU said.
    """
    secret.touch(mode=0o600)
    secret.write_text(str(offer["secret"]), encoding="utf-8")
    words = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": f"{offer['address']}:{offer['port']}",
        "target": offer["target"],
        "lun": "0",
        "user": offer["user"],
        "password-secret": "s",
    }
    image = ",".join(f"{key}={value}" for key, value in words.items())
    argv = [*enter, "qemu-io", "--object", f"secret,id=s,file={secret}", "--image-opts", image]
    for command in commands:
        argv += ["-c", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "verification failed" not in said, said
    return said
