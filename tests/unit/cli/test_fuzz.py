"""Any words after `twinhull`: done or refused, with one of the exit codes that are documented."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cli.conftest import Console

from twinhull.cli.parser import build_parser
from twinhull.errors import UsageError

WORDS = (
    "status", "start", "stop", "swap", "verify", "protect", "unprotect", "config", "show", "check", "apply", "logs",
    "snapshot", "checker", "suspend", "resume", "restart", "exit-codes", "VM1", "nobody", "--json", "--yes", "--node",
    "a", "b", "c", "--forced", "--as-primary", "--mode", "save", "--repair", "--from", "--since", "1h", "-1", "--",
    "", "--help", "--version", "--level", "info", "--module", "--lines", "5", "0", "--watch", "--diff", "witness",
)  # fmt: skip
EXIT_CODES = range(131)
words = st.lists(st.sampled_from(WORDS) | st.text(max_size=12), max_size=7)
PATH_LIKE = ("/", ".")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=words)
def test_any_command_line_ends_with_a_code_and_no_traceback(
    console: Console, tmp_path: Path, argv: list[str]
) -> None:
    if any(word.startswith(PATH_LIKE) for word in argv) or "pki" in argv:
        return  # names of real files: not for a fuzzer
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with streams[0], streams[1], contextlib.chdir(tmp_path):  # some commands write a file beside them
        console.pauses = 50
        assert console.run(*argv) in EXIT_CODES


@settings(max_examples=150)
@given(words)
def test_the_parser_refuses_or_understands(argv: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            build_parser().parse_args(argv)
        except UsageError as error:
            assert str(error)
        except SystemExit as end:
            assert end.code == 0  # --help and --version
