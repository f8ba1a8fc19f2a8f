"""A fleet's networks: per site `lan` and `direct`, one `control` network, and a namespace for the control node.

Nothing is made in the machine's own network namespace and every name carries the fleet's, so that fleets with equal
addresses run side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab.commands import LabError, run

NAMESPACES = Path("/run/netns")
SITE_NETWORKS = ("lan", "direct")
CONTROL = "control"
NETWORKS = (*SITE_NETWORKS, CONTROL)
FIRST_NUMBERS = {"lan": 77, "direct": 78, CONTROL: 79}
FIRST_HOST_NUMBER = 11
OBSERVER_NUMBER = 254
CONTROL_ADDRESS = f"10.{FIRST_NUMBERS[CONTROL]}.0.{OBSERVER_NUMBER}"


@dataclass(frozen=True)
class Place:
    """Where a host is plugged in.

    Args:
        host: its name in the inventory.
        site_number: 1, 2, ... of its site.
        node_number: 0 or 1 in its site.
    """

    host: str
    site_number: int
    node_number: int

    def address(self, network: str) -> str:
        """Its address in a network."""
        return f"10.{FIRST_NUMBERS[network]}.{self.site_number}.{FIRST_HOST_NUMBER + self.node_number}"

    def port(self, network: str) -> str:
        """The switch's end of its cable."""
        return f"h{self.site_number}n{self.node_number}{network}"

    def bridge(self, network: str) -> str:
        """The bridge that its cable is plugged into."""
        return CONTROL if network == CONTROL else f"{network}{self.site_number}"

    def hardware_address(self, network: str) -> str:
        """Locally administered, the same after every boot."""
        return f"02:77:{FIRST_NUMBERS[network]:02x}:00:{self.site_number:02x}:{self.node_number:02x}"


class Fabric:
    """The switch, the control node's namespace and the cables of one fleet.

    Args:
        name: the fleet's.
        places: its hosts.
    """

    def __init__(self, name: str, places: tuple[Place, ...]) -> None:
        self.name = name
        self.places = {place.host: place for place in places}

    @property
    def switch(self) -> str:
        """The namespace that holds the bridges."""
        return f"tf-{self.name}-switch"

    @property
    def control(self) -> str:
        """The control node's namespace."""
        return f"tf-{self.name}-control"

    def namespace(self, host: str) -> str:
        """A host's namespace."""
        return f"tf-{self.name}-{host}"

    def up(self) -> None:
        """Make the switch, and the control node with a cable into every network that an operator reaches."""
        self._add_namespace(self.switch)
        self._add_namespace(self.control)
        sites = sorted({place.site_number for place in self.places.values()})
        self._bridge(CONTROL)
        self._plug_control(CONTROL, CONTROL, f"{CONTROL_ADDRESS}/16")
        for number in sites:
            for network in SITE_NETWORKS:
                self._bridge(f"{network}{number}")
            lan = f"10.{FIRST_NUMBERS['lan']}.{number}.{OBSERVER_NUMBER}/24"
            self._plug_control(f"lan{number}", f"lan{number}", lan)

    def down(self) -> None:
        """Remove everything. Idempotent."""
        for host in self.places:
            self._remove_namespace(self.namespace(host))
        self._remove_namespace(self.control)
        self._remove_namespace(self.switch)

    def plug(self, host: str) -> None:
        """A fresh namespace for a host, with its cables; an older one's sockets are gone with it."""
        self.unplug(host)
        namespace = self.namespace(host)
        self._add_namespace(namespace)
        place = self.places[host]
        for network in NETWORKS:
            port, prefix = place.port(network), 16 if network == CONTROL else 24
            self._batch(
                self.switch,
                f"link add {port} type veth peer name {network} netns {namespace}"
                f" address {place.hardware_address(network)}",
                f"link set {port} master {place.bridge(network)}",
                f"link set {port} up",
            )
            self._batch(
                namespace,
                f"addr add {place.address(network)}/{prefix} dev {network}",
                f"link set {network} up",
            )

    def unplug(self, host: str) -> None:
        """Take a host's cables and namespace away; what its sockets still wanted to say is never heard."""
        place = self.places[host]
        if not (NAMESPACES / self.namespace(host)).exists():
            return
        for network in NETWORKS:
            run(["ip", "-n", self.switch, "link", "del", place.port(network)], check=False)
        self._remove_namespace(self.namespace(host))

    def set_cable(self, host: str, network: str, *, connected: bool) -> None:
        """Pull or plug one cable at the switch.

        Raises:
            LabError: there is no such network.
        """
        if network not in NETWORKS:
            raise LabError(f"there is no network {network}: {', '.join(NETWORKS)}")
        state = "up" if connected else "down"
        self._batch(self.switch, f"link set {self.places[host].port(network)} {state}")

    def silence(self, host: str) -> None:
        """All cables of a host go dead at once."""
        if (NAMESPACES / self.namespace(host)).exists():
            lines = (f"link set {self.places[host].port(network)} down" for network in NETWORKS)
            self._batch(self.switch, *lines)

    def refuse_site(self, number: int) -> None:
        """Have the control node know no way to a site: who connects there hears so at once."""
        self._batch(self.control, f"route add unreachable 10.{FIRST_NUMBERS[CONTROL]}.{number}.0/24")

    def _bridge(self, name: str) -> None:
        self._batch(
            self.switch,
            f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {name} up",
        )

    def _plug_control(self, bridge: str, interface: str, address: str) -> None:
        port = f"op{interface}"
        self._batch(
            self.switch,
            f"link add {port} type veth peer name {interface} netns {self.control}",
            f"link set {port} master {bridge}",
            f"link set {port} up",
        )
        self._batch(self.control, f"addr add {address} dev {interface}", f"link set {interface} up")

    def _batch(self, namespace: str, *lines: str) -> None:
        run(["ip", "-n", namespace, "-batch", "-"], input_text="\n".join(lines) + "\n")

    def _add_namespace(self, namespace: str) -> None:
        run(["ip", "netns", "add", namespace])
        self._batch(namespace, "link set lo up")

    def _remove_namespace(self, namespace: str) -> None:
        if (NAMESPACES / namespace).exists():
            run(["ip", "netns", "del", namespace])
