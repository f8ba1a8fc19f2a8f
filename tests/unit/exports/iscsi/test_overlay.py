"""Discard mode: the host writes, the volume stays as it is."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import replace

import pytest
from tests.unit.exports.iscsi.initiator import (
    MIB,
    OPEN,
    SIZE_BYTES,
    Initiator,
    MemoryVolume,
    cdb16,
    logged_in,
    read10,
    write10,
)

from twinhull.exports.base import Op
from twinhull.exports.iscsi.overlay import Overlay


def frozen(limit_bytes: int = MIB, unit_bytes: int = 512) -> tuple[Initiator, MemoryVolume, bytes]:
    """A disk in discard mode, and what its volume holds."""
    initiator, volume = logged_in(replace(OPEN, overlay_limit_bytes=limit_bytes, unit_bytes=unit_bytes))
    volume.content[:] = random.Random(1).randbytes(SIZE_BYTES)
    initiator.target.discard_writes()
    return initiator, volume, bytes(volume.content)


@pytest.mark.parametrize("unit_bytes", [512, 4096])
def test_every_kind_of_write_is_seen_by_the_host_and_by_nobody_else(unit_bytes: int) -> None:
    initiator, volume, before = frozen(unit_bytes=unit_bytes)
    data = os.urandom(8192)
    assert initiator.run(write10(3, 16, 0x08), out=data).status == 0
    assert initiator.run(read10(3, 16), room=8192).data == data
    assert initiator.run(cdb16(0x93, 10, 4), out=bytes(512)).status == 0
    expected = data[: 7 * 512] + bytes(4 * 512) + data[11 * 512 :]
    assert initiator.run(read10(3, 16), room=8192).data == expected
    assert initiator.run(cdb16(0x8A, 11, 1), out=b"z" * 512).status == 0
    assert initiator.run(read10(11, 1), room=512).data == b"z" * 512
    compare = bytes.fromhex("8900 000000000000000b 000000 01 0000")
    assert initiator.run(compare, out=b"z" * 512 + b"y" * 512).status == 0
    assert initiator.run(read10(11, 1), room=512).data == b"y" * 512
    assert initiator.run(bytes((0x35,))).status == 0
    unmap = bytes.fromhex("0016 0010 00000000 0000000000000000 00001fff 00000000")
    assert initiator.run(bytes.fromhex("42000000000000001800"), out=unmap).status == 0
    assert initiator.run(read10(0, 64), room=32768).data == bytes(32768)
    assert initiator.run(read10(0x1FFF, 1), room=512).data == before[-512:]
    assert bytes(volume.content) == before
    assert {seen.op for seen in volume.seen} == {Op.READ}


def test_when_it_is_full_writes_fail_and_the_volume_is_still_not_touched() -> None:
    initiator, volume, before = frozen(limit_bytes=8192)
    assert initiator.run(write10(0, 16), out=b"a" * 8192).status == 0
    assert initiator.run(write10(16, 1), out=b"b" * 512).sense == (3, 0x0C, 0)
    assert initiator.run(write10(8, 8), out=b"c" * 4096).status == 0, "what is held may be written again"
    assert initiator.run(read10(0, 17), room=17 * 512).data == b"a" * 4096 + b"c" * 4096 + before[8192:8704]
    assert initiator.target.overlay_bytes == 8192
    assert bytes(volume.content) == before


def test_what_was_under_way_when_it_began_still_reaches_the_volume_and_nothing_after_it() -> None:
    initiator, volume = logged_in()
    volume.held = []
    initiator.command_pdu(write10(0, 1), flags=0xA1, expected=512, data=b"1" * 512)
    tag, [r2t] = initiator.command_pdu(write10(1, 1), flags=0xA1, expected=512)
    initiator.target.discard_writes()
    [thrown_away] = initiator.data_out(tag, r2t.word(20), b"2" * 512, 0)
    assert thrown_away.word(16) == tag
    assert initiator.target.in_flight == 1
    volume.release()
    assert volume.content[:1024] == b"1" * 512 + bytes(512)
    assert len(initiator.heard()) == 1
    assert initiator.run(read10(0, 2), room=1024).data == b"1" * 512 + b"2" * 512


@pytest.mark.parametrize("seed", range(5))
def test_an_overlay_equals_a_model(seed: int) -> None:
    choice = random.Random(seed)
    sectors = 64
    below = choice.randbytes(sectors * 512)
    model, overlay = bytearray(below), Overlay(MIB)
    for _ in range(300):
        start = choice.randrange(sectors)
        count = choice.randrange(1, sectors - start + 1)
        here = slice(start * 512, (start + count) * 512)
        if choice.random() < 0.5:
            data = choice.randbytes(count * 512)
            assert overlay.write(start * 512, data) == 0
            model[here] = data
        else:
            assert overlay.discard(start * 512, count * 512) == 0
            model[here] = bytes(count * 512)
        start = choice.randrange(sectors)
        count = choice.randrange(1, sectors - start + 1)
        here = slice(start * 512, (start + count) * 512)
        assert overlay.read(start * 512, below[here]) == bytes(model[here])


def test_an_overlay_of_many_zero_ranges_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.exports.iscsi.overlay.MAX_ZERO_RANGES", 3)
    overlay = Overlay()
    assert [overlay.discard(n * 1024, 512) for n in range(4)] == [0, 0, 0, errno.ENOSPC]
    assert overlay.discard(512, 512) == 0, "one that joins two takes no room"
