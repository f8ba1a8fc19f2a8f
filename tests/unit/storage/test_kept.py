"""What a repair overwrites is durable before, can be read back, and never fills the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from twinhull.errors import DiskError, StorageError
from twinhull.storage.kept import BLOCKS_FILE, IDLE_S, Keeper, KeptBlock, read_kept

NOW_S = 1_790_000_000.0


class Clock:
    """A clock in the test's hands."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def keeper(directory: Path, clock: Clock | None = None, **settings: int) -> Keeper:
    return Keeper(
        directory / "rescue" / "VM1",
        lambda: {"module": "VM1"},
        now=lambda: NOW_S,
        clock=clock or Clock(),
        **settings,
    )


def stores(directory: Path) -> list[Path]:
    return sorted((directory / "rescue" / "VM1").glob("verify-*"))


def test_blocks_are_read_back_in_their_order(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    blocks = [KeptBlock(1 << 40, b"one" * 100), KeptBlock(0, bytes(32768)), KeptBlock(0, b"again")]
    for block in blocks:
        kept.keep(*block)
    kept.close()
    (store,) = stores(tmp_path)
    assert store == kept.path
    assert list(read_kept(store)) == blocks
    assert json.loads((store / "about.json").read_text()) == {"format": 1, "module": "VM1"}
    assert {file.stat().st_mode & 0o777 for file in store.iterdir()} == {0o600}


def test_a_block_is_synced_before_it_counts_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    kept = keeper(tmp_path)
    kept.keep(0, b"x" * 512)
    assert synced == [64 + 512]


def test_a_torn_last_record_is_left_out(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    kept.keep(0, b"first" * 50)
    kept.keep(512, b"second" * 50)
    (store,) = stores(tmp_path)
    file = store / BLOCKS_FILE
    whole = file.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 310, 64 + 250 + 3):
        file.write_bytes(whole[:cut])
        assert [block.offset_bytes for block in read_kept(store)] == [0]
    file.write_bytes(b"something else" * 10)
    with pytest.raises(StorageError, match="something else than kept"):
        list(read_kept(store))


def test_a_pause_ends_a_store(tmp_path: Path) -> None:
    clock = Clock()
    kept = keeper(tmp_path, clock)
    kept.keep(0, b"x")
    clock.now_s = IDLE_S + 1
    kept.keep(1, b"y")
    assert [[block.offset_bytes for block in read_kept(store)] for store in stores(tmp_path)] == [[0], [1]]


def test_all_repairs_of_a_module_share_one_bound(tmp_path: Path) -> None:
    keeper(tmp_path, limit_bytes=2000).keep(0, b"x" * 1000)
    kept = keeper(tmp_path, limit_bytes=2000)
    kept.keep(0, b"x" * 500)
    with pytest.raises(StorageError, match="the most that is kept"):
        kept.keep(0, b"x" * 1000)
    assert sum(len(list(read_kept(store))) for store in stores(tmp_path)) == 2


def test_a_disk_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "rescue").write_text("a file where the directory should be")
    with pytest.raises(DiskError, match="cannot be kept in"):
        keeper(tmp_path).keep(0, b"x")
