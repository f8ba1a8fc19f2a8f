"""What the lab tells the person in front of it."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line on the standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line on the standard error output, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
