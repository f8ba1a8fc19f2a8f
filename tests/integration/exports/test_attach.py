"""A served volume as a mounted folder: real loop devices, file systems and mounts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.exports.conftest import Place
from tests.integration.exports.serving import Serving

from twinhull.attach import folder as bare
from twinhull.attach import loop
from twinhull.attach.linux_cmd import FileSystem, backing_matches
from twinhull.errors import AttachError, FolderBusyError, FolderNotOursError
from twinhull.exports.fuse.mounts import abort_stale

pytestmark = pytest.mark.lab

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40


def loops_of(place: Place) -> list[loop.Loop]:
    """The loop devices on this place's export, dead or alive."""
    return [found for found in loop.all_loops() if backing_matches(found.backing, place.file)]


def write_synced(path: Path, data: bytes) -> None:
    """A file that is on the disk when this returns."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)


@contextlib.contextmanager
def process(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that says `ready`; killed at the end."""
    command = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    try:
        assert command.stdout.readline() == "ready\n"
        yield command
    finally:
        command.kill()
        command.wait()
        command.stdout.close()


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_a_blank_volume_is_formatted_mounted_and_keeps_its_files(
    place: Place, file_system: FileSystem
) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher(file_system)
        assert not attacher.attached()
        attacher.attach(make=True)
        assert attacher.attached()
        attacher.attach(make=True)
        write_synced(place.folder / "data", b"kept")
        attacher.detach(forced=False)
        assert not attacher.attached()
        assert loops_of(place) == []
        attacher.detach(forced=False)
    with Serving(place.backing, place.mount_dir, place.name):
        again = place.attacher(file_system)
        again.attach(make=False)
        assert (place.folder / "data").read_bytes() == b"kept"
        again.detach(forced=False)


