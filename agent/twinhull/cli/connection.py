"""Connects to an agent: this node's over the loopback, another's over its control networks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..config import ClusterConfig, NetworkRole, NodeConfig
from ..errors import AgentDownError, PeerUnreachableError
from ..transport.control import ControlClient
from ..transport.tls import Role, client_context

LOOPBACK = "127.0.0.1"
"""Where every agent listens for its own node: there the node's certificate may do everything."""
LOOK, START = (
    ("sc.exe query twinhull-agent", "sc.exe start twinhull-agent")
    if sys.platform == "win32"
    else ("systemctl status twinhull-agent", "systemctl start twinhull-agent")
)
CONNECT_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 60.0


class RemoteAgent:
    """The agent of one node; of another node, its control networks are tried one after the other.

    Raises PkiError when this node's certificate cannot be used.
    """

    def __init__(self, node: NodeConfig, cluster: ClusterConfig, target: str) -> None:
        operator = (node.pki_dir / f"{Role.OPERATOR.value}.crt").exists()
        self._context = client_context(node.pki_dir, Role.OPERATOR if operator else Role.NODE)
        self._local = target == node.node
        self._target = target
        self._cluster = cluster
        self._client: ControlClient | None = None

    def call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The agent's answer. Raises AgentDownError, TransportError, or what the agent told."""
        if self._client is not None:
            return self._client.call(method, dict(arguments), CALL_TIMEOUT_S)
        refused = []
        for address in self._addresses():
            client = self._new_client(address)
            try:
                answer = client.call(method, dict(arguments), CALL_TIMEOUT_S)
            except PeerUnreachableError as error:
                client.close()
                if client.node is not None:
                    # It was reached and may be carrying the command out: never ask for it twice.
                    raise
                refused.append(error.what)
            else:
                self._client = client
                return answer
        raise self._down(refused)

    def _addresses(self) -> list[str]:
        if self._local:
            return [LOOPBACK]
        return list(self._cluster.addresses(self._target, NetworkRole.CONTROL).values())

    def _new_client(self, address: str) -> ControlClient:
        return ControlClient(
            address,
            self._cluster.ports.control,
            self._context,
            cluster=self._cluster.cluster,
            expected_name=self._target,
            timeout_s=CONNECT_TIMEOUT_S,
        )

    def _down(self, refused: list[str]) -> AgentDownError:
        what = f"No agent answers on node {self._target}: {' '.join(refused)}"
        if self._local:
            return AgentDownError(
                what,
                f"Look with: {LOOK}; start it with: {START}",
            )
        return AgentDownError(
            what,
            f"On node {self._target}, look with: {LOOK}; and check the network to it.",
        )

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._client is not None:
            self._client.close()
            self._client = None


def connect(node: NodeConfig, cluster: ClusterConfig, target: str) -> RemoteAgent:
    """A connection to the agent of the node `target`; made at the first call."""
    return RemoteAgent(node, cluster, target)
