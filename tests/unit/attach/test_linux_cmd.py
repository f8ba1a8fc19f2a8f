"""Commands are built and output is read by pure functions; the texts were captured on Debian 12."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.attach import linux_cmd as cmd
from twinhull.attach.blank import places
from twinhull.attach.commands import CommandTimeoutError, run, run_well
from twinhull.attach.holders import Holder
from twinhull.errors import AttachError

MIB = 1 << 20

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
129 27 7:0 / /srv/m1 rw,nosuid,nodev,noatime shared:9 - ext4 /dev/loop0 rw,discard,errors=remount-ro
140 27 0:57 / /run/twin\\040hull/m1 rw,nosuid,nodev - fuse.twinhull twinhull rw,user_id=0
150 27 7:3 / /srv/m1 rw - xfs /dev/loop3 rw
"""

WIPEFS_EXT4 = """\
{
   "signatures": [
      {
         "device": "loop0",
         "offset": "0x438",
         "type": "ext4",
         "uuid": "fc2b4b3b-641a-492a-8541-84bc4f34293c",
         "label": "twinhull"
      }
   ]
}
"""
WIPEFS_BLANK = """\
{
   "signatures": [

   ]
}
"""


def test_mounts_are_read() -> None:
    mounts = cmd.parse_mountinfo(MOUNTINFO + "garbage\n")
    assert len(mounts) == 5
    assert mounts[2] == cmd.Mount(
        129, (7, 0), "/", Path("/srv/m1"), frozenset({"shared:9"}), "ext4", "/dev/loop0"
    )
    assert mounts[3].mount_point == Path("/run/twin hull/m1")


def test_the_last_mount_is_the_one_that_is_seen() -> None:
    mounts = cmd.parse_mountinfo(MOUNTINFO)
    top = cmd.top_mount(mounts, Path("/srv/m1"))
    assert top is not None
    assert top.source == "/dev/loop3"
    assert cmd.top_mount(mounts, Path("/srv")) is None


def test_the_bare_folder_lies_on_the_nearest_mount_above() -> None:
    mounts = cmd.parse_mountinfo(MOUNTINFO)
    below = cmd.mount_below(mounts, Path("/srv/m1"))
    inside = cmd.mount_below(mounts, Path("/srv/m1/nested"))
    assert below is not None
    assert inside is not None
    assert (below.source, inside.source) == ("/dev/vda", "/dev/loop3")


def test_signatures_are_read() -> None:
    assert cmd.parse_signatures(WIPEFS_EXT4) == [cmd.Signature("ext4", 0x438)]
    assert cmd.parse_signatures(WIPEFS_BLANK) == []
    assert cmd.parse_signatures("") == []
    with pytest.raises(ValueError, match="Expecting"):
        cmd.parse_signatures("loop0: error")


@pytest.mark.parametrize(
    ("code", "sound"), [(0, True), (1, True), (2, True), (4, False), (5, False), (8, False), (12, False)]
)
def test_e2fsck_says_whether_a_file_system_is_sound(code: int, sound: bool) -> None:
    assert cmd.check_succeeded(code) is sound


def test_a_busy_mount_is_told_from_other_failures() -> None:
    assert cmd.is_busy(32, "umount: /srv/m1: target is busy.\n")
    assert not cmd.is_busy(32, "umount: /srv/m1: not mounted.\n")
    assert not cmd.is_busy(0, "")


def test_file_systems_are_made_thin_and_mounted_safely() -> None:
    ext4 = cmd.make_file_system("ext4", "/dev/loop7")
    assert ext4[0] == "mkfs.ext4"
    assert ext4[-1] == "/dev/loop7"
    assert "nodiscard,assume_storage_prezeroed=1,root_owner=0:0" in ext4
    assert "-K" in cmd.make_file_system("xfs", "/dev/loop7")
    assert not {"-F", "-f"} & {*ext4, *cmd.make_file_system("xfs", "/dev/loop7")}
    assert cmd.check_file_system("xfs", "/dev/loop7") is None
    for kind in cmd._MOUNT_OPTIONS:
        options = cmd.mount(kind, "/dev/loop7", Path("/srv/m1"))[5].split(",")
        assert {"rw", "nodev", "nosuid"} <= set(options)
        assert "nobarrier" not in options
    assert "errors=remount-ro" in cmd.mount("ext4", "/dev/loop7", Path("/srv/m1"))[5]
    assert "--direct-io=on" in cmd.connect(Path("/x"))


