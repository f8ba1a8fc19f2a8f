"""The worker's end of its connection with the agent: what an agent said before it went counts."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twinhull.worker.link import AgentLink, session_at_death

END = {"op": "end"}


class HandLoop:
    """A loop that calls what is watched when a test says so, in the order that the test wants."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[], None]] = {}

    def watch(self, file: int, read: Callable[[], None], *, write: Callable[[], None] | None = None) -> None:
        self.watched[file] = read

    def unwatch(self, file: int) -> None:
        self.watched.pop(file, None)


class Scene:
    """A link, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = HandLoop()
        self.said: list[dict[str, Any]] = []
        self.changes: list[bool] = []
        self.link = AgentLink(self.loop, path, self.said.append, self.changes.append)  # type: ignore[arg-type]
        (self._accept,) = self.loop.watched.values()

    def agent(self) -> socket.socket:
        """An agent that has connected, and was taken."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        self._accept()
        return connection


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "link")
    try:
        yield scene
    finally:
        scene.link.close()


def line(words: dict[str, Any]) -> bytes:
    return json.dumps(words).encode() + b"\n"


def test_an_order_to_end_counts_where_the_worker_speaks_before_it_reads(scene: Scene) -> None:
    with scene.agent() as agent:
        agent.sendall(line(END))
        agent.shutdown(socket.SHUT_RDWR)
        scene.link.send({"op": "view"})
        assert scene.said == [END]
        assert not scene.link.connected
        assert scene.changes == [True, False]


def test_an_order_to_end_counts_where_the_next_agent_connects_before_it_is_read(scene: Scene) -> None:
    with scene.agent() as agent:
        agent.sendall(line(END))
        with scene.agent() as newer:
            assert scene.said == [END]
            assert scene.changes == [True, False, True]
            scene.link.send({"op": "view"})
            assert newer.recv(100) == b'{"op":"view"}\n'


def test_an_answer_to_what_an_agent_said_before_it_went_is_dropped(scene: Scene) -> None:
    with scene.agent() as agent:

        def answer(message: dict[str, Any]) -> None:
            scene.said.append(message)
            scene.link.send({"op": "answer"})

        scene.link._on_message = answer
        agent.sendall(line({"op": "one"}) + line({"op": "two"}))
        agent.shutdown(socket.SHUT_RDWR)
        scene.link.send({"op": "view"})
        assert [message["op"] for message in scene.said] == ["one", "two"]
        assert not scene.link.connected


def test_an_agent_that_is_there_is_told_and_heard(scene: Scene) -> None:
    with scene.agent() as agent:
        agent.sendall(line({"op": "hello"}))
        scene.link.read_all()
        scene.link.send({"op": "view"})
        assert agent.recv(100) == b'{"op":"view"}\n'
        assert scene.said == [{"op": "hello"}]
        assert scene.link.connected


@pytest.mark.parametrize(
    ("state", "session", "ends"),
    [("PRIM", "cd" * 16, "cd" * 16), ("PRIM", None, None), ("ALONE", None, "ab" * 16)],
)
def test_the_death_of_a_worker_that_was_alone_ends_no_session(
    state: str, session: str | None, ends: str | None
) -> None:
    assert session_at_death({"process": "ab" * 16, "session": session, "state": state}) == ends
