"""The agent's way to the other node's agent: control calls over whichever network answers, and queued messages."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from twinhull.errors import PeerUnreachableError, TransportError, TwinhullError
from twinhull.transport.control import ControlClient, RemoteError

QUEUED_MESSAGES = 1000
MESSAGE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class PeerAgent:
    """Calls to the peer's agent, from any thread.

    Args:
        name: of the peer's node.
        clients: one for each network, in order of preference.
        messengers: the same for queued messages: they decide failovers, and must not wait for somebody's long call.
        up: tells which networks carry heartbeats now; the others are tried last, or not at all.
    """

    def __init__(
        self,
        name: str,
        clients: Mapping[str, ControlClient],
        messengers: Mapping[str, ControlClient],
        up: Callable[[], Collection[str]],
    ) -> None:
        self.name = name
        self._clients = dict(clients)
        self._messengers = dict(messengers)
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
            timeout_s: for all networks together; None for the clients' own, for each.
        """
        return self._call(self._clients, method, arguments, patient=patient, timeout_s=timeout_s)

    def _call(
        self,
        clients: Mapping[str, ControlClient],
        method: str,
        arguments: dict[str, Any],
        *,
        patient: bool,
        timeout_s: float | None,
    ) -> dict[str, Any]:
        up = self._up()
        networks = [name for name in clients if name in up]
        if patient:
            networks += [name for name in clients if name not in up]
        if not networks:
            raise PeerUnreachableError(f"The agent of {self.name} is not heard on any network.")
        reasons = []
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for network in networks:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
            try:
                return clients[network].call(method, arguments, left_s)
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
        for client in (*self._clients.values(), *self._messengers.values()):
            client.close()

    def _post_messages(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self._call(self._messengers, *message, patient=True, timeout_s=MESSAGE_TIMEOUT_S)
            except TwinhullError as error:
                log.info("a message to %s was lost: %s", self.name, error)
            except Exception:  # later messages must not be lost with this one
                log.exception("a message to %s was lost", self.name)
