"""The agent's way to the other node's agent: control calls over whichever network answers, and queued messages."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from twinhull.errors import PeerUnreachableError, TransportError
from twinhull.transport.control import ControlClient, RemoteError

BACKOFF_S = 1.0
QUEUED_MESSAGES = 1000

log = logging.getLogger(__name__)


class PeerAgent:
    """Calls to the peer's agent, from any thread.

    Args:
        name: of the peer's node.
        clients: one for each of its addresses, in order of preference.
    """

    def __init__(self, name: str, clients: Sequence[ControlClient]) -> None:
        self.name = name
        self._clients = list(clients)
        self._silent_until_s = 0.0
        self._messages: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(QUEUED_MESSAGES)
        threading.Thread(target=self._post_messages, name="peer-messages", daemon=True).start()

    def call(self, method: str, arguments: dict[str, Any], *, patient: bool = False) -> dict[str, Any]:
        """Call the peer's agent. Raises PeerUnreachableError, or the error that the peer answered with.

        Args:
            patient: try also when it did not answer a moment ago.
        """
        if not patient and time.monotonic() < self._silent_until_s:
            raise PeerUnreachableError(f"The agent of {self.name} does not answer.")
        reasons = []
        for client in list(self._clients):
            try:
                answer = client.call(method, arguments)
            except RemoteError:
                raise
            except TransportError as error:
                reasons.append(error.what)
            else:
                self._prefer(client)
                return answer
        self._silent_until_s = time.monotonic() + BACKOFF_S
        raise PeerUnreachableError(f"The agent of {self.name} does not answer ({' '.join(reasons)}).")

    def post(self, method: str, arguments: dict[str, Any]) -> None:
        """Have this call made soon, in order, without waiting; lost when the peer cannot be reached."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait((method, arguments))

    def close(self) -> None:
        """End the connections."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait(None)
        for client in self._clients:
            client.close()

    def _prefer(self, client: ControlClient) -> None:
        if self._clients[0] is not client:
            self._clients = [client, *(other for other in self._clients if other is not client)]

    def _post_messages(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self.call(*message, patient=True)
            except TransportError as error:
                log.info("a message to %s was lost: %s", self.name, error)
