"""The export on a real FUSE mount, with and without a loop device on it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.exports.conftest import Place
from tests.integration.exports.serving import Serving, punch

from twinhull.core.requests import Op, Request
from twinhull.errors import AttachError
from twinhull.exports.fuse import mounts
from twinhull.exports.fuse.export import FuseExport

pytestmark = pytest.mark.lab

MIB = 1 << 20
BLKDISCARD = 0x1277


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDWR | os.O_DIRECT) -> Iterator[int]:
    """A descriptor, closed at the end."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # its server may be gone by now
            os.close(descriptor)


@contextmanager
def loop_on(file: Path) -> Iterator[str]:
    """A loop device on the file with direct I/O."""
    command = ["losetup", "--find", "--show", "--direct-io=on", str(file)]
    device = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def write_direct(descriptor: int, offset_bytes: int, data: bytes) -> None:
    """pwrite(2) from an aligned buffer."""
    with mmap.mmap(-1, len(data)) as buffer:
        buffer.write(data)
        assert os.pwrite(descriptor, buffer, offset_bytes) == len(data)


def read_direct(descriptor: int, offset_bytes: int, length_bytes: int) -> bytes:
    """pread(2) into an aligned buffer."""
    with mmap.mmap(-1, length_bytes) as buffer:
        assert os.preadv(descriptor, [buffer], offset_bytes) == length_bytes
        return buffer[:]


def test_what_is_written_is_read_back_and_reaches_the_backing_file(place: Place) -> None:
    data = os.urandom(3 * MIB)
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name), opened(place.file) as file:
        write_direct(file, 5 * MIB, data)
        assert read_direct(file, 5 * MIB, len(data)) == data
    with opened(place.backing, os.O_RDONLY) as backing:
        assert os.pread(backing, len(data), 5 * MIB) == data


def test_a_large_write_travels_in_pieces_of_one_mebibyte(place: Place) -> None:
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name) as serving:
        with opened(place.file) as file:
            write_direct(file, 0, bytes(4 * MIB))
        writes = [(offset, length) for op, offset, length in serving.seen if op is Op.WRITE]
    assert sorted(writes) == [(index * MIB, MIB) for index in range(4)]


def test_the_file_has_its_fixed_size_and_is_the_only_one(place: Place) -> None:
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name):
        assert place.file.stat().st_size == 64 * MIB
        assert list(place.mount_dir.iterdir()) == [place.file]
        assert not (place.mount_dir / "other").exists()
        assert os.statvfs(place.mount_dir).f_bavail == 0
        with pytest.raises(PermissionError):
            os.truncate(place.file, MIB)
        with opened(place.file) as file, pytest.raises(OSError, match="fallocate") as refused:
            punch(file, 64 * MIB, MIB)
    assert refused.value.errno in (errno.EINVAL, errno.ENOSPC, errno.EFBIG)


def test_fsync_is_a_flush_and_waits_for_its_answer(place: Place) -> None:
    flushed = threading.Event()
    arrived = threading.Event()

    def take(request: Request) -> bool:
        if request.op is Op.FLUSH:
            arrived.set()
            return False
        return True

    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name, take=take) as serving:

        def flush() -> None:
            with opened(place.file) as file:
                os.fsync(file)
            flushed.set()

        thread = threading.Thread(target=flush)
        thread.start()
        assert arrived.wait(30)
        assert not flushed.is_set()
        serving.release()
        assert flushed.wait(30)
        thread.join()


def test_a_discard_on_the_loop_device_frees_the_backing_file(place: Place) -> None:
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name) as serving:
        with loop_on(place.file) as device, opened(device) as disk:
            write_direct(disk, 0, b"\xff" * 8 * MIB)
            full = place.backing.stat().st_blocks
            fcntl.ioctl(disk, BLKDISCARD, struct.pack("=QQ", 2 * MIB, 4 * MIB))
            assert read_direct(disk, 2 * MIB, 4 * MIB) == bytes(4 * MIB)
            assert read_direct(disk, 0, 2 * MIB) == b"\xff" * 2 * MIB
        assert (Op.DISCARD, 2 * MIB, 4 * MIB) in serving.seen
    assert full - place.backing.stat().st_blocks >= 4 * MIB // 512


def test_a_flush_of_the_loop_device_reaches_the_export(place: Place) -> None:
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name) as serving:
        with loop_on(place.file) as device, opened(device) as disk:
            write_direct(disk, 0, b"x" * 4096)
            os.fsync(disk)
        assert (Op.FLUSH, 0, 0) in serving.seen


def held_writes(place: Place, count: int, answer: Callable[[list[Request]], list[Request]]) -> list[Request]:
    """Writes under way all at once through a loop device, answered in an order of our choice."""
    enough = threading.Event()
    held: list[Request] = []

    def take(request: Request) -> bool:
        if request.op is not Op.WRITE:
            return True
        held.append(request)
        if len(held) == count:
            enough.set()
        return False

    with (
        Serving(place.make_backing(64 * MIB), place.mount_dir, place.name, take=take) as serving,
        loop_on(place.file) as device,
        opened(device) as disk,
    ):

        def write(index: int) -> None:
            write_direct(disk, index * MIB, bytes([index + 1]) * 4096)

        with ThreadPoolExecutor(count) as pool:
            done = [pool.submit(write, index) for index in range(count)]
            assert enough.wait(30)
            for request in held:
                index = request.offset_bytes // MIB
                assert bytes(request.data or b"") == bytes([index + 1]) * 4096
            serving.release(answer)
            for future in done:
                future.result(30)
        for index in range(count):
            assert read_direct(disk, index * MIB, 4096) == bytes([index + 1]) * 4096
    return held