def test_the_mount_denies_devices_and_takes_discards(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        line = next(x for x in Path("/proc/mounts").read_text().splitlines() if f" {place.folder} " in x)
        assert {"nodev", "nosuid", "errors=remount-ro", "discard"} <= set(line.split()[3].split(","))
        assert loops_of(place)[0].autoclear
        dio = Path("/sys/block", Path(loops_of(place)[0].device).name, "loop/dio").read_text().strip()
        assert dio == "1"
        write_synced(place.folder / "big", os.urandom(32 * MIB))
        before = place.backing.stat().st_blocks
        (place.folder / "big").unlink()
        attacher.detach(forced=False)
        assert before - place.backing.stat().st_blocks > 24 * MIB // 512


def test_a_blank_volume_is_formatted_on_demand_only(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        with pytest.raises(AttachError, match="blank"):
            place.attacher().attach(make=False)
        assert loops_of(place) == []
    assert place.backing.stat().st_blocks == 0


@pytest.mark.parametrize("offset", [512, 128 * MIB + 1024, GIB - 512, GIB - 1])
def test_a_volume_that_holds_a_single_byte_is_never_formatted(place: Place, offset: int) -> None:
    with place.make_backing().open("r+b") as file:
        file.seek(offset)
        file.write(b"\x01")
    with Serving(place.backing, place.mount_dir, place.name) as serving:
        with pytest.raises(FolderNotOursError, match="not formatted"):
            place.attacher().attach(make=True)
        assert not any(op.name in ("WRITE", "DISCARD") for op, _, _ in serving.seen)


@pytest.mark.parametrize("command", [["mkfs.xfs", "-q"], ["mkswap"], ["mkfs.ext4", "-q", "-L", "x"]])
def test_a_volume_that_holds_another_file_system_is_never_formatted(place: Place, command: list[str]) -> None:
    subprocess.run([*command, str(place.make_backing())], check=True, capture_output=True)
    wanted: FileSystem = "xfs" if "ext4" in command[0] else "ext4"
    with Serving(place.backing, place.mount_dir, place.name) as serving:
        with pytest.raises(FolderNotOursError, match="nothing was changed"):
            place.attacher(wanted).attach(make=True)
        assert not any(op.name in ("WRITE", "DISCARD") for op, _, _ in serving.seen)


def test_a_volume_of_ten_tebibytes_is_made_quickly_and_stays_thin(place: Place) -> None:
    place.make_backing(10 * TIB)
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        assert os.statvfs(place.folder).f_blocks * 4096 > 9.9 * TIB
        write_synced(place.folder / "data", b"far")
        attacher.detach(forced=False)
        attacher.attach(make=False)
        assert (place.folder / "data").read_bytes() == b"far"
        attacher.detach(forced=False)
    assert place.backing.stat().st_blocks * 512 < 256 * MIB


def test_who_only_passes_by_holds_up_no_detach(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        in_folder = ["sh", "-c", 'cd "$1" && echo ready && exec sleep 0.3', "sh", str(place.folder)]
        with process(in_folder):
            attacher.detach(forced=False)
        assert not attacher.attached()


def test_a_busy_folder_is_kept_and_its_holders_are_named(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        file = place.folder / "disk.qcow2"
        program = f"import time; f = open({str(file)!r}, 'w'); print('ready', flush=True); time.sleep(600)"
        with process([sys.executable, "-c", program]) as holder:
            with pytest.raises(FolderBusyError) as busy:
                attacher.detach(forced=False)
            assert f"process {holder.pid}" in str(busy.value)
            assert "disk.qcow2" in str(busy.value)
            assert attacher.attached()
        in_folder = ["sh", "-c", 'cd "$1" && echo ready && exec sleep 600', "sh", str(place.folder)]
        with (
            process(in_folder) as worker,
            pytest.raises(FolderBusyError, match=rf"process {worker.pid}\): works in"),
        ):
            attacher.detach(forced=False)
        attacher.detach(forced=False)
        assert loops_of(place) == []


def test_a_mount_that_lives_on_in_another_namespace_keeps_the_folder_attached(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 600"]
        with process(apart) as other:
            with pytest.raises(FolderBusyError, match=f"process {other.pid}.*mount namespace"):
                attacher.detach(forced=False)
            assert attacher.attached()
        attacher.detach(forced=False)
        assert loops_of(place) == []


def test_a_forced_detach_waits_for_nobody(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name) as serving:
        attacher = place.attacher()
        attacher.attach(make=True)
        program = f"import time; f = open({str(place.folder / 'x')!r}, 'w'); print('ready', flush=True); time.sleep(600)"
        with process([sys.executable, "-c", program]):
            serving.close()
            attacher.detach(forced=True)
            assert not attacher.attached()
            assert len(loops_of(place)) == 1
        place.attacher().clean_up()
        assert loops_of(place) == []


def test_after_a_kill_the_leftovers_are_freed_and_the_journal_is_replayed(place: Place) -> None:
    place.make_backing()
    server = place.serve_apart()
    place.attacher().attach(make=True)
    write_synced(place.folder / "data", b"synced")
    server.kill()
    server.wait()
    assert abort_stale(place.mount_dir)
    with Serving(place.backing, place.mount_dir, place.name):
        fresh = place.attacher()
        assert not fresh.attached()
        freed = fresh.clean_up()
        assert any("unmounted" in sentence for sentence in freed)
        assert loops_of(place) == []
        assert fresh.clean_up() == []
        fresh.attach(make=False)
        assert (place.folder / "data").read_bytes() == b"synced"
        fresh.detach(forced=False)


def test_a_device_that_a_killed_worker_had_not_mounted_yet_is_freed(place: Place) -> None:
    place.make_backing()
    server = place.serve_apart()
    subprocess.run(["losetup", "--find", "--direct-io=on", str(place.file)], check=True)
    (left,) = loops_of(place)
    server.kill()
    server.wait()
    abort_stale(place.mount_dir)
    assert place.attacher().clean_up() == [f"{left.device} freed"]
    assert loops_of(place) == []


def test_a_device_that_somebody_still_serves_is_left_alone(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        subprocess.run(["losetup", "--find", "--direct-io=on", str(place.file)], check=True)
        (held,) = loops_of(place)
        assert place.attacher().clean_up() == []
        assert loops_of(place) == [held]
        attacher = place.attacher()
        attacher.attach(make=True)
        assert [found.device for found in loops_of(place)] == [held.device]
        attacher.detach(forced=False)
        assert loops_of(place) == []


def test_the_bare_folder_takes_no_writes_not_even_from_root(place: Place) -> None:
    assert bare.prepare_folder("m1", place.folder) == []
    with pytest.raises(PermissionError):
        (place.folder / "stray").write_bytes(b"")
    assert bare.prepare_folder("m1", place.folder) == []
    bare.release_folder(place.folder)
    (place.folder / "stray").write_bytes(b"")
    with pytest.raises(FolderNotOursError, match=r"not empty.*stray"):
        bare.prepare_folder("m1", place.folder)


def test_a_folder_with_files_is_refused_before_anything_happens(place: Place) -> None:
    place.make_backing()
    place.folder.mkdir()
    (place.folder / "precious").write_bytes(b"")
    with Serving(place.backing, place.mount_dir, place.name) as serving:
        with pytest.raises(FolderNotOursError, match="precious"):
            place.attacher().attach(make=True)
        assert loops_of(place) == []
        assert serving.seen == []


def test_a_foreign_mount_at_the_folder_is_refused_and_never_unmounted(place: Place) -> None:
    place.make_backing()
    place.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place.folder)], check=True)
    try:
        with Serving(place.backing, place.mount_dir, place.name):
            attacher = place.attacher()
            assert not attacher.attached()
            with pytest.raises(FolderNotOursError, match="Something else is mounted"):
                attacher.attach(make=True)
            attacher.detach(forced=True)
        assert os.path.ismount(place.folder)
    finally:
        subprocess.run(["umount", str(place.folder)], check=True)


def test_a_folder_inside_another_modules_folder_is_refused(place: Place, tmp_path: Path) -> None:
    place.make_backing()
    inner_directory = tmp_path / "inner"
    inner_directory.mkdir()
    inner = Place(inner_directory)
    inner.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        outer = place.attacher()
        outer.attach(make=True)
        with Serving(inner.backing, inner.mount_dir, inner.name):
            attacher = inner.attacher(folder=place.folder / "nested")
            with pytest.raises(FolderNotOursError, match="inside another module"):
                attacher.attach(make=True)
        outer.detach(forced=False)


def test_a_damaged_file_system_is_not_mounted(place: Place) -> None:
    place.make_backing()
    with Serving(place.backing, place.mount_dir, place.name):
        attacher = place.attacher()
        attacher.attach(make=True)
        attacher.detach(forced=False)
    with place.backing.open("r+b") as file:
        file.seek(1024 + 58)  # s_state: errors were found
        file.write(b"\x02\x00")
        file.seek(4096)  # the group descriptors
        file.write(b"\xff" * 4096)
    with Serving(place.backing, place.mount_dir, place.name):
        with pytest.raises(AttachError):
            place.attacher().attach(make=False)
        assert loops_of(place) == []
        assert not os.path.ismount(place.folder)


def test_a_worker_can_run_a_program_that_lies_on_the_volume_it_serves(place: Place) -> None:
    place.make_backing()
    program = Path(__file__).with_name("serve_and_run.py")
    arguments = [str(place.backing), str(place.mount_dir), place.name, str(place.folder)]
    done = subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("from the folder\n", 0), done.stderr
