"""One pair of nodes for each file of tests; each test begins and ends with a mirrored pair."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tests.lab import Lab, LabError
from tests.lab.console import say
from tests.lab.lab import SUBNETS

from .pair import TIMEOUT_S, Pair, log_of

PING = {"kind": "ping", "addresses": ["10.77.1.254", "10.77.2.254"], "timeout": TIMEOUT_S / 2}
_numbers = itertools.count(1)


class Keeper:
    """Holds the pair of a file of tests, and makes a new one after a test that left it broken."""

    def __init__(self, make: Callable[[], Pair]) -> None:
        self._make = make
        self._pair: Pair | None = None

    def whole(self) -> Pair:
        """The mirrored pair."""
        if self._pair is not None:
            try:
                self._pair.to_green()
            except (LabError, OSError) as error:
                say(f"  the last test left the pair broken, a new one is made: {error}")
                self.close()
        if self._pair is None:
            self._pair = self._make()
        self._pair.watch.forget()
        return self._pair

    def close(self) -> None:
        """Remove it."""
        if self._pair is not None:
            self._pair.close()
            self._pair = None


def make_pair(
    tmp_path_factory: pytest.TempPathFactory,
    cluster: dict[str, Any],
    kind: type[Pair] = Pair,
    subnets: Mapping[str, str] = SUBNETS,
) -> Pair:
    """A new lab with Twinhull installed and nothing protected."""
    name = f"f{os.getpid()}-{next(_numbers)}"
    pair = kind(Lab(tmp_path_factory.mktemp(name), name, subnets=subnets), **cluster)
    try:
        pair.lab.up()
        pair.install()
    except BaseException:
        pair.close()
        raise
    return pair


@pytest.fixture(scope="module")
def cluster_words() -> dict[str, Any]:
    """Keys of cluster.yml that replace the lab's own: a ping witness, which a file of tests may replace."""
    return {"witness": PING}


@pytest.fixture(scope="module")
def pair_kind() -> tuple[type[Pair], Mapping[str, str]]:
    """Which pair, and on which networks; a file of tests may replace it."""
    return Pair, SUBNETS


@pytest.fixture(scope="module")
def keeper(
    tmp_path_factory: pytest.TempPathFactory,
    cluster_words: dict[str, Any],
    pair_kind: tuple[type[Pair], Mapping[str, str]],
) -> Iterator[Keeper]:
    """The file's pair."""

    def make() -> Pair:
        made = make_pair(tmp_path_factory, cluster_words, *pair_kind)
        try:
            made.protect()
        except BaseException:
            made.close()
            raise
        return made

    kept = Keeper(make)
    yield kept
    kept.close()


@pytest.fixture
def unprotected(
    tmp_path_factory: pytest.TempPathFactory, cluster_words: dict[str, Any], request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """A pair of its own, with Twinhull installed and nothing protected yet."""
    say(f"\n{request.node.name}")
    made = make_pair(tmp_path_factory, cluster_words)
    yield made
    made.close()


@pytest.fixture
def pair(keeper: Keeper, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A mirrored pair whose writer writes; after a failed test its logs are printed."""
    whole = keeper.whole()
    say(f"\n{request.node.name}")
    failed = request.session.testsfailed
    yield whole
    if request.session.testsfailed > failed:
        say(whole.watch.story(200))
        for node in whole.lab.nodes.values():
            say(f"log of node {node.name}:\n{log_of(node)}")
