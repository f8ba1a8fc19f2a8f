"""The main job with a real guest: the same story as `make demo` tells."""

from __future__ import annotations

import pytest
from tests.lab.console import say
from tests.lab.failover import Figures, Story
from tests.lab.fixtures import MakeLab
from tests.lab.guest import Guest

pytestmark = [pytest.mark.lab, pytest.mark.guest]


def test_a_real_guest_survives_the_loss_of_its_server_and_goes_home(
    make_lab: MakeLab, guest_built: Guest
) -> None:
    lab = make_lab(libvirt=True)
    figures: Figures = Story(lab, guest_built, say).run()
    assert figures.records_acknowledged > 0
    assert figures.records_missing == 0
    assert figures.replicas_equal
    assert 0 < figures.resync_bytes < figures.volume_bytes / 4
    assert figures.resync_bytes_after_swap == 0
