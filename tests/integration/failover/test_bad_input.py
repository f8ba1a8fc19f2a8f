"""A node that finds something wrong on itself refuses with a clear sentence, changes nothing, and is whole again
once a person has put it right; meanwhile the other node runs the module without interruption."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.lab import Node
from tests.lab.install import NODE_PATHS, PORTS

from twinhull.transport import pki

from .pair import FOLDER, MODULE, Pair
from .watching import Watch

pytestmark = pytest.mark.lab

VOLUME = f"/var/lib/twinhull/volumes/{MODULE}"
SLOTS = (0, 65_536)
SLOT_BYTES, CHECKSUM_BYTES = 4096, 32
VERSION_OFFSET = 8
KNOWN_VERSION, NEWER_VERSION = 1, 2


def all_zeros(volume: Path) -> Path:
    """The metadata as a disk that lost it shows it."""
    file = volume / "meta.bin"
    file.write_bytes(bytes(file.stat().st_size))
    return file


def foreign(volume: Path) -> Path:
    """Somebody else's file in the metadata's place."""
    file = volume / "meta.bin"
    file.write_bytes((b"\x7fELF not ours at all " * 8192)[: file.stat().st_size])
    return file


def newer(volume: Path) -> Path:
    """Metadata that a later version of Twinhull wrote, whole (docs/formats.md)."""
    file = volume / "meta.bin"
    data = bytearray(file.read_bytes())
    for slot in SLOTS:
        struct.pack_into("<H", data, slot + VERSION_OFFSET, NEWER_VERSION)
        end = slot + SLOT_BYTES - CHECKSUM_BYTES
        checksum = hashlib.blake2b(data[slot:end], digest_size=CHECKSUM_BYTES, person=b"twinhull-meta")
        data[end : end + CHECKSUM_BYTES] = checksum.digest()
    file.write_bytes(data)
    return file


def shorter(volume: Path) -> Path:
    """A data file that lost its end."""
    file = volume / "data.img"
    with file.open("r+b") as data:
        data.truncate(file.stat().st_size - (1 << 20))
    return file


DAMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "metadata-zeros": (all_zeros, "all zeros"),
    "metadata-foreign": (foreign, "was not written by Twinhull"),
    "metadata-newer": (newer, f"has format {NEWER_VERSION}; this program knows {KNOWN_VERSION}"),
    "data-shorter": (shorter, "shorter than it must be"),
}


def fingerprint(file: Path) -> tuple[int, str]:
    """Length and digest of a file (of its beginning, where it is large)."""
    with file.open("rb") as data:
        return file.stat().st_size, hashlib.sha256(data.read(1 << 20)).hexdigest()


def wait_told(pair: Pair, node: Node, words: str) -> None:
    """Wait until the module's status on the node says so."""

    def told(watch: Watch) -> bool:
        look = watch.now(node.name)
        return look.words is not None and words in look.words["sentence"]

    pair.wait(f"node {node.name} to say: {words}", told)


def away(pair: Pair) -> tuple[Node, Node]:
    """The node that goes on alone, and the one that lies open, powered off, to be damaged."""
    primary, victim = pair.primary, pair.secondary
    pair.power_off(victim)
    pair.wait_state(primary, "ALONE")
    return primary, victim


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_worker_refuses_a_damaged_volume_and_changes_nothing(pair: Pair, damage: str) -> None:
    break_it, words = DAMAGES[damage]
    run = pair.run_name()
    primary, victim = away(pair)
    volume = victim.disk(VOLUME)
    kept = volume.with_name("kept")
    subprocess.run(["cp", "-a", "--sparse=always", volume, kept], check=True)
    pair.say(f"on node {victim.name}: {break_it.__doc__}")
    file = break_it(volume)
    before = fingerprint(file)
    pair.power_on(victim)
    wait_told(pair, victim, words)
    assert pair.watch.now(victim.name).state == "STOP"
    pair.wait_writing(primary)
    assert fingerprint(file) == before
    pair.say("the volume's own files are put back")
    pair.power_off(victim)
    shutil.rmtree(volume)
    kept.rename(volume)
    pair.verify()
    assert pair.run_name() == run


