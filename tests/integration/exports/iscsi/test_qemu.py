"""QEMU's own initiator on the export: patterns written and read back, CHAP, and what stands in the backing file."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.exports.iscsi.conftest import GIB
from tests.integration.exports.iscsi.serving import CHAP, Serving, settings_for

from twinhull.exports.base import Op, Request

MIB = 1 << 20
BENCH = ["qemu-img", "bench", "-w", "-c", "1600", "-d", "16", "-s", "4096", "--pattern=119", "-f", "raw"]


def why_not() -> str:
    """What is missing for QEMU to speak iSCSI; empty when nothing is."""
    if shutil.which("qemu-img") is None or shutil.which("qemu-io") is None:
        return "qemu-img and qemu-io are not installed (Debian: qemu-utils)"
    formats = subprocess.run(["qemu-img", "info", "iscsi://127.0.0.1:1/x/0"], capture_output=True, text=True)
    return (
        "QEMU has no iSCSI driver (Debian: qemu-block-extra)" if "Unknown protocol" in formats.stderr else ""
    )


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def qemu_io(url: str, *commands: str) -> str:
    """Run commands of qemu-io on the disk, the host's cache left out; its output."""
    arguments = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "raw", "-n", *arguments, url], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Pattern verification failed" not in done.stdout, done.stdout
    return done.stdout


def image_size(url: str) -> int:
    """What QEMU takes the disk's size for."""
    done = subprocess.run(
        ["qemu-img", "info", "-f", "raw", url], capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r"virtual size:.*\((\d+) bytes\)", done.stdout)
    assert found is not None
    return int(found[1])


def test_patterns_of_all_sizes_are_read_back_and_stand_in_the_backing_file(backing: Path) -> None:
    choice = random.Random(7)
    model = bytearray(64 * MIB)
    commands = []
    for _ in range(300):
        length = choice.choice((512, 4096, 65536, 300 * 512, MIB, 3 * MIB))
        at = choice.randrange(0, 64 * MIB - length, 512)
        value = choice.randrange(1, 256)
        model[at : at + length] = bytes((value,)) * length
        flags = choice.choice(("", "-f "))
        commands += [f"write {flags}-P {value} {at} {length}", f"read -P {value} {at} {length}"]
    for _ in range(20):
        length, at = choice.choice((4096, MIB)), 4096 * choice.randrange(0, 15 * 1024)
        model[at : at + length] = bytes(length)
        commands += [
            choice.choice(("write -z ", "write -z -u ")) + f"{at} {length}",
            f"read -P 0 {at} {length}",
        ]
    with Serving(backing) as serving:
        assert image_size(serving.url) == GIB
        qemu_io(serving.url, *commands, "flush")
        assert Op.FLUSH in {op for op, *_ in serving.seen}
    with backing.open("rb") as file:
        assert file.read(64 * MIB) == model


def test_an_image_copied_in_and_out_is_the_same(backing: Path, tmp_path: Path) -> None:
    source, result = tmp_path / "source", tmp_path / "result"
    source.write_bytes(os.urandom(48 * MIB) + bytes(16 * MIB) + os.urandom(5 * MIB))
    with Serving(backing, settings_for(GIB, unit_bytes=4096)) as serving:
        copy = ["qemu-img", "convert", "-f", "raw", "-O", "raw"]
        subprocess.run([*copy, "-n", "-W", "-m", "16", source, serving.url], check=True, timeout=300)
        subprocess.run([*copy, "-W", "-m", "16", serving.url, result], check=True, timeout=300)
    with result.open("rb") as file:
        assert file.read(69 * MIB) == source.read_bytes()


def test_a_wrong_secret_is_refused(backing: Path) -> None:
    with Serving(backing) as serving:
        wrong = serving.url.replace(CHAP.secret, "Another-Secret")
        done = subprocess.run(
            ["qemu-img", "info", "-f", "raw", wrong], capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        assert "Authentication failure" in done.stderr, done.stderr
        assert image_size(serving.url) == GIB


def test_many_requests_under_way_are_answered_in_another_order(backing: Path) -> None:
    """The volume answers a batch of writes only when sixteen are there, last first."""
    batches = 0

    with Serving(backing) as serving:

        def take(request: Request) -> bool:
            nonlocal batches
            if request.op is not Op.WRITE or len(serving.held) < 15:
                return request.op is not Op.WRITE
            batches += 1
            held, serving.held = serving.held[::-1], []
            for one in held:
                serving.answer(one)
            return True

        serving.take(take)
        done = subprocess.run(
            [
                *[
                    "qemu-img",
                    "bench",
                    "-w",
                    "-c",
                    "1600",
                    "-d",
                    "16",
                    "-s",
                    "4096",
                    "--pattern=119",
                    "-f",
                    "raw",
                ],
                serving.url,
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert batches == 100
    with backing.open("rb") as file:
        assert file.read(1600 * 4096) == b"w" * (1600 * 4096)


def test_a_disk_in_discard_mode_leaves_its_volume_as_it_was(backing: Path) -> None:
    with backing.open("r+b") as file:
        file.write(os.urandom(32 * MIB))
    before = backing.read_bytes()[: 64 * MIB]
    with Serving(backing, replace(settings_for(GIB), overlay_limit_bytes=24 * MIB)) as serving:
        serving.ask(serving.export.discard_writes)
        qemu_io(
            serving.url,
            f"write -P 17 1536 {3 * MIB}",
            f"read -P 17 1536 {3 * MIB}",
            f"write -f -P 18 {16 * MIB} {2 * MIB}",
            f"write -z -u {20 * MIB} {4 * MIB}",
            "flush",
            f"read -P 18 {16 * MIB} {2 * MIB}",
            f"read -P 0 {20 * MIB} {4 * MIB}",
            f"read -P 17 1536 {3 * MIB}",
        )
        assert serving.export.overlay_bytes >= 5 * MIB
        assert {op for op, *_ in serving.seen} <= {Op.READ}
    assert backing.read_bytes()[: 64 * MIB] == before
