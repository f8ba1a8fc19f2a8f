"""Stand-in Windows hosts for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.standin.windows_host import WindowsHost

from twinhull.powershell import PowerShellHosts

from .hyperv_node import HyperVNode


@pytest.fixture
def windows(tmp_path: Path) -> WindowsHost:
    """One host with PowerShell alone."""
    return WindowsHost(tmp_path / "one", standins=False)


@pytest.fixture
def shells(windows: WindowsHost) -> Iterator[PowerShellHosts]:
    """Its PowerShell."""
    hosts = PowerShellHosts(windows.engine())
    yield hosts
    hosts.close()


@pytest.fixture(scope="session")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HyperVNode, HyperVNode]]:
    """Two nodes whose PowerShell lives through all tests, and one volume that either may mount."""
    directory = tmp_path_factory.mktemp("hyperv")
    volume = directory / "volume"
    one = WindowsHost(directory / "one", {"computerName": "HV1"})
    two = WindowsHost(directory / "two", {"computerName": "HV2"})
    nodes = HyperVNode("one", one, volume), HyperVNode("two", two, volume)
    yield nodes
    for node in nodes:
        node.shells.close()


@pytest.fixture
def pair(two_nodes: tuple[HyperVNode, HyperVNode]) -> tuple[HyperVNode, HyperVNode]:
    """Both nodes, fresh, the folder mounted on neither."""
    for node in two_nodes:
        node.reset()
    return two_nodes


@pytest.fixture
def node(two_nodes: tuple[HyperVNode, HyperVNode]) -> HyperVNode:
    """One fresh node with the folder mounted."""
    two_nodes[0].reset()
    two_nodes[0].mount()
    return two_nodes[0]
