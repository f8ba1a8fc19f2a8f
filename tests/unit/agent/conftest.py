"""One cluster's certificates, and an agent among fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.transport.support import Cluster
from tests.unit.agent.agent_scene import Scene


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("c1"))


@pytest.fixture
def make_agent(cluster: Cluster, tmp_path: Path) -> Callable[..., Scene]:
    return lambda *modules, **changes: Scene(cluster, tmp_path, *modules, **changes)


@pytest.fixture
def agent(make_agent: Callable[..., Scene]) -> Scene:
    return make_agent("VM1", "VM2")
