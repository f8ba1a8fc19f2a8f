"""The entry of the `twinhull` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import TwinhullError
from .exit_codes import FAILED, INTERRUPTED
from .parser import build_parser
from .shell import Shell, terminal_shell


def main(argv: Sequence[str] | None = None, shell: Shell | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None: those of this process.
        shell: terminal, clock and agents; None: the real ones.

    Returns the exit code (see `twinhull exit-codes`).
    """
    shell = shell or terminal_shell()
    words = list(sys.argv[1:] if argv is None else argv)
    shell.json = "--json" in words
    try:
        args = build_parser().parse_args(words)
        shell.node_config = args.node_config or shell.node_config
        shell.target = args.node
        return int(args.run(shell, args))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TwinhullError as error:
        _tell(shell, error)
        return error.exit_code
    except KeyboardInterrupt:
        shell.remark("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _tell(shell: Shell, error: TwinhullError) -> None:
    if shell.json:
        plain = {
            "ok": False,
            "error": error.what,
            "message": error.what,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
        shell.result(plain, "")
        return
    shell.remark(f"twinhull: {error.what}")
    if error.remedy:
        shell.remark(error.remedy)


if __name__ == "__main__":
    sys.exit(main())
