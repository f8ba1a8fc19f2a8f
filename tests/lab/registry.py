"""The machine's list of labs: who made what, so that another process can remove it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .commands import LabError

REGISTRY = Path("/run/twinhull-lab")
MADE = "made-directories"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the registry against other labs."""
    REGISTRY.mkdir(mode=0o700, exist_ok=True)
    with (REGISTRY / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def names() -> list[str]:
    """Every lab that is written down."""
    return sorted(file.stem for file in REGISTRY.glob("*.json"))


def read(name: str) -> dict[str, Any]:
    """What is written down of a lab.

    Raises:
        LabError: there is no such lab.
    """
    try:
        words: dict[str, Any] = json.loads((REGISTRY / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabError(f"there is no lab {name}: `make lab` makes one") from error
    return words


def write(name: str, words: dict[str, Any]) -> None:
    """Write a lab down, whole or not at all."""
    REGISTRY.mkdir(mode=0o700, exist_ok=True)
    draft = REGISTRY / f"{name}.draft.{os.getpid()}"
    draft.write_text(json.dumps(words, indent=1), encoding="utf-8")
    draft.replace(REGISTRY / f"{name}.json")


def exists(name: str) -> bool:
    """Whether a lab of this name is written down."""
    return (REGISTRY / f"{name}.json").exists()


def remove(name: str) -> None:
    """Strike a lab off; with the last one the directories made for mount points go too. Idempotent."""
    with locked():
        (REGISTRY / f"{name}.json").unlink(missing_ok=True)
        if names():
            return
        made = REGISTRY / MADE
        if made.exists():
            for line in reversed(made.read_text(encoding="utf-8").splitlines()):
                with contextlib.suppress(OSError):
                    Path(line).rmdir()
            made.unlink()


def make_directories(paths: Sequence[str]) -> None:
    """Make the directories that nodes mount theirs over, noting those that were missing."""
    with locked():
        for path in paths:
            missing = [p for p in (Path(path), *Path(path).parents) if not p.exists()]
            for directory in reversed(missing):
                directory.mkdir()
                with (REGISTRY / MADE).open("a", encoding="utf-8") as file:
                    file.write(f"{directory}\n")