def test_writes_that_are_under_way_together_are_answered_in_reverse_order(place: Place) -> None:
    requests = held_writes(place, 16, lambda held: held[::-1])
    assert len({request.tag for request in requests}) == 16


@pytest.mark.parametrize("seed", [1, 2])
def test_random_io_of_several_writers_equals_a_model(place: Place, seed: int) -> None:
    region, writers, steps = 8 * MIB, 4, 700
    shuffle = random.Random(seed)
    with (
        Serving(place.make_backing(64 * MIB), place.mount_dir, place.name, shuffle=shuffle),
        loop_on(place.file) as device,
        opened(device) as disk,
    ):

        def work(writer: int) -> bytes:
            chance = random.Random(f"{seed}/{writer}")
            base, model = writer * region, bytearray(region)
            for _ in range(steps):
                sectors = chance.choice((1, 7, 8, 64, 300, 2048))
                offset, length = chance.randrange(region // 512 - sectors) * 512, sectors * 512
                what = chance.random()
                if what < 0.5:
                    data = chance.randbytes(length)
                    write_direct(disk, base + offset, data)
                    model[offset : offset + length] = data
                elif what < 0.6:
                    fcntl.ioctl(disk, BLKDISCARD, struct.pack("=QQ", base + offset, length))
                    model[offset : offset + length] = bytes(length)
                elif what < 0.65:
                    os.fsync(disk)
                else:
                    assert read_direct(disk, base + offset, length) == model[offset : offset + length]
            return bytes(model)

        with ThreadPoolExecutor(writers) as pool:
            models = list(pool.map(work, range(writers)))
    with opened(place.backing, os.O_RDONLY) as backing:
        for writer, model in enumerate(models):
            assert os.pread(backing, region, writer * region) == model


def test_an_error_reaches_the_writer(place: Place) -> None:
    arrived = threading.Event()

    def take(request: Request) -> bool:
        if request.op is Op.WRITE:
            arrived.set()
            return False
        return True

    with (
        Serving(place.make_backing(64 * MIB), place.mount_dir, place.name, take=take) as serving,
        opened(place.file) as file,
        ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(write_direct, file, 0, bytes(4096))
        assert arrived.wait(30)
        serving.fail_held(errno.ENOSPC)
        with pytest.raises(OSError, match="No space left") as failed:
            future.result(30)
    assert failed.value.errno == errno.ENOSPC


def test_closing_fails_what_is_under_way_and_takes_the_mount_away(place: Place) -> None:
    arrived = threading.Event()

    def take(request: Request) -> bool:
        arrived.set()
        return False

    with (
        Serving(place.make_backing(64 * MIB), place.mount_dir, place.name, take=take) as serving,
        opened(place.file) as file,
        ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(write_direct, file, 0, bytes(4096))
        assert arrived.wait(30)
        serving.close()
        with pytest.raises(OSError):
            future.result(30)
    assert mounts.mounted_at(place.mount_dir) == []
    assert serving.export.receive() == []
    serving.export.reply(7)
    serving.export.close()


def test_an_unmount_by_somebody_else_is_told(place: Place) -> None:
    with Serving(place.make_backing(64 * MIB), place.mount_dir, place.name) as serving:
        assert place.file.exists()
        subprocess.run(["umount", "-l", str(place.mount_dir)], check=True)
        serving.join()
        assert isinstance(serving.failure, AttachError)
        assert "has ended" in str(serving.failure)


def test_a_hung_server_is_aborted_by_another_process(place: Place) -> None:
    place.make_backing(64 * MIB)
    server = place.serve_apart()
    with opened(place.file) as file, ThreadPoolExecutor(1) as pool:
        os.kill(server.pid, signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)  # until it has stopped: it may be at work on another processor
        future = pool.submit(write_direct, file, 0, bytes(4096))
        freed = mounts.abort_stale(place.mount_dir)
        with pytest.raises(OSError):
            future.result(30)
    assert len(freed) == 1
    assert "aborted" in freed[0]
    assert mounts.abort_stale(place.mount_dir) == []


def test_what_a_killed_server_left_is_in_the_way_until_it_is_freed(place: Place) -> None:
    place.make_backing(64 * MIB)
    server = place.serve_apart()
    server.kill()
    server.wait()
    with pytest.raises(AttachError, match="still mounted"):
        FuseExport(place.mount_dir, 64 * MIB, place.name)
    assert len(mounts.abort_stale(place.mount_dir)) == 1
    with Serving(place.backing, place.mount_dir, place.name):
        assert place.file.stat().st_size == 64 * MIB


def test_a_size_that_is_no_whole_sectors_is_refused(place: Place) -> None:
    with pytest.raises(AttachError, match="multiple of 512"):
        FuseExport(place.mount_dir, 1000)


def test_answers_that_cannot_be_are_our_own_mistake(place: Place) -> None:
    export = FuseExport(place.mount_dir, 64 * MIB, place.name)
    try:
        with pytest.raises(ValueError, match="not under way"):
            export.reply(12345)
    finally:
        export.close()


def test_hardening_locks_memory_and_says_what_it_is_denied() -> None:
    program = (
        "from twinhull.exports.fuse import sit_under_page_cache as s\n"
        "import re, pathlib, threading\n"
        "w = s()\n"
        "big = bytearray(64 << 20)\n"
        "t = threading.Thread(target=print); t.start(); t.join()\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(len(w), re.search(r'VmLck:\\s+(\\d+)', status)[1])\n"
    )
    source = str(Path(mounts.__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": source, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    warnings, locked_kib = map(int, re.findall(r"\d+", done.stdout))
    assert warnings <= 2
    assert locked_kib > 64 << 10
