"""The old volume of a rescue, seen while the module overwrites the present one."""

from __future__ import annotations

import tempfile

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import StorageError
from twinhull.storage.base import File
from twinhull.storage.rescue import Rescue, Store
from twinhull.storage.rescue_format import Kind, Piece, Stage
from twinhull.worker.rescue_view import OldVolume, Overlay

BLOCKS = 32


class Scene:
    """A volume of blocks of letters, and its rescue."""

    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.data = self.disk.directory().create("data.img", BLOCKS * BLOCK_BYTES, sparse=True)
        self.old = b"".join(bytes([65 + number]) * BLOCK_BYTES for number in range(BLOCKS))
        self.data.write(0, self.old)
        self.store = Store(self.disk.directory("rescue"), "VM1", "b", BLOCKS * BLOCK_BYTES)
        _, self.rescue = self.store.begin(Kind.SPLIT, "", "")

    def view(self, data: File | None = None, *, partial: bool = False) -> OldVolume:
        return OldVolume(self.reader(), data or self.data, partial=partial)

    def reader(self) -> Rescue:
        return Store(self.disk.directory("rescue"), "", "", 0).open(1)

    def overwrite(self, block: int) -> None:
        old = self.data.read(block * BLOCK_BYTES, BLOCK_BYTES)
        if block not in self.rescue.kept:
            self.rescue.keep([Piece(block, 1, old)])
        self.data.write(block * BLOCK_BYTES, b"!" * BLOCK_BYTES)


def test_what_is_overwritten_while_it_is_shown_is_shown_as_it_was() -> None:
    scene = Scene()
    view = scene.view()
    for block in (3, 4, 9):
        scene.overwrite(block)
    assert view.read(0, len(scene.old)) == scene.old
    assert view.read(3 * BLOCK_BYTES - 512, 1024) == scene.old[3 * BLOCK_BYTES - 512 : 3 * BLOCK_BYTES + 512]


def test_a_block_that_is_overwritten_in_the_middle_of_a_read_is_shown_as_it_was() -> None:
    scene = Scene()

    class Racing:
        """The data file; whoever reads it loses the race against the overwrite."""

        def read(self, offset_bytes: int, length_bytes: int) -> bytes:
            scene.overwrite(offset_bytes // BLOCK_BYTES)
            return scene.data.read(offset_bytes, length_bytes)

    view = scene.view(Racing())  # type: ignore[arg-type]
    assert view.read(5 * BLOCK_BYTES, BLOCK_BYTES) == scene.old[5 * BLOCK_BYTES : 6 * BLOCK_BYTES]


def test_holes_are_zeros_and_a_complete_rescue_needs_no_volume() -> None:
    scene = Scene()
    scene.rescue.keep([Piece(0, 2, scene.old[: 2 * BLOCK_BYTES]), Piece(2, 4, None)])
    scene.store.end(scene.rescue, Stage.COMPLETE)
    scene.data.write(0, b"!" * len(scene.old))
    view = scene.view()
    assert view.read(0, 8 * BLOCK_BYTES) == scene.old[: 2 * BLOCK_BYTES] + bytes(6 * BLOCK_BYTES)


@pytest.mark.parametrize("stage", [Stage.PARTIAL, Stage.GIVEN_UP, Stage.NOTHING])
def test_what_is_not_the_old_content_any_more_is_not_shown_as_if_it_were(stage: Stage) -> None:
    scene = Scene()
    view = scene.view()
    scene.overwrite(1)
    scene.store.end(scene.rescue, stage)
    with pytest.raises(StorageError, match="does not show the old content any more"):
        view.read(2 * BLOCK_BYTES, BLOCK_BYTES)
    mixed = scene.view(partial=True)
    assert mixed.read(2 * BLOCK_BYTES, BLOCK_BYTES) == scene.old[2 * BLOCK_BYTES : 3 * BLOCK_BYTES]


def test_what_a_mount_writes_is_seen_by_it_and_by_nobody_else() -> None:
    scene = Scene()
    with tempfile.TemporaryFile() as file:
        overlay = Overlay(scene.view(), file)
        overlay.write(BLOCK_BYTES, b"j" * 1024)
        assert overlay.read(BLOCK_BYTES, 1024) == b"j" * 1024
        mixed = overlay.read(BLOCK_BYTES - 512, 2048)
        assert (
            mixed
            == scene.old[BLOCK_BYTES - 512 : BLOCK_BYTES]
            + b"j" * 1024
            + scene.old[BLOCK_BYTES + 1024 :][:512]
        )
    assert scene.data.read(0, len(scene.old)) == scene.old
