"""A door at an address that comes and goes."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable

import pytest

from twinhull.errors import TransportError
from twinhull.transport import listener as doors
from twinhull.transport.listener import AGAIN_S, Listener
from twinhull.transport.stream import listen


class Cable:
    """Windows' way with a network: no cable, no address."""

    def __init__(self) -> None:
        self.out = True
        self.now_s = 100.0
        self.error = errno.EADDRNOTAVAIL

    def listen(self, address: str, port: int) -> socket.socket:
        if not self.out:
            return listen(address, port)
        error = OSError(self.error, os.strerror(self.error))
        raise TransportError(f"Cannot listen on {address} port {port}: {error.strerror}.") from error


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch) -> Cable:
    made = Cable()
    monkeypatch.setattr(doors, "listen", made.listen)
    return made


@pytest.fixture
def make_door(cable: Cable) -> Callable[[], Listener]:
    def make() -> Listener:
        return Listener(
            "127.0.0.1",
            0,
            context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            cluster="c",
            names=None,
            log=logging.getLogger("twinhull.test"),
            clock=lambda: cable.now_s,
        )

    return make


def reachable(door: Listener) -> bool:
    with socket.socket() as caller:
        return door.port != 0 and caller.connect_ex(("127.0.0.1", door.port)) == 0


def test_a_door_without_an_address_opens_when_the_cable_is_back(
    cable: Cable, make_door: Callable[[], Listener]
) -> None:
    door = make_door()
    try:
        assert door.accept() == [] and not reachable(door)
        cable.out = False
        assert door.accept() == [] and not reachable(door)  # not tried again yet
        cable.now_s += AGAIN_S
        assert door.accept() == [] and reachable(door)
    finally:
        door.close()


def test_an_address_that_stays_away_is_logged_once_a_minute(
    cable: Cable, make_door: Callable[[], Listener], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "twinhull.test"):
        door = make_door()
        for _ in range(50):
            cable.now_s += AGAIN_S
            door.accept()
        door.close()
    assert len({record.getMessage() for record in caplog.records}) == 1
    assert "is its cable out?" in caplog.text


def test_a_port_that_somebody_else_has_is_an_error_at_once(
    cable: Cable, make_door: Callable[[], Listener]
) -> None:
    cable.error = errno.EADDRINUSE
    with pytest.raises(TransportError, match="Cannot listen"):
        make_door()


def test_a_port_that_was_taken_while_the_cable_was_out_is_noted_and_tried_again(
    cable: Cable, make_door: Callable[[], Listener]
) -> None:
    door = make_door()
    try:
        cable.error = errno.EADDRINUSE
        cable.now_s += AGAIN_S
        assert door.accept() == []
        cable.out = False
        cable.now_s += AGAIN_S
        assert door.accept() == [] and reachable(door)
    finally:
        door.close()
