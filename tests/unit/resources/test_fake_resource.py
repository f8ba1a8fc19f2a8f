"""The fake resource keeps the interface's promises, so that what is tested on it means something."""

from __future__ import annotations

import threading

import pytest
from tests.fakes.resource import FakeResource

from twinhull.errors import ResourceError
from twinhull.resources.base import Resource, ResourceState


def test_it_is_a_resource() -> None:
    resource: Resource = FakeResource()
    assert resource.state() is ResourceState.ABSENT
    resource.start(resume=False)
    assert resource.stop(mode="save", timeout_s=1.0) is True
    assert resource.state() is ResourceState.SAVED
    resource.start(resume=True)
    resource.suspend()
    assert resource.state() is ResourceState.PAUSED
    resource.resume()
    resource.force_off()
    resource.force_off()
    resource.forget()
    resource.forget()
    assert resource.state() is ResourceState.ABSENT
    assert resource.check_host() == []


def test_it_fails_where_it_is_told_to() -> None:
    resource = FakeResource()
    resource.fail.add("start")
    with pytest.raises(ResourceError):
        resource.start(resume=False)
    assert not resource.running


def test_a_guest_that_refuses_runs_on() -> None:
    resource = FakeResource()
    resource.start(resume=False)
    resource.guest_refuses = True
    with pytest.raises(ResourceError):
        resource.stop(mode="stop", timeout_s=1.0)
    assert resource.running
    assert resource.stop(mode="off", timeout_s=1.0) is False


def test_a_hanging_method_goes_on_when_released() -> None:
    resource = FakeResource()
    resource.hang("start")
    thread = threading.Thread(target=lambda: resource.start(resume=False))
    thread.start()
    assert resource.wait_for_call("start")
    assert not resource.running
    resource.release("start")
    thread.join(10)
    assert resource.wait_for(ResourceState.RUNNING)
