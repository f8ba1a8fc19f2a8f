"""The exported old volume, opened as a virtual disk by a program that is not ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from twinhull.agent.rescue_image import VHD_MAX_BYTES, vhd_footer, write_image
from twinhull.errors import StorageError, UsageError

SIZE_BYTES = (33 << 20) + 4096


class Content:
    """Zeros with something in them."""

    size_bytes = SIZE_BYTES

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return (b"\0" if (offset_bytes >> 20) % 3 else b"old content!")[:1] * length_bytes


class Lost(Content):
    """It is not to be had any more, from the middle on."""

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        if offset_bytes > SIZE_BYTES // 2:
            raise StorageError("The rescue does not show the old content any more.")
        return super().read(offset_bytes, length_bytes)


def test_qemu_reads_a_virtual_disk_of_the_size_and_the_content_of_the_old_volume(tmp_path: Path) -> None:
    raw, disk = tmp_path / "old.img", tmp_path / "old.vhd"
    done: list[int] = []
    write_image(Content(), raw, b"", done.append)
    write_image(Content(), disk, vhd_footer(SIZE_BYTES, "old.vhd"), done.append)
    assert raw.stat().st_size == SIZE_BYTES and disk.stat().st_size == SIZE_BYTES + 512
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", "-f", "vpc", str(disk)], capture_output=True, text=True, check=True
    )  # fmt: skip
    info = json.loads(told.stdout)
    assert (info["format"], info["virtual-size"]) == ("vpc", SIZE_BYTES)
    same = subprocess.run(
        ["qemu-img", "compare", "-f", "vpc", "-F", "raw", str(disk), str(raw)], capture_output=True, text=True
    )  # fmt: skip
    assert same.returncode == 0, same.stdout + same.stderr
    assert done == 2 * [at << 20 for at in range(34)]


def test_half_an_image_does_not_stay(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="any more"):
        write_image(Lost(), tmp_path / "old.img", b"", lambda _at: None)
    assert not list(tmp_path.iterdir())


def test_a_volume_that_is_too_large_for_a_virtual_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2040 GiB at most") as told:
        vhd_footer(VHD_MAX_BYTES + 512, "old.vhd")
    assert "raw image" in told.value.remedy
