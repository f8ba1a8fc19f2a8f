"""Two network namespaces that stand for the two nodes of a site, and the collection's real modules run in them."""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
MODULES = REPOSITORY / "collections" / "ansible_collections" / "twinhull" / "ha" / "plugins" / "modules"
NODES = ("a", "b")
NETWORKS = {"lan": "10.91.1", "direct": "10.91.2"}
HOSTS = {"a": 11, "b": 12}
CLUSTER: dict[str, Any] = {
    "cluster": "lyon",
    "nodes": {
        node: {"addresses": {name: f"{prefix}.{HOSTS[node]}" for name, prefix in NETWORKS.items()}}
        for node in NODES
    },
    "networks": {
        "lan": {"roles": ["heartbeat", "control"]},
        "direct": {"roles": ["replication", "heartbeat"]},
    },
    "modules": {
        "VM1": {"number": 1, "size": "1 GiB", "folder": "/srv/twinhull/VM1", "resource": {"kind": "scripts"}}
    },
}

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


def run(*argv: str) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


class Pair:
    """The two namespaces. Their names carry this process's id, so that several runs do not meet."""

    def __init__(self) -> None:
        self._stem = f"thp{os.getpid()}"

    def namespace(self, node: str) -> str:
        """The name of the node's namespace."""
        return f"{self._stem}-{node}"

    def up(self) -> None:
        """Make the namespaces and join them by one veth pair for each network."""
        for node in NODES:
            run("ip", "netns", "add", self.namespace(node))
            self.ip("a" if node == "a" else "b", "link", "set", "lo", "up")
        for name in NETWORKS:
            ends = {node: f"{self._stem[-8:]}{name[0]}{node}" for node in NODES}
            run("ip", "link", "add", ends["a"], "type", "veth", "peer", "name", ends["b"])
            for node, end in ends.items():
                run("ip", "link", "set", end, "netns", self.namespace(node), "name", name)
                self.bring_up(node, name)

    def bring_up(self, node: str, name: str) -> None:
        """Give the interface the node's address on this network."""
        self.ip(node, "address", "add", f"{NETWORKS[name]}.{HOSTS[node]}/24", "dev", name)
        self.ip(node, "link", "set", name, "up")

    def down(self) -> None:
        """Remove what `up` made."""
        for node in NODES:
            subprocess.run(["ip", "netns", "delete", self.namespace(node)], capture_output=True)

    def ip(self, node: str, *arguments: str) -> str:
        """ip(8) in the node's namespace."""
        return run("ip", "-n", self.namespace(node), *arguments)

    def inside(self, node: str, *argv: str) -> str:
        """Any command in the node's namespace."""
        return run("ip", "netns", "exec", self.namespace(node), *argv)

    def module(self, node: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Run one of the collection's modules on the node; its result."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace(node), sys.executable, str(MODULES / f"{name}.py")],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "collections")},
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    @contextmanager
    def delayed(self, network: str, delay_s: float) -> Iterator[None]:
        """In place of the network's cable, one that holds each packet back for this long."""
        devices = {}
        for node in NODES:
            self.ip(node, "link", "delete", network) if node == "a" else None
            devices[node] = self._tun(node, network)
        for node in NODES:
            self.bring_up(node, network)
        ended = threading.Event()
        cable = threading.Thread(target=_carry, args=(devices["a"], devices["b"], delay_s, ended))
        cable.start()
        try:
            yield
        finally:
            ended.set()
            cable.join()
            for descriptor in devices.values():
                os.close(descriptor)

    def _tun(self, node: str, name: str) -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", f"{self._stem[-8:]}{name[0]}{node}".encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        made = f"{self._stem[-8:]}{name[0]}{node}"
        run("ip", "link", "set", made, "netns", self.namespace(node), "name", name)
        return descriptor


def _carry(first: int, second: int, delay_s: float, ended: threading.Event) -> None:
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    with selectors.DefaultSelector() as selector:
        selector.register(first, selectors.EVENT_READ, second)
        selector.register(second, selectors.EVENT_READ, first)
        while not ended.is_set():
            pause_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.05
            for key, _ in selector.select(min(pause_s, 0.05)):
                number += 1
                packet = os.read(key.fd, 65536)
                heapq.heappush(waiting, (time.monotonic() + delay_s, number, key.data, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                os.write(target, packet)


def gather(pair: Pair) -> dict[str, dict[str, Any]]:
    """The real facts of both nodes, each from within its namespace."""
    facts = {}
    for node in NODES:
        result = pair.module(
            node, "preflight_facts", ports=[7410, 7411, 7421], folders=["/srv/twinhull/VM1"], domains=["VM1"]
        )
        facts[node] = result["ansible_facts"]["twinhull_preflight"]
    return facts


def try_networks(
    pair: Pair, planned: Mapping[str, Mapping[str, Any]], *, bandwidth: bool = True
) -> dict[str, list[Any]]:
    """What the role does, in its order: listen on both, connect from both, measure one direction after the other, stop."""
    listening = {
        node: pair.module(node, "preflight_network", state="listening", listen=planned[node]["listen"])
        for node in NODES
    }
    try:
        connected = [
            pair.module(
                node, "preflight_network", state="connected", targets=planned[node]["connect"], timeout_s=1
            )
            for node in NODES
        ]
        measured = [
            pair.module(node, "preflight_network", state="measured", targets=planned[node]["measure"])
            for node in NODES
            if bandwidth
        ]
    finally:
        stopped = [
            pair.module(node, "preflight_network", state="stopped", listener=listening[node]["listener"])
            for node in NODES
        ]
    assert all(result["stopped"] for result in stopped), "a listener had ended before it was told to"
    return {
        "bound": [entry for result in listening.values() for entry in result["bound"]],
        "connect": [entry for result in connected for entry in result["connections"]],
        "measure": [entry for result in measured for entry in result["connections"]],
    }
