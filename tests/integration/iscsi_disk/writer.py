"""The application on a module's iSCSI disk: QEMU's initiator writes, and what it acknowledged is told outside.

    python -m tests.integration.iscsi_disk.writer REPORTS NODE

Record N is the 4 KiB block N of the disk, of one byte that N decides. Every record is written with FUA and told in REPORTS,
a file that lies on no node's disk, when it was acknowledged. A run begins by reading all records that were ever told.
Lines: `start NODE TARGET COUNT .`, `ack N .`, `lost N WORDS .`, `error WORDS .`
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK_BYTES = 4096
MAX_BLOCKS = 100_000


def pattern(number: int) -> int:
    """The byte that record `number` is made of."""
    return 1 + number * 37 % 255


def acknowledged(reports: str) -> list[int]:
    """The numbers that were told."""
    return [int(line.split()[1]) for line in reports.splitlines() if line.startswith("ack ")]


class Disk:
    """The disk through one long-lived `qemu-io`."""

    def __init__(self, offer: dict[str, str]) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="secret-", delete=False) as secret:
            secret.write(offer["secret"])
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
        # SIGTERM goes to all of an application: this part of it ends when the writer logs out.
        self._process = subprocess.Popen(
            [
                "env",
                "--block-signal=TERM",
                "qemu-io",
                "--object",
                f"secret,id=s,file={secret.name}",
                "--image-opts",
                image,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, line: str, done: str) -> str:
        """Give a command; what was said when it failed, empty when it was done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        said = []
        while text := self._process.stdout.readline():
            if done in text:
                return ""
            if "failed" in text or "error" in text.lower():
                return text.strip()
            said.append(text.strip())
        return " ".join(said) or "qemu-io has ended"

    def write(self, number: int) -> str:
        """Write a record with FUA."""
        return self.command(
            f"write -f -P {pattern(number)} {number * BLOCK_BYTES} {BLOCK_BYTES}", f"wrote {BLOCK_BYTES}/"
        )

    def check(self, number: int) -> str:
        """Read a record and compare it."""
        return self.command(
            f"read -P {pattern(number)} {number * BLOCK_BYTES} {BLOCK_BYTES}", f"read {BLOCK_BYTES}/"
        )

    def close(self) -> None:
        """Log out."""
        self._process.communicate("quit\n", timeout=30)


def main() -> int:
    """Check, then write until told to end."""
    reports, node = Path(sys.argv[1]), sys.argv[2]
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    file = os.open(reports, os.O_WRONLY | os.O_APPEND)

    def tell(*words: object) -> None:
        os.write(file, (" ".join(map(str, (*words, "."))) + "\n").encode())

    offer = json.loads(Path(os.environ["TWINHULL_TARGET"]).read_text())
    disk = Disk(offer)
    numbers = acknowledged(reports.read_text())
    for number in numbers:
        if failure := disk.check(number):
            tell("lost", number, failure.replace(" ", "-"))
    tell("start", node, offer["target"], len(numbers))
    number = max(numbers, default=-1)
    while not ended and number < MAX_BLOCKS:
        number += 1
        if failure := disk.write(number):
            tell("error", failure.replace(" ", "-"))
            return 1
        tell("ack", number)
    disk.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
