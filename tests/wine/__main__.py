"""By hand: `python -m tests.wine make | python ARGUMENTS | pytest ARGUMENTS | clean`, in a prefix that is removed again."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from . import template
from .prefix import Prefix
from .session import Ran, WineError


def main(words: list[str]) -> int:
    """Do what the command line says; the exit status."""
    if words[:1] == ["clean"]:
        shutil.rmtree(template.CACHE, ignore_errors=True)
        return 0
    if words[:1] == ["make"]:
        sys.stdout.write(f"{template.python()}\n")
        return 0
    if words[:1] not in (["python"], ["pytest"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    source = template.python()
    with tempfile.TemporaryDirectory(prefix="run-", dir=template.CACHE) as directory:
        prefix = Prefix(Path(directory) / "prefix", source)
        try:
            ran = _run(prefix, words)
        finally:
            prefix.stop()
    sys.stdout.write(ran.output)
    sys.stderr.write(ran.errors)
    return ran.exit_code


def _run(prefix: Prefix, words: list[str]) -> Ran:
    prefix.start()
    if words[0] == "python":
        return prefix.python(*words[1:], timeout_s=3600)
    return prefix.pytest(*words[1:], timeout_s=3600)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WineError as error:
        sys.exit(str(error))
