"""No string breaks out of a command line, on either platform."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_command import (
    LINUX_COMMAND,
    WINDOWS_COMMAND,
    posix_command,
    powershell_literal,
    powershell_script,
    twinhull_argv,
)

MAX_COMMAND_LINE_CHARS = 8191
"""What cmd.exe takes, through which WinRM starts PowerShell."""
NASTY = (
    "plain",
    "",
    "a b",
    "it's",
    'say "hi"',
    "$(touch x)",
    "`touch x`",
    "; exit 9; '",
    "a\nb\r\nc",
    "C:\\dir with space\\",
    '\\\\"end\\',
    "😀 Größe",
    "\u2018\u2019\u201a\u201b",
    "tab\there",
    "%PATH% ^&|<>",
    "${x} @{a=1}",
    "\x01\x7f",
)
# Captured from the real engine (System.Management.Automation 7.6): each expression gave exactly the string before it.
LITERALS = (
    ("plain", "'plain'"),
    ("", "''"),
    ("it's", "(''+'it'+[char]39+'s')"),
    ("$(throw 1)", "'$(throw 1)'"),
    ("`n$env:PATH;exit 3", "'`n$env:PATH;exit 3'"),
    ("'; exit 9; '", "(''+[char]39+'; exit 9; '+[char]39)"),
    ("\u2018\u2019\u201a\u201b'", "(''+[char]8216+[char]8217+[char]8218+[char]8219+[char]39)"),
    ("a\nb\r\nc", "(''+'a'+[char]10+'b'+[char]13+[char]10+'c')"),
    ("C:\\dir with space\\", "'C:\\dir with space\\'"),
    ("😀 Größe", "(''+[char]55357+[char]56832+' Gr'+[char]246+[char]223+'e')"),
    ("tab\there", "(''+'tab'+[char]9+'here')"),
    ("\x01\x7f", "(''+[char]1+[char]127)"),
)
# Captured from the same engine: what a program received as arguments when the script passed this line to it.
COMMAND_LINES = (
    ((), "''"),
    (("status", "--json"), "'status --json'"),
    (("", "a b"), '\'"" "a b"\''),
    (('say "hi"',), '\'"say \\"hi\\""\''),
    (("C:\\dir with space\\",), "'\"C:\\dir with space\\\\\"'"),
)


def test_the_command_is_where_the_collection_installs_it() -> None:
    assert twinhull_argv(None, ["status"], windows=False) == [*LINUX_COMMAND, "status", "--json"]
    assert twinhull_argv([], ["status"], windows=True) == [*WINDOWS_COMMAND, "status", "--json"]
    assert twinhull_argv(["/x", "y"], ["status"], windows=True) == ["/x", "y", "status", "--json"]


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        twinhull_argv(None, ["stop", "VM1\0"], windows=False)


def test_a_posix_shell_passes_every_string_on_as_it_is() -> None:
    program = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *NASTY]
    line = posix_command(program, with_input=False)
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    assert json.loads(done.stdout) == list(NASTY)


def test_a_posix_command_reads_nothing_unless_it_is_given_something() -> None:
    assert posix_command(["x"], with_input=False) == "x </dev/null"
    assert posix_command(["x"], with_input=True) == "x"


@pytest.mark.parametrize(("text", "expression"), LITERALS)
def test_a_string_is_a_powershell_expression_that_is_nothing_but_the_string(
    text: str, expression: str
) -> None:
    assert powershell_literal(text) == expression


@pytest.mark.parametrize("text", NASTY)
def test_nothing_but_printable_ascii_without_apostrophes_stands_between_quotes(text: str) -> None:
    for index, part in enumerate(powershell_literal(text).split("'")):
        if index % 2:
            assert part.isascii()
            assert part.isprintable()
        else:
            assert not set(part) - set("()+[]char0123456789")


@pytest.mark.parametrize(("arguments", "expression"), COMMAND_LINES)
def test_arguments_are_one_line_by_the_rules_of_windows_programs(
    arguments: tuple[str, ...], expression: str
) -> None:
    script = powershell_script(["x.exe", *arguments], with_input=False)
    assert f"\n$s.Arguments={expression}\n" in script


def test_standard_input_is_read_only_when_there_is_some() -> None:
    assert "$input" in powershell_script(["x.exe"], with_input=True)
    assert "$input" not in powershell_script(["x.exe"], with_input=False)


def test_the_longest_usual_command_fits_the_command_line() -> None:
    argv = twinhull_argv(
        None, ["unprotect", "M" * 63, f"--yes={'M' * 63}", f"--target={'D' * 200}"], windows=True
    )
    script = powershell_script(argv, with_input=True)
    encoded_chars = len(script.encode("utf-16-le")) * 4 // 3 + 4
    assert encoded_chars + 100 < MAX_COMMAND_LINE_CHARS


def test_no_line_of_the_script_changes_when_its_indentation_is_taken() -> None:
    script = powershell_script(["x.exe", "a\n  b"], with_input=True)
    assert "\n".join(line.strip() for line in script.splitlines()) == script.rstrip("\n")
