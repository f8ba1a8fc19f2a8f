"""What a copy overwrote, kept and looked at on a Windows host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

from twinhull.agent.agent import Agent
from twinhull.agent.jobs import Job
from twinhull.agent.rescuing import Rescues
from twinhull.core.identity import Id
from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import AttachError, StorageError, UsageError
from twinhull.storage.platform import platform_directory
from twinhull.storage.rescue_format import Kind, Piece
from twinhull.storage.volume import Volume
from twinhull.worker.places import open_rescue_store, volume_directory

SIZE_BYTES = 64 << 20
OLD, NEW = b"old content".ljust(BLOCK_BYTES, b"."), b"new content".ljust(BLOCK_BYTES, b".")


class Scene:
    """A node whose half-copied replica lost its source, with the rescue of what the copy overwrote."""

    def __init__(self, directory: Path) -> None:
        self.ended: list[str] = []
        node = SimpleNamespace(node="b", data_dir=directory / "data", run_dir=directory / "run")
        module = SimpleNamespace(size_bytes=SIZE_BYTES, folder=str(directory / "VM1"))
        cluster = SimpleNamespace(
            cluster="lyon", rescue=SimpleNamespace(share_percent=50, expire_after_s=86400.0), module=lambda _name: module
        )  # fmt: skip
        replacing = SimpleNamespace(while_ended=self._while_ended)
        self.agent = SimpleNamespace(node=node, cluster=cluster, replacing=replacing)
        self.rescues = Rescues(cast("Agent", self.agent))
        self.path = volume_directory(cast("Any", node), "VM1")
        self.path.mkdir(parents=True)
        volume = Volume.create(
            platform_directory(self.path), size_bytes=SIZE_BYTES, replica_id=Id(b"r" * 16), minimum_bytes=SIZE_BYTES
        )  # fmt: skip
        volume.write(0, OLD)
        volume.write(5 * BLOCK_BYTES, OLD)
        store = open_rescue_store(
            cast("Any", node), cast("Any", cluster), "VM1", volume.record.replica_id.hex()
        )
        _, rescue = store.begin(Kind.RESYNC, "a went on alone", "0123abcd")
        rescue.keep([Piece(5, 1, OLD), Piece(9, 1, None)])
        rescue.close()
        store.close()
        volume.write(5 * BLOCK_BYTES, NEW)
        volume.write(9 * BLOCK_BYTES, NEW)
        volume.flush()
        self.volume: Volume | None = volume

    def _while_ended(self, module: str, work: Any) -> None:
        assert self.volume is not None
        self.volume.close()
        self.volume = None
        self.ended.append(module)
        work()

    def close(self) -> None:
        if self.volume is not None:
            self.volume.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def job() -> Job:
    return Job("1", "rescue", "VM1", 0.0)


def test_a_rescue_is_listed_and_shown(scene: Scene) -> None:
    [listed] = scene.rescues.all_of("VM1")
    assert (listed["rescue"], listed["kind"], listed["state"], listed["mounted"]) == (1, "resync", "open", "")
    shown = scene.rescues.show("VM1", 1)
    assert (shown["kept_bytes"], shown["kept_holes_bytes"]) == (2 * BLOCK_BYTES, BLOCK_BYTES)


def test_what_needs_a_mount_is_refused_with_what_can_be_done_instead(scene: Scene, tmp_path: Path) -> None:
    for attempt in (
        lambda: scene.rescues.mount("VM1", 1, partial=False),
        lambda: scene.rescues.diff("VM1", 1, job()),
        lambda: scene.rescues.export_files("VM1", 1, tmp_path / "files", [], job()),
    ):
        with pytest.raises(AttachError, match="cannot be mounted on a Windows host") as refused:
            attempt()
        assert r"rescue export VM1 1 --image D:\VM1-1.vhd" in refused.value.remedy
    assert not (tmp_path / "files").exists()
    assert not scene.rescues.unmount("VM1", 1)


@pytest.mark.parametrize("name", ["old.img", "old.VHD"])
def test_the_whole_old_volume_is_exported_beside_a_worker_that_holds_it(
    scene: Scene, tmp_path: Path, name: str
) -> None:
    scene.rescues.export_image("VM1", 1, tmp_path / name, job(), partial=False)
    content = (tmp_path / name).read_bytes()
    assert content[:BLOCK_BYTES] == content[5 * BLOCK_BYTES : 6 * BLOCK_BYTES] == OLD
    assert content[9 * BLOCK_BYTES : SIZE_BYTES].count(0) == SIZE_BYTES - 9 * BLOCK_BYTES
    assert content[SIZE_BYTES:][:8] == (b"conectix" if name == "old.VHD" else b"")
    with pytest.raises(UsageError, match="is there already"):
        scene.rescues.export_image("VM1", 1, tmp_path / name, job(), partial=False)


def test_a_half_copied_replica_is_rolled_back(scene: Scene) -> None:
    said = scene.rescues.roll_back("VM1", 1, job())
    assert scene.ended == ["VM1"] and "start VM1 --as-primary" in said
    volume = Volume.open(platform_directory(scene.path))
    try:
        assert volume.read(0, BLOCK_BYTES) == volume.read(5 * BLOCK_BYTES, BLOCK_BYTES) == OLD
        assert volume.read(9 * BLOCK_BYTES, BLOCK_BYTES) == bytes(BLOCK_BYTES)
    finally:
        volume.close()
    assert scene.rescues.show("VM1", 1)["state"] == "rolled-back"


def test_a_rescue_that_no_copy_needs_any_more_is_dropped(scene: Scene) -> None:
    with pytest.raises(StorageError, match="a copy that is not complete"):
        scene.rescues.drop("VM1", 1)
    scene.rescues.roll_back("VM1", 1, job())
    assert scene.rescues.danger_lines("VM1", "drop", 1)
    scene.rescues.drop("VM1", 1)
    assert scene.rescues.all_of("VM1") == []
