"""What all tests share."""

from __future__ import annotations

import pytest
from tests.lab.fixtures import guest_built, make_lab, skip_what_cannot_run

__all__ = ["guest_built", "make_lab"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that cannot run on this machine are named with the reason."""
    skip_what_cannot_run(items)
