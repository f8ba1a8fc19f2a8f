"""What Hyper-V says of machines."""

from __future__ import annotations

import pytest

from twinhull.errors import ResourceError
from twinhull.resources import hyperv_parse as parse
from twinhull.resources.base import ResourceState


@pytest.mark.parametrize(
    ("state", "power"),
    [
        ("Running", ResourceState.RUNNING),
        ("Starting", ResourceState.RUNNING),
        ("Saving", ResourceState.RUNNING),
        ("RunningCritical", ResourceState.RUNNING),
        ("Paused", ResourceState.PAUSED),
        ("PausedCritical", ResourceState.PAUSED_CRITICAL),
        ("Off", ResourceState.OFF),
        ("OffCritical", ResourceState.OFF),
        ("Saved", ResourceState.SAVED),
        ("SavedCritical", ResourceState.SAVED),
        ("FastSaved", ResourceState.SAVED),
        ("SomethingNew", ResourceState.UNKNOWN),
        ("", ResourceState.UNKNOWN),
    ],
)
def test_states_are_known_by_the_names_of_their_enumeration(state: str, power: ResourceState) -> None:
    assert parse.power_of(state) is power


def test_a_state_that_is_not_known_is_not_off() -> None:
    assert not parse.parse_state({"found": True, "id": "A", "state": "SomethingNew"}).off


def test_a_vm_short_of_space_has_its_files() -> None:
    assert not parse.parse_state({"found": True, "id": "a", "state": "PausedCritical"}).critical
    assert parse.parse_state({"found": True, "id": "a", "state": "OffCritical"}).critical


def test_a_vm_that_is_not_there_is_absent() -> None:
    now = parse.parse_state({"found": False, "id": "ABC"})
    assert (now.power, now.off, now.identifier) == (ResourceState.ABSENT, True, "abc")


@pytest.mark.parametrize(
    "answer", [None, [], "text", {"found": True, "generation": "x"}, {"found": True, "disks": "none"}]
)
def test_what_is_no_description_is_told(answer: object) -> None:
    with pytest.raises(ResourceError, match="cannot be read"):
        parse.parse_machine(answer)


def test_endings_are_told_in_words() -> None:
    assert parse.ending_of([1, 18508]) == "its guest shut it down from inside"
    assert "does not say why" in parse.ending_of([])
