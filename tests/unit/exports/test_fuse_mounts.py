"""What /proc says about mounts and capabilities."""

from __future__ import annotations

from pathlib import Path

from twinhull.exports.fuse.hardening import parse_effective_capabilities
from twinhull.exports.fuse.mounts import FuseMount, absolute, parse_fuse_mounts

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
129 27 7:0 / /srv/m1 rw,nosuid,nodev,noatime - ext4 /dev/loop0 rw,discard,errors=remount-ro
140 27 0:57 / /run/twin\\040hull/m1 rw,nosuid,nodev shared:3 - fuse.twinhull twinhull rw,user_id=0
141 27 0:258 / /mnt/x rw - fuse sshfs rw
142 27 0:59 / /sys/fs/fuse/connections rw - fusectl fusectl rw
"""


def test_only_fuse_mounts_are_found_with_their_connection() -> None:
    assert parse_fuse_mounts(MOUNTINFO) == [
        FuseMount("/run/twin hull/m1", "fuse.twinhull", 57),
        FuseMount("/mnt/x", "fuse", 258),
    ]
    assert parse_fuse_mounts("garbage\n\n1 2 - fuse x\n") == []


def test_effective_capabilities_are_read() -> None:
    assert parse_effective_capabilities("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000004000\n") == 1 << 14
    assert parse_effective_capabilities("nothing") == 0


def test_a_path_is_resolved_but_for_its_last_part(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(tmp_path / "link" / "mnt") == tmp_path.resolve() / "real" / "mnt"
    assert absolute(tmp_path / "link") == tmp_path.resolve() / "link"
