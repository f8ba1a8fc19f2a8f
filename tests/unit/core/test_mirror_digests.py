"""Digests of blocks: equal where content and key are, and nowhere else."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.core.mirror_kit import Bench

from twinhull.core import effects as fx
from twinhull.core.frames import CompareZero, Differ, Digests, MarksEnd
from twinhull.core.identity import Id
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror_digests import DIGEST_BYTES, digests_of, key_of, zero_digest

KEY = key_of(Id(b"s" * 16))


def block(fill: int) -> bytes:
    return bytes([fill]) * BLOCK_BYTES


@pytest.mark.parametrize("key", [b"", KEY])
def test_each_block_has_its_own_digest(key: bytes) -> None:
    data = block(1) + block(2) + block(1)
    one, two, three = (digests_of(data, key)[at : at + DIGEST_BYTES] for at in (0, 16, 32))
    assert one == three != two
    assert digests_of(memoryview(data)[BLOCK_BYTES:], key) == two + three
    assert zero_digest(key) == digests_of(bytes(BLOCK_BYTES), key)


def test_a_keyed_digest_is_gmac_with_a_key_made_of_the_session() -> None:
    assert hashlib.blake2b(b"s" * 16, digest_size=16, person=b"twinhull-compare").digest() == KEY
    assert digests_of(block(1), KEY) == AESGCM(KEY).encrypt(bytes(12), b"", block(1))


def test_without_a_key_digests_are_those_that_older_agents_make() -> None:
    assert digests_of(block(1)) == hashlib.blake2b(block(1), digest_size=16).digest()


def test_one_bit_or_another_session_makes_another_digest() -> None:
    changed = bytearray(block(1))
    changed[-1] ^= 1
    assert digests_of(changed, KEY) != digests_of(block(1), KEY)
    assert digests_of(block(1), key_of(Id(b"t" * 16))) != digests_of(block(1), KEY)


def test_a_session_with_a_key_compares_with_it_on_both_nodes() -> None:
    source = Bench()
    source.mirror.begin_session(primary=True, everything=True, digest_key=KEY, now_s=source.now_s)
    source.frame(MarksEnd())
    source.mirror.start_copy(source.now_s)
    read = source.asked(fx.ReadLocal)[0]
    source.open.remove(read)
    source.mirror.read_done(read.ticket, block(1) + block(2), None, source.now_s)
    (sent,) = source.frames(Digests)
    assert sent.digests == digests_of(block(1) + block(2), KEY)

    target = Bench()
    target.mirror.begin_session(primary=False, digest_key=KEY, now_s=target.now_s)
    target.frame(sent, CompareZero(7, 0, BLOCK_BYTES))
    looks = target.asked(fx.DigestLocal)
    assert [look.key for look in looks] == [KEY, KEY]
    for look, content in zip(looks, (block(1) + block(9), bytes(BLOCK_BYTES)), strict=True):
        target.mirror.digest_done(look.ticket, digests_of(content, KEY), None, target.now_s)
    assert [answer.flags for answer in target.frames(Differ)] == [b"\x00\x01", b"\x00"]
