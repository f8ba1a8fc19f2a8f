"""The machine's list of fleets: who made what, so that another process can use or remove it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.commands import LabError

REGISTRY = Path("/run/twinhull-fleet")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the registry against other makers of fleets."""
    REGISTRY.mkdir(mode=0o700, exist_ok=True)
    with (REGISTRY / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def names() -> list[str]:
    """Every fleet that is written down."""
    return sorted(file.stem for file in REGISTRY.glob("*.json"))


def exists(name: str) -> bool:
    """Whether a fleet of this name is written down."""
    return (REGISTRY / f"{name}.json").exists()


def read(name: str) -> dict[str, Any]:
    """What is written down of a fleet.

    Raises:
        LabError: there is no such fleet.
    """
    try:
        words: dict[str, Any] = json.loads((REGISTRY / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabError(
            f"there is no fleet {name}: `python -m tests.system.fleet up {name}` makes one"
        ) from error
    return words


def write(name: str, words: dict[str, Any]) -> None:
    """Write a fleet down, whole or not at all."""
    REGISTRY.mkdir(mode=0o700, exist_ok=True)
    draft = REGISTRY / f"{name}.draft.{os.getpid()}"
    draft.write_text(json.dumps(words, indent=1), encoding="utf-8")
    draft.replace(REGISTRY / f"{name}.json")


def remove(name: str) -> None:
    """Strike a fleet off. Idempotent."""
    (REGISTRY / f"{name}.json").unlink(missing_ok=True)
