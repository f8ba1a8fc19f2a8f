"""One cluster's certificates for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.transport.support import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("c1"))


@pytest.fixture(scope="session")
def other_cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Another authority that claims the same cluster name."""
    directory: Path = tmp_path_factory.mktemp("other")
    return Cluster(directory)