def test_a_lazy_unmount_is_asked_for_by_name() -> None:
    assert cmd.unmount(Path("/srv/m1"), lazy=False) == ["umount", "-i", "/srv/m1"]
    assert cmd.unmount(Path("/srv/m1"), lazy=True) == ["umount", "-i", "-l", "/srv/m1"]


@pytest.mark.parametrize(
    ("raw", "device"), [(0x39, (0, 57)), (0xFE00, (254, 0)), (0x100002, (0, 258)), (0x803, (8, 3))]
)
def test_the_kernels_device_numbers_are_decoded(raw: int, device: tuple[int, int]) -> None:
    status = cmd.parse_loop_status(raw.to_bytes(8, "little") + (42).to_bytes(8, "little") + bytes(216))
    assert status == cmd.LoopStatus(device, 42)


def test_a_loop_device_is_known_by_its_backing_file_also_after_its_mount_has_gone() -> None:
    file = Path("/run/twinhull/m1/n1-m1.disk")
    assert cmd.backing_matches("/run/twinhull/m1/n1-m1.disk\n", file)
    assert cmd.backing_matches("/n1-m1.disk", file)
    assert cmd.backing_matches("/n1-m1.disk (deleted)", file)
    assert not cmd.backing_matches("/run/twinhull/m1/n2-m1.disk", file)
    assert not cmd.backing_matches("/n2-m1.disk", file)


def test_a_copy_of_the_mount_elsewhere_counts_unless_it_goes_with_ours() -> None:
    ours = cmd.parse_mountinfo(MOUNTINFO)
    slave = cmd.parse_mountinfo("1 2 7:0 / /srv/m1 rw master:9 - ext4 /dev/loop0 rw\n")
    peer = cmd.parse_mountinfo("1 2 7:0 / /srv/m1 rw shared:9 - ext4 /dev/loop0 rw\n")
    private = cmd.parse_mountinfo("1 2 7:0 / /srv/m1 rw - ext4 /dev/loop0 rw\n")
    assert not cmd.copies_elsewhere(ours, slave, (7, 0))
    assert not cmd.copies_elsewhere(ours, peer, (7, 0))
    assert cmd.copies_elsewhere(ours, private, (7, 0))
    assert not cmd.copies_elsewhere(ours, private, (7, 1))


def test_proc_files_are_read() -> None:
    assert cmd.parse_mount_id("pos:\t0\nflags:\t0100002\nmnt_id:\t129\nino:\t12\n") == 129
    assert cmd.parse_mount_id("") is None
    maps = (
        "7f00-7f01 r--p 00000000 07:00 13                         /srv/m1/lib with space.so\n"
        "7f01-7f02 rw-p 00000000 00:00 0 \n"
        "7f02-7f03 rw-p 00000000 00:00 0                          [heap]\n"
    )
    assert cmd.parse_mapped_devices(maps) == {(7, 0): "/srv/m1/lib with space.so"}
    unix = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 17385 /srv/m1/monitor.sock\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 17399\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 17400 /srv/m10/other.sock\n"
    )
    assert cmd.parse_bound_sockets(unix, Path("/srv/m1")) == {"17385": "/srv/m1/monitor.sock"}


def test_a_holder_is_named_for_people() -> None:
    assert str(Holder(12, "qemu", "has /srv/m1/d open")) == "qemu (process 12): has /srv/m1/d open"
    assert str(Holder(0, "the kernel", "swaps to /srv/m1/s")) == "the kernel: swaps to /srv/m1/s"


@pytest.mark.parametrize("size", [512, MIB, 4 * MIB, 5 * MIB, 129 * MIB, 1 << 30, 10 << 40, 64 << 40])
def test_the_places_to_look_at_lie_inside_and_cover_both_ends(size: int) -> None:
    looked = places(size)
    assert looked[0][0] == 0
    assert any(offset + length == size for offset, length in looked)
    assert all(offset >= 0 and offset + length <= size and length > 0 for offset, length in looked)
    assert all(offset % 512 == 0 and length % 512 == 0 for offset, length in looked)
    assert sum(length for _, length in looked) <= 8 * MIB


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cmd.PACKAGES, "twinhull-no-such-program", "nothing")
    with pytest.raises(AttachError, match="apt-get install nothing"):
        run(["twinhull-no-such-program"], 5.0)


def test_a_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(CommandTimeoutError, match="did not end within"):
        run(["sleep", "600"], 0.05)


def test_a_failed_program_is_quoted() -> None:
    with pytest.raises(
        AttachError, match=r"It failed: ls: cannot access '/no such': .* Look there\."
    ) as failed:
        run_well(["ls", "/no such"], 30.0, "It failed", "Look there.")
    assert failed.value.remedy == "Look there."
