"""Answers are found in what a connection brings, and errors become sentences."""

from __future__ import annotations

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_answer import (
    AgentDownError,
    CommandError,
    NoAnswerError,
    NotConfiguredError,
    NotInstalledError,
    Output,
    find_json,
    plain_errors,
    read_answer,
    read_output,
)

CLIXML = (
    '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
    '<S S="verbose">not this</S><S S="Error">Access is denied_x000D__x000A_</S></Objs>'
)


def test_the_output_of_a_posix_host_is_taken_as_it_is() -> None:
    assert read_output(3, '{"a": 1}\r\n', " oops\n") == Output(3, '{"a": 1}', "oops")


def test_a_windows_host_tells_exit_code_and_errors_behind_marks() -> None:
    told = '{"a": 1}\r\n#twinhull-stderr\r\nerror ü\r\n\r\n#twinhull-exit=9\r\n'
    assert read_output(1, told, "") == Output(9, '{"a": 1}', "error ü")
    assert read_output(1, "#twinhull-stderr\n\n#twinhull-exit=-1073741510\n", "") == Output(
        -1073741510, "", ""
    )


def test_marks_in_the_answer_itself_are_no_marks() -> None:
    told = '{"a":\n"#twinhull-stderr"}\n#twinhull-stderr\n\n#twinhull-exit=0\n'
    assert find_json(read_output(0, told, "").stdout) == {"a": "#twinhull-stderr"}


def test_clixml_is_undressed() -> None:
    assert plain_errors(CLIXML) == "Access is denied"
    assert plain_errors("#< CLIXML\n<Objs broken") == "<Objs broken"
    assert plain_errors("plain") == "plain"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1]}',
        'sudo: unable to resolve host\n{"a":\n [1]}\nConnection closed',
        '\rworking   \r\n {"a": [1]}',
        '{not json}\n{"a": [1]}',
    ],
)
def test_the_answer_is_found_among_other_lines(text: str) -> None:
    assert find_json(text) == {"a": [1]}


def test_a_list_is_an_answer_too() -> None:
    assert read_answer(Output(0, '[{"kind": "ca"}]', ""), "x") == [{"kind": "ca"}]


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [(9, AgentDownError), (3, NotConfiguredError), (127, NotInstalledError), (7, CommandError)],
)
def test_an_error_keeps_its_kind_and_its_remedy(exit_code: int, kind: type[CommandError]) -> None:
    text = f'{{"ok": false, "error": "It failed.", "remedy": "Do this.", "exit_code": {exit_code}}}'
    with pytest.raises(kind) as caught:
        read_answer(Output(1, text, ""), "x")
    assert caught.type is kind
    assert str(caught.value) == "It failed. Do this."
    assert caught.value.exit_code == exit_code


def test_problems_of_a_configuration_are_told_by_file_and_line() -> None:
    text = '{"ok": false, "problems": [{"file": "standard input", "line": 4, "message": "no unit"}]}'
    with pytest.raises(NotConfiguredError, match="standard input:4: no unit"):
        read_answer(Output(3, text, ""), "x")


def test_a_program_that_is_not_there_is_told_with_its_path() -> None:
    with pytest.raises(NotInstalledError, match="there is no /usr/local/bin/twinhull on this host"):
        read_answer(Output(127, "", "sh: 1: /usr/local/bin/twinhull: not found"), "/usr/local/bin/twinhull")


def test_what_is_no_answer_is_shown_with_its_end() -> None:
    with pytest.raises(NoAnswerError) as caught:
        read_answer(Output(137, "", "x" * 500 + " Killed"), "twinhull")
    assert "exit code 137" in caught.value.what
    assert caught.value.what.endswith(" Killed")
    assert len(caught.value.what) < 500
