"""The Linux kernel's own initiator: login with CHAP, ext4, verified I/O, and the server killed and started again below."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.integration.exports.iscsi.conftest import GIB
from tests.integration.exports.iscsi.serving import CHAP, VOLUME_ID, settings_for
from tests.lab import initiator
from tests.lab.fixtures import REPOSITORY

pytestmark = [
    pytest.mark.skipif(bool(initiator.why_not()), reason=initiator.why_not() or "-"),
    pytest.mark.timeout(1500),
]


class Guest:
    """A running guest; its console's lines that begin with GUEST are what it says.

    Args:
        command: see `tests.lab.initiator.Initiator.command`.
        log: file for the whole console.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def says(self) -> Iterator[str]:
        """What it says, one after the other, until it is off. Raises AssertionError when it failed."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._log.write(line)
            self._log.flush()
            _, mark, said = line.partition("GUEST ")
            if mark:
                assert not said.startswith("FAILED"), said
                yield said.strip()

    def end(self) -> None:
        """Turn it off, whatever it does."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class Server:
    """A server process of its own, which can be killed."""

    def __init__(self, backing: Path) -> None:
        self._backing = backing
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it (again, on the same port); returns when it serves."""
        command = [
            sys.executable,
            str(Path(__file__).with_name("serve_file.py")),
            str(self._backing),
            str(self.port),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


@pytest.fixture
def server(backing: Path) -> Iterator[Server]:
    """A running server."""
    server = Server(backing)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_linux_makes_a_file_system_and_survives_the_death_of_the_server(
    server: Server, tmp_path: Path
) -> None:
    built = initiator.build(REPOSITORY / "build" / "guest" / "iscsi", Path(__file__).with_name("guest_story"))
    words = {"target": settings_for(GIB).name, "port": server.port, "user": CHAP.user, "secret": CHAP.secret}
    offer = tmp_path / "offer.json"
    offer.write_text(json.dumps(words, indent=2))
    machine = Guest(built.command(str(offer)), tmp_path / "console.log")
    said = []
    try:
        for sentence in machine.says():
            said.append(sentence)
            if sentence == "KILL":
                server.kill()
                server.start()
    finally:
        machine.end()
    console = (tmp_path / "console.log").read_text()
    assert said[-1] == "DONE", console[-3000:]
    seen = dict(part.split("=", 1) for part in said[0].split()[1:])
    assert seen == {
        "logical": "512",
        "physical": "4096",
        "discard": seen["discard"],
        "cache": "write_back",
        "fua": "1",
        "rotational": "0",
        "serial": VOLUME_ID.hex(),
    }
    assert int(seen["discard"]) > 0
    assert said[1:] == ["VERIFIED first", "KILL", "VERIFIED second", "CHECKED", "ERRORS 0", "DONE"]
