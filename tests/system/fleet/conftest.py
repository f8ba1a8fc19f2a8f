"""One fleet for all chapters of the story, brought as far as a chapter needs it.

The chapters (`test_1_...`, `test_2_...`) run in the order of their names. A chapter that is run alone is preceded by the
plays of the earlier ones. lyon runs a libvirt guest; basel, installed from bare hosts and reached with sudo, runs a
program; oslo never answers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.lab.commands import LabError
from tests.lab.console import say
from tests.lab.guest import Guest

from . import bundles
from .fleet import REPOSITORY, Fleet, check_machine, sweep
from .story import Stage
from .town import MODULES, Town

HERE = str(REPOSITORY / "tests/system/fleet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this directory; what this machine cannot run is named with the reason."""
    chapters = [item for item in items if str(item.path).startswith(HERE)]
    reason = why_not() if chapters else None
    for item in chapters:
        item.add_marker(pytest.mark.fleet)
        if reason is not None and "town" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


def why_not() -> str | None:
    """Why this machine can have no fleet, or None."""
    try:
        check_machine()
    except LabError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def town(guest_built: Guest) -> Iterator[Town]:
    """The hosts as they are delivered, with a bundle of the checkout on the control node."""
    sweep(say)
    bundle = bundles.make(bundles.own_version())
    fleet = Fleet(
        f"t{os.getpid()}", sites=("lyon", "basel", "oslo"), dead=("oslo",), bare=("basel",), modules=MODULES
    )
    with fleet.up(say):
        place = fleet.root / "bundle"
        place.mkdir()
        shutil.copy2(bundle, place / "twinhull-bundle.tar.gz")
        yield Town(fleet, Stage(fleet), guest_built)
