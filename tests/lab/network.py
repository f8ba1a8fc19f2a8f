"""The lab's networks: one switch namespace with a bridge per network, a namespace per node, an observer.

Nothing is made in the machine's own network namespace, so that labs with the same addresses run side by side.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path

from .commands import LabError, run

OBSERVER = "observer"
OBSERVER_HOST = 254
INTERFACE_NAME_LIMIT = 15
NAMESPACES = Path("/run/netns")


class Direction(enum.Enum):
    """Which way a cut works, seen from the node that it is made on."""

    BOTH = "both"  # like a pulled cable
    IN = "in"  # the node hears nothing, and is heard
    OUT = "out"  # the node is not heard, and hears


class Fabric:
    """The switch, the observer and the cables of one lab.

    Args:
        name: unique name of the lab on this machine.
        subnets: network name -> first three numbers of its addresses, as in `10.77.1`.
        hosts: node name -> last number of its addresses.
    """

    def __init__(self, name: str, subnets: Mapping[str, str], hosts: Mapping[str, int]) -> None:
        self.name = name
        self.subnets = dict(subnets)
        self.hosts = dict(hosts)
        for network in subnets:
            if len(network) > INTERFACE_NAME_LIMIT:
                raise LabError(f"network name {network} is longer than {INTERFACE_NAME_LIMIT} characters")

    @property
    def switch(self) -> str:
        """The namespace that holds the bridges."""
        return f"twinhull-lab-{self.name}-switch"

    def namespace(self, host: str) -> str:
        """The network namespace of a node, or of the observer."""
        return f"twinhull-lab-{self.name}-{host}"

    def address(self, host: str, network: str) -> str:
        """The address of a node, or of the observer, in a network."""
        number = OBSERVER_HOST if host == OBSERVER else self.hosts[host]
        return f"{self.subnets[network]}.{number}"

    def up(self) -> None:
        """Make the switch and the observer; the nodes' cables are plugged in when they boot."""
        self._add_namespace(self.switch)
        for network in self.subnets:
            self._switch(
                f"link add {network} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {network} up",
            )
        self.plug(OBSERVER)

    def down(self) -> None:
        """Remove everything. Idempotent."""
        for host in (*self.hosts, OBSERVER):
            self._remove_namespace(self.namespace(host))
        self._remove_namespace(self.switch)

    def plug(self, host: str) -> None:
        """A fresh network namespace with one cable per network."""
        self._add_namespace(self.namespace(host))
        for network in self.subnets:
            port = self._port(host, network)
            self._switch(
                f"link add {port} type veth peer name {network} netns {self.namespace(host)}"
                f" address {self._hardware_address(host, network)}",
                f"link set {port} master {network}",
                f"link set {port} up",
            )
            self._host(
                host, f"addr add {self.address(host, network)}/24 dev {network}", f"link set {network} up"
            )

    def plugged(self, host: str) -> bool:
        """Whether the host has its namespace and cables."""
        return (NAMESPACES / self.namespace(host)).exists()

    def unplug(self, host: str) -> None:
        """Take a dead node's namespace away; what its sockets still wanted to say is never heard."""
        self.silence(host)
        for network in self.subnets:
            run(["ip", "-n", self.switch, "link", "del", self._port(host, network)], check=False)
        self._remove_namespace(self.namespace(host))

    def silence(self, host: str) -> None:
        """All cables of a host go dead at once."""
        self._switch(*(f"link set {self._port(host, network)} down" for network in self.subnets))

    def set_cable(self, host: str, network: str, *, connected: bool) -> None:
        """Pull or plug one cable at the switch."""
        self._switch(f"link set {self._port(host, network)} {'up' if connected else 'down'}")

    def isolate(self, network: str, *, isolated: bool) -> None:
        """Keep the nodes from each other while the observer still reaches both."""
        for host in filter(self.plugged, self.hosts):
            argv = ["bridge", "-n", self.switch, "link", "set", "dev", self._port(host, network)]
            run([*argv, "isolated", "on" if isolated else "off"])

    def set_drops(self, host: str, drops: Mapping[str, Sequence[Direction]]) -> None:
        """Replace the one-way cuts of a node.

        Args:
            host: the node.
            drops: network -> directions in which its packets are dropped without a word.
        """
        lines = ["table inet lab", "delete table inet lab", "table inet lab {"]
        for direction, hook, key in (
            (Direction.IN, "input", "iifname"),
            (Direction.OUT, "output", "oifname"),
        ):
            lines.append(f" chain {hook} {{ type filter hook {hook} priority 0; policy accept;")
            lines += [f'  {key} "{network}" drop' for network, wanted in drops.items() if direction in wanted]
            lines.append(" }")
        lines.append("}")
        script = "\n".join(lines) + "\n"
        run(["ip", "netns", "exec", self.namespace(host), "nft", "-f", "-"], input_text=script)

    def _port(self, host: str, network: str) -> str:
        number = OBSERVER_HOST if host == OBSERVER else self.hosts[host]
        return f"port{number}n{list(self.subnets).index(network)}"

    def _hardware_address(self, host: str, network: str) -> str:
        number = OBSERVER_HOST if host == OBSERVER else self.hosts[host]
        return f"02:77:00:00:{list(self.subnets).index(network):02x}:{number:02x}"

    def _switch(self, *lines: str) -> None:
        self._batch(self.switch, *lines)

    def _host(self, host: str, *lines: str) -> None:
        self._batch(self.namespace(host), *lines)

    def _batch(self, namespace: str, *lines: str) -> None:
        run(["ip", "-n", namespace, "-batch", "-"], input_text="\n".join(lines) + "\n")

    def _add_namespace(self, namespace: str) -> None:
        run(["ip", "netns", "add", namespace])
        self._batch(namespace, "link set lo up")

    def _remove_namespace(self, namespace: str) -> None:
        if (NAMESPACES / namespace).exists():
            run(["ip", "netns", "del", namespace])
