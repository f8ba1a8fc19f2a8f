"""The agent's way to the other node's agent: control calls over whichever network answers, and queued messages."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from twinhull.errors import PeerUnreachableError, TransportError
from twinhull.transport.control import ControlClient, RemoteError

QUEUED_MESSAGES = 1000

log = logging.getLogger(__name__)


class PeerAgent:
    """Calls to the peer's agent, from any thread.

    Args:
        name: of the peer's node.
        clients: one for each network, in order of preference.
        up: tells which networks carry heartbeats now; the others are tried last, or not at all.
    """

    def __init__(
        self, name: str, clients: Mapping[str, ControlClient], up: Callable[[], Collection[str]]
    ) -> None:
        self.name = name
        self._clients = dict(clients)
        self._up = up
        self._messages: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(QUEUED_MESSAGES)
        threading.Thread(target=self._post_messages, name="peer-messages", daemon=True).start()

    def call(
        self,
        method: str,
        arguments: dict[str, Any],
        *,
        patient: bool = False,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Call the peer's agent. Raises PeerUnreachableError, or the error that the peer answered with.

        Args:
            patient: try also over networks that carry no heartbeats.
            timeout_s: for each network that is tried; None for the clients' own.
        """
        up = self._up()
        networks = [name for name in self._clients if name in up]
        if patient:
            networks += [name for name in self._clients if name not in up]
        if not networks:
            raise PeerUnreachableError(f"The agent of {self.name} is not heard on any network.")
        reasons = []
        for network in networks:
            try:
                return self._clients[network].call(method, arguments, timeout_s)
            except RemoteError:
                raise
            except TransportError as error:
                reasons.append(f"{network}: {error.what}")
        raise PeerUnreachableError(f"The agent of {self.name} does not answer ({' '.join(reasons)}).")

    def post(self, method: str, arguments: dict[str, Any]) -> None:
        """Have this call made soon, in order, without waiting; lost when the peer cannot be reached."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait((method, arguments))

    def close(self) -> None:
        """End the connections."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait(None)
        for client in self._clients.values():
            client.close()

    def _post_messages(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self.call(*message, patient=True)
            except TransportError as error:
                log.info("a message to %s was lost: %s", self.name, error)
