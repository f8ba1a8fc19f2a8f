"""The console's password is kept as a salted hash only, is shown nowhere, and is set once."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Console

from twinhull.cli.shell import read_secret
from twinhull.errors import UsageError
from twinhull.log import read_audit

SECRET = "Gärtnerei: 'fünf' \\ $HOME 🔑"


@pytest.fixture
def node(console: Console, tmp_path: Path) -> Console:
    with console.node_config.open("a") as file:
        file.write(f"log_dir: {tmp_path / 'log'}\n")
    console.stdin = SECRET
    return console


def everything_below(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_password_is_set_once_and_found_again(node: Console, tmp_path: Path) -> None:
    assert node.run("console", "password", "--check") == 1
    assert node.out == "No password is set for the console of node a.\n"
    assert node.run("console", "password", "--json") == 0
    assert json.loads(node.out)["changed"] is True
    assert (tmp_path / "console.yml").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "console.yml").read_bytes()
    assert node.run("console", "password", "--check") == 0
    assert node.run("console", "password", "--json") == 0
    assert json.loads(node.out)["changed"] is False
    assert (tmp_path / "console.yml").read_bytes() == before
    node.stdin = SECRET.upper()
    assert node.run("console", "password", "--check", "--json") == 1
    assert json.loads(node.out) == {
        "ok": False, "is_set": True, "matches": False,
        "message": "It is not the password of the console of node a.",
    }  # fmt: skip
    assert node.run("console", "password") == 0
    assert node.run("console", "password", "--check") == 0


def test_a_password_stands_in_no_file_log_or_output(node: Console, tmp_path: Path) -> None:
    assert node.run("console", "password") == 0
    for secret in (SECRET, SECRET.split()[0], "fünf"):
        assert secret.encode() not in everything_below(tmp_path)
        assert secret not in node.out + node.err
    (entry,) = read_audit(tmp_path / "log" / "audit.log")
    assert (entry.what, entry.details) == ("console password", {})


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "is empty"),
        ("seven77", "has 7 letters"),
        ("x" * 1025, "has 1025 letters"),
        ("two lines\nof text", "line break"),
        ("two lines\rof text", "line break"),
        ("two lines\u2028of text", "line break"),
    ],
)
def test_what_cannot_be_a_password_is_refused_and_the_old_one_stays(
    node: Console, tmp_path: Path, password: str, why: str
) -> None:
    assert node.run("console", "password") == 0
    before = (tmp_path / "console.yml").read_bytes()
    node.stdin = password
    assert node.run("console", "password") == 2
    assert why in node.err
    assert len(password) < 8 or password not in node.err
    assert (tmp_path / "console.yml").read_bytes() == before
    assert node.run("console", "password", "--check") == 1


def test_a_damaged_file_is_said_and_not_overwritten_in_silence(node: Console, tmp_path: Path) -> None:
    assert node.run("console", "password") == 0
    kept = (tmp_path / "console.yml").read_text()
    for damaged in (
        "",
        "password: 5",
        kept.replace("n: 32768", "n: 1073741824"),
        kept.replace("scrypt", "rot13"),
    ):
        (tmp_path / "console.yml").write_text(damaged)
        assert node.run("console", "password") == 3
        assert "remove the file first" in node.err
        assert (tmp_path / "console.yml").read_text() == damaged


def test_a_password_that_cannot_be_stored_says_so(node: Console, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    moved = node.node_config.rename(tmp_path / "etc" / "node.yml")
    node.node_config = moved
    (tmp_path / "etc" / "console.yml").mkdir()
    assert node.run("console", "password") == 3


class Typed(io.TextIOWrapper):
    """Standard input of a script."""

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(("piped", "read"), [(b"abc def", "abc def"), (b"abc\n", "abc"), (b"abc\r\n", "abc")])
def test_one_line_break_at_the_end_is_no_part_of_the_password(piped: bytes, read: str) -> None:
    assert read_secret(Typed(io.BytesIO(piped)), io.StringIO()) == read


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        read_secret(Typed(io.BytesIO(b"\xff\xfe\x00secret")), io.StringIO())
