"""The agent's way to the other node's agent: control calls over whichever network answers, and queued messages."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from twinhull.errors import PeerUnreachableError, TransportError
from twinhull.transport.control import ControlClient

BACKOFF_S = 1.0
QUEUED_MESSAGES = 1000

log = logging.getLogger(__name__)


class PeerAgent:
    """Calls to the peer's agent. Any thread may call; calls are made one after the other.

    Args:
        name: of the peer's node.
        addresses: of the peer, in order of preference.
        connect: makes a client for one address; raises TransportError.
    """

    def __init__(self, name: str, addresses: Sequence[str], connect: Callable[[str], ControlClient]) -> None:
        self.name = name
        self._addresses = list(addresses)
        self._connect = connect
        self._client: ControlClient | None = None
        self._lock = threading.Lock()
        self._silent_until_s = 0.0
        self._messages: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(QUEUED_MESSAGES)
        threading.Thread(target=self._post_messages, name="peer-messages", daemon=True).start()

    def call(self, method: str, arguments: dict[str, Any], *, patient: bool = False) -> dict[str, Any]:
        """Call the peer's agent. Raises PeerUnreachableError, or the error that the peer answered with.

        Args:
            patient: try also when it did not answer a moment ago.
        """
        with self._lock:
            if not patient and time.monotonic() < self._silent_until_s:
                raise PeerUnreachableError(f"The agent of {self.name} does not answer.")
            if self._client is not None:
                try:
                    return self._client.call(method, arguments)
                except TransportError as error:
                    if self._client.connected:
                        raise
                    log.info("the control connection to %s ended: %s", self.name, error)
                    self._close()
            return self._connected().call(method, arguments)

    def post(self, method: str, arguments: dict[str, Any]) -> None:
        """Have this call made soon, in order, without waiting; lost when the peer cannot be reached."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait((method, arguments))

    def close(self) -> None:
        """End the connection."""
        self._messages.put(None)
        with self._lock:
            self._close()

    def _connected(self) -> ControlClient:
        reasons = []
        for address in self._addresses:
            try:
                self._client = self._connect(address)
            except (TransportError, OSError) as error:
                reasons.append(f"{address}: {error}")
            else:
                return self._client
        self._silent_until_s = time.monotonic() + BACKOFF_S
        raise PeerUnreachableError(f"The agent of {self.name} does not answer ({'; '.join(reasons)}).")

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _post_messages(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self.call(*message, patient=True)
            except TransportError as error:
                log.info("a message to %s was lost: %s", self.name, error)
