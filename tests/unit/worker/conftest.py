"""One cluster's certificates, and a worker that is put away after each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.fakes.disk import FakeDisk
from tests.integration.transport.support import Cluster
from tests.unit.worker.worker_scene import Scene, short_directory

from twinhull.worker.moves import Moves


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("c1"))


@pytest.fixture
def make_scene(cluster: Cluster) -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []
    directory = short_directory()

    def make(disk: FakeDisk | None = None, moves: Moves[Any] | None = None) -> Scene:
        made.append(Scene(cluster, directory, disk or FakeDisk(), moves=moves))
        return made[-1]

    yield make
    for scene in made:
        scene.close()
    shutil.rmtree(directory)


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()