def test_a_replica_that_was_removed_is_copied_anew(pair: Pair) -> None:
    run = pair.run_name()
    _, victim = away(pair)
    pair.say(f"the volume of node {victim.name} is removed")
    shutil.rmtree(victim.disk(VOLUME))
    pair.verify()
    assert pair.run_name() == run


LISTEN = """
import socket, sys
sockets = [socket.create_server((address, int(sys.argv[1]))) for address in sys.argv[2:]]
print("listening", flush=True)
sys.stdin.read()
"""


def test_a_worker_whose_port_is_taken_says_so_and_begins_once_it_is_free(pair: Pair) -> None:
    listening = pair.lab["b"]
    if pair.primary is listening:
        pair.swap()
    run = pair.run_name()
    pair.power_off(listening)
    (listening.control / "agent.stopped").touch()
    pair.power_on(listening)
    port = PORTS["data"] + 1
    addresses = [pair.lab.fabric.address("b", network) for network in pair.lab.fabric.subnets]
    pair.say(f"another program listens on port {port} of node b")
    taken = listening.popen(
        [sys.executable, "-c", LISTEN, str(port), *addresses],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert taken.stdout is not None
    assert taken.stdout.readline() == "listening\n"
    listening.start_service("agent")
    wait_told(pair, listening, f"port {port}")
    pair.wait_writing(pair.lab["a"])
    taken.communicate()
    pair.verify()
    assert pair.run_name() == run


def test_a_node_whose_certificate_has_expired_is_kept_out_and_told_why(pair: Pair) -> None:
    run = pair.run_name()
    primary, victim = away(pair)
    authority = pair.lab.root / "nodes" / "authority"
    certificates = victim.disk(NODE_PATHS["pki_dir"])
    pair.say(f"the certificate of node {victim.name} expired ten days ago")
    pki.renew(authority, certificates, days=10, now=datetime.now(UTC) - timedelta(days=20))
    pair.power_on(victim)
    pair.wait_closely("the agent", lambda: victim.service_pid("agent") is not None)
    told = ""

    def tells() -> bool:
        nonlocal told
        answer = victim.twinhull("status", check=False)
        told = answer.stdout + answer.stderr
        return "expired" in told

    pair.wait_closely("the command to speak of the expired certificate", tells)
    assert victim.twinhull("status", check=False).returncode != 0
    pair.wait_writing(primary)
    assert pair.watch.now(primary.name).state == "ALONE"
    pair.say("it is renewed")
    pki.renew(authority, certificates)
    pair.power_off(victim)
    pair.verify()
    assert pair.run_name() == run


def test_protect_refuses_a_folder_that_is_not_empty(unprotected: Pair) -> None:
    node = unprotected.lab["a"]
    folder = node.path(FOLDER)
    folder.mkdir(parents=True)
    (folder / "somebody's").write_text("kept\n", encoding="utf-8")
    unprotected.say("protect with a folder that holds a file")
    answer = node.twinhull("protect", MODULE, "--yes", MODULE, check=False)
    assert answer.returncode != 0
    assert "is not empty" in answer.stdout + answer.stderr
    assert (folder / "somebody's").read_text(encoding="utf-8") == "kept\n"
    assert unprotected.status(node)["generation"] == "-"
    assert not unprotected.watch.mounted("a")
    (folder / "somebody's").unlink()
    unprotected.protect()
    unprotected.verify()


def test_a_swap_to_a_node_whose_folder_is_not_empty_leaves_the_module_running(pair: Pair) -> None:
    home, other = pair.primary, pair.secondary
    folder = other.path(FOLDER)
    other.run(["mkdir", "-p", FOLDER])
    other.run(["chattr", "-i", FOLDER])
    (folder / "somebody's").write_text("kept\n", encoding="utf-8")
    pair.say(f"the folder of node {other.name} holds a file; the module is to be swapped there")
    pair.job_done(home, pair.command(home, "swap"))
    assert pair.wait_one_writing() is home
    assert (folder / "somebody's").read_text(encoding="utf-8") == "kept\n"
    (folder / "somebody's").unlink()
    pair.verify()
