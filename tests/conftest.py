"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from tests.lab.fixtures import guest_built, make_lab, skip_what_cannot_run

# How long an example takes says something of the machine's other work, and nothing of what is tested.
settings.register_profile("twinhull", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("twinhull")

__all__ = ["guest_built", "make_lab"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that cannot run on this machine are named with the reason."""
    skip_what_cannot_run(items)
