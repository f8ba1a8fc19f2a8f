"""What a worker printed last is what people are told when it cannot begin."""

from __future__ import annotations

from pathlib import Path

from twinhull.agent.supervisor import MAX_WORDS_BYTES, last_words


def test_the_last_line_is_told_without_its_full_stop(tmp_path: Path) -> None:
    output = tmp_path / "VM1.out"
    output.write_text("a warning\nThe metadata cannot be used. Nothing was changed.\n\n")
    assert last_words(output, 0) == "The metadata cannot be used. Nothing was changed"


def test_what_an_earlier_worker_printed_is_not_told(tmp_path: Path) -> None:
    output = tmp_path / "VM1.out"
    output.write_text("The port is taken.\n")
    assert last_words(output, output.stat().st_size) == ""


def test_of_a_long_output_only_the_end_is_read(tmp_path: Path) -> None:
    output = tmp_path / "VM1.out"
    output.write_text("x\n" * MAX_WORDS_BYTES + "the end\n")
    assert last_words(output, 0) == "the end"


def test_an_output_that_is_missing_tells_nothing(tmp_path: Path) -> None:
    assert last_words(tmp_path / "missing", 0) == ""
