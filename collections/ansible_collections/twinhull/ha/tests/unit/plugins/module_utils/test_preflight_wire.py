"""The listener and the connections, on this machine's own loopback."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.module_utils import preflight_wire as wire

TOKEN = "lyon"


@pytest.fixture
def listening() -> Iterator[tuple[int, wire.Listener]]:
    servers, bound = wire.bind([{"address": "127.0.0.1", "port": 0}])
    assert bound[0]["bound"]
    port: int = servers[0].getsockname()[1]
    listener = wire.detach(servers, TOKEN, 60.0)
    yield port, listener
    wire.stop(listener)


def target(port: int, **words: Any) -> dict[str, Any]:
    return {"network": "lan", "from": "127.0.0.1", "to": "127.0.0.1", "port": port, **words}


def test_a_connection_is_made_and_its_round_trip_measured(listening: tuple[int, wire.Listener]) -> None:
    (result,) = wire.connect_all([target(listening[0], echo=True)], TOKEN, 2.0)
    assert (result["outcome"], result["network"], result["measured"]) == ("connected", "lan", True)
    assert 0 < result["rtt_ms"] <= result["rtt_worst_ms"]


def test_the_bandwidth_is_bounded_by_bytes(listening: tuple[int, wire.Listener]) -> None:
    (result,) = wire.bandwidth_all([target(listening[0])], TOKEN, 2.0, 1 << 20, 60.0)
    assert (result["bytes"], result["measured"]) == (1 << 20, True)
    assert result["bytes_per_s"] > 0


def test_another_token_is_not_served(listening: tuple[int, wire.Listener]) -> None:
    (result,) = wire.bandwidth_all([target(listening[0])], "other", 2.0, 1 << 20, 60.0)
    assert result["measured"] is False
    assert "another program" in result["error"]


def test_a_listener_that_was_stopped_is_gone_and_is_no_other_process(
    listening: tuple[int, wire.Listener],
) -> None:
    port, listener = listening
    assert wire.stop(listener._replace(started="1")) is False, "another process with this number must live"
    assert wire.stop(listener) is True
    assert wire.stop(listener) is False
    (result,) = wire.connect_all([target(port, echo=True)], TOKEN, 2.0)
    assert result["outcome"] == "refused"


def test_a_listener_ends_by_itself_and_gives_its_port_back() -> None:
    servers, _ = wire.bind([{"address": "127.0.0.1", "port": 0}])
    port = servers[0].getsockname()[1]
    listener = wire.detach(servers, TOKEN, 0.0)
    descriptor = os.pidfd_open(listener.pid) if wire.start_time(listener.pid) else None
    if descriptor is not None:
        import select

        assert select.select([descriptor], [], [], 30.0)[0], "the listener outlived its time"
        os.close(descriptor)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_address_of_another_host_cannot_be_bound_nor_used() -> None:
    servers, bound = wire.bind([{"address": "192.0.2.99", "port": 7410}])
    assert (servers, bound[0]["bound"]) == ([], False)
    (result,) = wire.connect_all([target(7410, **{"from": "192.0.2.99"})], TOKEN, 2.0)
    assert result["outcome"] == "no-address"


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EHOSTUNREACH, "no-route"),
        (errno.EPERM, "blocked-here"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EIO, "error"),
    ],
)
def test_each_failure_has_one_word(number: int, word: str) -> None:
    assert wire.reason(OSError(number, "x")) == word


def test_nobody_answering_in_time_is_a_timeout() -> None:
    assert wire.reason(TimeoutError("timed out")) == "timeout"
