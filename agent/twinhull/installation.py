"""Which installation this process runs from.

An upgrade puts a new version beside the old one and has a link (`current`) point to it. What runs already must go on with
its own files: a process that was started by way of the link would load modules of two versions, and an agent would
start workers of another version than its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def own_python(prefix: str = sys.prefix, executable: str = sys.executable) -> Path:
    """This installation's interpreter, by a path that no switched link changes.

    Args:
        prefix: directory of the environment that this process runs in.
        executable: its interpreter, by the path that it was started with. It may be a link itself (that is how a
            virtual environment is made); only the way to the environment is resolved.
    """
    inside = os.path.relpath(executable, prefix)
    if inside.startswith(os.pardir):
        return Path(executable)
    return Path(os.path.realpath(prefix)) / inside


def pin(argv: Sequence[str]) -> None:
    """Start this process anew by its installation's own path, unless it was started so. The process id stays.

    To be called before anything else is loaded. On Windows the service is registered by the own path instead.

    Args:
        argv: what the interpreter is to be given.
    """
    python = str(own_python())
    if os.name != "nt" and python != sys.executable:
        os.execv(python, [python, *argv])  # noqa: S606 - no shell is wanted
