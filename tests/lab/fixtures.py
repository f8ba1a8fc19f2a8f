"""Fixtures for tests that need a lab, and the words for machines that cannot have one.

Used through tests/conftest.py. A test that needs a lab carries the marker `lab`, one that boots a guest `guest`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import guest
from .commands import LabError
from .lab import Lab, check_machine

REPOSITORY = Path(__file__).resolve().parents[2]
MakeLab = Callable[..., Lab]
_numbers = itertools.count(1)


def why_not(*, libvirt: bool) -> str | None:
    """Why this machine cannot run a lab's tests, or None."""
    try:
        check_machine(libvirt=libvirt)
    except LabError as error:
        return str(error)
    return None


def skip_what_cannot_run(items: list[pytest.Item]) -> None:
    """Mark, by name and with the reason, the collected tests that this machine cannot run."""
    for marker, libvirt in (("lab", False), ("guest", True)):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = why_not(libvirt=libvirt) if marked else None
        if reason is not None:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Makes labs (arguments as `Lab`'s, without root and name) that are gone after the test."""
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        name = f"t{os.getpid()}-{next(_numbers)}"
        lab = Lab(tmp_path / name, name, **options)
        made.append(lab)
        return lab.up()

    try:
        yield make
    finally:
        for lab in made:
            lab.down()


@pytest.fixture(scope="session")
def guest_built() -> guest.Guest:
    """The guest, built once and kept in build/."""
    return guest.build(REPOSITORY / "build" / "guest")
