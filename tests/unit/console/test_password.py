"""A kept password can be recognised and not be read back, whatever wrote it down."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.console.password import Cost, PasswordHash, load, store

CHEAP = Cost(n=1 << 4, r=1, p=1)


def test_two_hashes_of_one_password_differ_and_both_recognise_it() -> None:
    one, other = PasswordHash.of("long enough", CHEAP), PasswordHash.of("long enough", CHEAP)
    assert (one.salt, one.digest) != (other.salt, other.digest)
    assert one.matches("long enough")
    assert other.matches("long enough")
    assert not one.matches("long enougH")
    assert not one.matches("")


def test_letters_are_the_same_however_a_keyboard_composes_them() -> None:
    assert PasswordHash.of("pässwörter", CHEAP).matches("pa\u0308sswo\u0308rter")


def test_spaces_at_the_ends_count() -> None:
    assert not PasswordHash.of(" long enough ", CHEAP).matches("long enough")


def test_a_hash_survives_its_file_with_its_own_cost(tmp_path: Path) -> None:
    path = tmp_path / "console.yml"
    assert load(path) is None
    for cost in (CHEAP, Cost(n=1 << 5, r=2, p=2)):
        kept = PasswordHash.of("long enough", cost)
        store(path, kept)
        assert load(path) == kept
    assert [found.name for found in tmp_path.iterdir()] == ["console.yml"]


def test_a_file_that_cannot_be_replaced_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "console.yml").mkdir()
    with pytest.raises(OSError, match="directory"):
        store(tmp_path / "console.yml", PasswordHash.of("long enough", CHEAP))
    assert [found.name for found in tmp_path.iterdir()] == ["console.yml"]


def test_the_usual_cost_is_what_an_attacker_pays_too() -> None:
    cost = Cost()
    assert cost.sane()
    assert 128 * cost.n * cost.r >= 32 << 20
