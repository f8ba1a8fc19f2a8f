"""One site for all tests of this directory: installed once, then lived with, in the order of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.console import say
from tests.lab.fixtures import why_not
from tests.standin.wine.site import WineSite, windows_bundle
from tests.wine import template

from .story import MODULES, Story

VERSION = "0.1.0"


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two bare hosts and the bundle."""
    reason = template.why_not() or why_not(libvirt=False)
    if reason is None and shutil.which("qemu-io") is None:
        reason = "qemu-io with its iSCSI driver is missing here (qemu-utils, qemu-block-extra)"
    if reason is not None:
        pytest.skip(reason)
    directory: Path = tmp_path_factory.mktemp("windows-site")
    with WineSite(directory, MODULES) as site:
        made = Story(site, windows_bundle(site.fleet, VERSION))
        yield made
        if made.unfinished:
            say(made.logs())
    for node in ("a", "b"):
        shutil.rmtree(directory / f"host-{node}", ignore_errors=True)


@pytest.fixture(autouse=True)
def _in_order(story: Story, request: pytest.FixtureRequest) -> Iterator[None]:
    """A step on top of a failed one would only fail in a way that misleads."""
    if story.unfinished:
        pytest.fail(f"not tried, because {story.unfinished} failed")
    story.unfinished = request.node.name
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed == failed_before:
        story.unfinished = ""
