"""The fake disk does to its files what it says: simulations stand on it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.fakes.disk import FakeDisk, PowerLost

from twinhull.errors import DiskError, DiskFullError
from twinhull.storage.base import File

from .common import MIB


def new_file(disk: FakeDisk, *, sparse: bool = True) -> File:
    """A file of 1 MiB."""
    return disk.directory().create("file", MIB, sparse=sparse)


def test_only_what_was_synced_survives_a_power_loss(disk: FakeDisk) -> None:
    file = new_file(disk)
    file.write(0, b"a" * 512)
    file.sync()
    file.write(0, b"b" * 512)
    file.write(4096, b"c" * 512)
    file.punch(8192, 4096)
    disk.power_loss()
    assert disk.peek("file", 0, 8192) == b"a" * 512 + bytes(7680)


def test_processes_that_die_leave_what_they_wrote_to_the_cache(disk: FakeDisk) -> None:
    file = new_file(disk)
    file.write(0, b"a" * 512)
    disk.kill()
    with pytest.raises(PowerLost):
        file.read(0, 512)
    assert disk.directory().open("file").read(0, 512) == b"a" * 512


def test_a_power_loss_loses_any_part_of_a_write(disk: FakeDisk) -> None:
    new_file(disk).write(0, b"x" * 2048)
    found = set()
    for seed in range(200):
        copy = disk.clone()
        copy.power_loss(random.Random(seed))
        found.add(tuple(copy.peek("file", n * 512, 1) == b"x" for n in range(4)))
    assert len(found) == 16


def test_the_same_seed_loses_the_same(disk: FakeDisk) -> None:
    new_file(disk).write(0, b"x" * MIB)
    copies = [disk.clone() for _ in range(2)]
    for copy in copies:
        copy.power_loss(random.Random(5), garble=True)
    assert copies[0].peek("file", 0, MIB) == copies[1].peek("file", 0, MIB)


def test_later_writes_may_survive_without_earlier_ones(disk: FakeDisk) -> None:
    file = new_file(disk)
    file.write(0, b"1" * 512)
    file.write(512, b"2" * 512)
    disk.power_loss(keep=lambda number: number == 1)
    assert disk.peek("file", 0, 1024) == bytes(512) + b"2" * 512


def test_a_garbled_sector_is_one_that_was_on_its_way(disk: FakeDisk) -> None:
    file = new_file(disk)
    file.write(0, b"a" * 1024)
    file.sync()
    file.write(512, b"b" * 512)
    disk.power_loss(random.Random(1), garble=True)
    assert disk.peek("file", 0, 512) == b"a" * 512
    assert set(disk.peek("file", 512, 512)) > set(b"ab")


def test_a_failed_sync_makes_nothing_durable_and_is_final(disk: FakeDisk) -> None:
    file = new_file(disk)
    file.write(0, b"a" * 512)
    disk.fail_next("sync", error=DiskError("The platter is scratched."))
    for _ in range(2):
        with pytest.raises(DiskError, match="scratched"):
            file.sync()
    again = disk.directory().open("file")
    assert again.read(0, 512) == b"a" * 512
    again.sync()
    disk.power_loss()
    assert disk.peek("file", 0, 512) == bytes(512)


def test_a_fault_hits_the_file_it_was_meant_for_once(disk: FakeDisk) -> None:
    directory = disk.directory()
    one, two = (directory.create(name, 512, sparse=True) for name in ("one", "two"))
    disk.fail_next("write", file="two")
    one.write(0, bytes(512))
    with pytest.raises(DiskError, match=r"failed to write .*two"):
        two.write(0, bytes(512))
    two.write(0, bytes(512))


def test_a_hook_sees_every_operation_and_may_fail_it(disk: FakeDisk) -> None:
    seen = []
    disk.hook = lambda op, file: seen.append((op, file))
    new_file(disk).sync()
    assert seen == [("create", "file"), ("sync", "file")]


def test_a_full_disk_refuses_new_room_and_takes_what_is_reserved(disk: FakeDisk) -> None:
    directory = disk.directory()
    thin, full = (directory.create(name, MIB, sparse=name == "thin") for name in ("thin", "full"))
    disk.fill_up(4096)
    thin.write(0, b"x" * 4096)
    with pytest.raises(DiskFullError):
        thin.write(4096, b"x" * 512)
    full.write(0, b"x" * MIB)
    thin.punch(0, 4096)
    thin.write(8192, b"x" * 512)
    assert disk.free_bytes() == 0


def test_a_write_behind_the_end_is_a_bug_of_the_code_under_test(disk: FakeDisk) -> None:
    with pytest.raises(ValueError, match="behind the end"):
        new_file(disk).write(MIB, b"x")


@pytest.mark.parametrize("op", ["write", "punch", "zero", "sync", "create", "remove"])
def test_power_can_go_in_the_middle_of_any_change(disk: FakeDisk, op: str) -> None:
    directory = disk.directory()
    file = directory.create("file", MIB, sparse=True)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: file.write(0, b"x" * 512),
        "punch": lambda: file.punch(0, 4096),
        "zero": lambda: file.zero(0, 4096),
        "sync": file.sync,
        "create": lambda: directory.create("new", 512, sparse=True),
        "remove": lambda: directory.remove("file"),
    }
    disk.crash_at(0)
    with pytest.raises(PowerLost):
        calls[op]()
    with pytest.raises(PowerLost):
        directory.exists("file")
    disk.power_loss()
    assert disk.directory().exists("file") == (op != "remove")


def test_other_directories_share_the_room_and_nothing_else(disk: FakeDisk) -> None:
    one, two = disk.directory("one"), disk.directory("two")
    one.lock()
    two.lock()
    one.create("file", MIB, sparse=False)
    assert disk.names("one") == {"file"}
    assert disk.names("two") == set()
    assert one.free() == two.free() == (disk.capacity_bytes - MIB, disk.capacity_bytes)
