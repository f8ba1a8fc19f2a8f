"""Images are copied whole and thin, or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.errors import ResourceError
from twinhull.resources import images
from twinhull.resources.copying import CHUNK_BYTES, copy_image, data_bytes
from twinhull.resources.run import Completed, run_command


def nothing(_count: int) -> None:
    pass


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(0, 5 * CHUNK_BYTES),
    pieces=st.lists(
        st.tuples(st.integers(0, 5 * CHUNK_BYTES), st.binary(min_size=1, max_size=300)), max_size=6
    ),
)
def test_a_copy_equals_its_source(
    tmp_path_factory: pytest.TempPathFactory, size: int, pieces: list[tuple[int, bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("copy")
    source, target = directory / "source", directory / "target"
    with source.open("wb") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    copy_image(source, target, nothing)
    assert target.read_bytes() == source.read_bytes()


def test_holes_and_zeros_take_no_room(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.write(b"\0" * (8 * CHUNK_BYTES))
        file.write(b"x")
        file.truncate(1024 * CHUNK_BYTES)
    counted: list[int] = []
    copy_image(source, target, counted.append)
    assert target.stat().st_size == 1024 * CHUNK_BYTES
    assert data_bytes(target) <= CHUNK_BYTES
    assert sum(counted) <= 10 * CHUNK_BYTES


def test_a_copy_has_the_owner_and_mode_of_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x")
    source.chmod(0o640)
    copy_image(source, target, nothing)
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_copy_that_reads_back_differently_is_refused_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 5000)
    real = os.fsync

    def rot(descriptor: int) -> None:
        os.pwrite(descriptor, b"y", 17)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", rot)
    with pytest.raises(ResourceError, match="differs from what was written"):
        copy_image(source, target, nothing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_disk_that_fails_while_copying_leaves_no_target(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"Copying .* failed"):
        copy_image(tmp_path / "missing", tmp_path / "target", nothing)
    assert list(tmp_path.iterdir()) == []


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, stdout=subprocess.DEVNULL)


def overlay(directory: Path) -> Path:
    base, top = directory / "base.qcow2", directory / "top.qcow2"
    qemu_img("create", "-f", "qcow2", str(base), "8M")
    subprocess.run(["qemu-io", "-c", "write -P 7 0 64k", str(base)], check=True, stdout=subprocess.DEVNULL)
    qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", str(top))
    subprocess.run(["qemu-io", "-c", "write -P 9 1M 64k", str(top)], check=True, stdout=subprocess.DEVNULL)
    return top


def test_an_image_that_builds_on_another_is_described_and_flattened(tmp_path: Path) -> None:
    top = overlay(tmp_path)
    image = images.inspect(str(top), "qcow2", run_command, timeout_s=20.0)
    assert image.backing == str(tmp_path / "base.qcow2")
    target = tmp_path / "flat.qcow2"
    images.flatten(image, target, run_command, nothing, timeout_s=60.0)
    (tmp_path / "base.qcow2").unlink()
    flat = images.inspect(str(target), "qcow2", run_command, timeout_s=20.0)
    assert flat.backing is None
    for check in ("read -P 7 0 64k", "read -P 9 1M 64k", "read -P 0 2M 64k"):
        done = subprocess.run(["qemu-io", "-c", check, str(target)], capture_output=True, text=True)
        assert "Pattern verification failed" not in done.stdout


def test_a_flattened_copy_that_differs_is_refused_and_removed(tmp_path: Path) -> None:
    top = overlay(tmp_path)
    image = images.inspect(str(top), "qcow2", run_command, timeout_s=20.0)

    def run(argv: list[str], *, timeout_s: float) -> Completed:
        if argv[1] == "compare":
            return Completed(1, "Content mismatch at offset 0!\n", "")
        return run_command(argv, timeout_s=timeout_s)

    with pytest.raises(ResourceError, match="differs from it: Content mismatch"):
        images.flatten(image, tmp_path / "flat.qcow2", run, nothing, timeout_s=60.0)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("flat*"))


def test_a_raw_image_is_never_guessed_to_be_another_format(tmp_path: Path) -> None:
    top = overlay(tmp_path)
    assert images.inspect(str(top), "raw", run_command, timeout_s=20.0).backing is None


def test_an_image_of_another_format_than_defined_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(b"\0" * 65536)
    with pytest.raises(ResourceError, match="is not qcow2, or in use"):
        images.inspect(str(tmp_path / "a.img"), "qcow2", run_command, timeout_s=20.0)


def test_nonsense_of_qemu_img_is_refused() -> None:
    with pytest.raises(ResourceError, match="cannot be read"):
        images.parse_info("[]")
