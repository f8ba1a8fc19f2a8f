"""A real etcd server in a lab, as an integrator would have it: a third host, on a network of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import Lab, LabError
from tests.lab.install import WITNESS_NETWORK
from tests.lab.lab import SUBNETS as NODE_SUBNETS
from tests.lab.network import OBSERVER

from .servers import READY_S, EtcdCluster, Server

SUBNETS: Mapping[str, str] = {**NODE_SUBNETS, WITNESS_NETWORK: "10.77.9"}
CLIENT_PORT, PEER_PORT = 2379, 2380
DIRECTORY = "/etc/twinhull/witness"
FILES = {"ca.crt": "ca.pem", "one.crt": "client.pem", "one.key": "client.key"}
POLL_S = 0.1


class LabEtcd:
    """One server in the observer's place. It outlives every node, and is killed and started again by the tests.

    Args:
        lab: made with `SUBNETS`; up before `start`.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        # It dies with the process that made the lab: a killed run leaves nothing behind.
        enter = ("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", lab.fabric.namespace(OBSERVER))
        directory = lab.root / "etcd"
        server = Server("one", directory / "data", CLIENT_PORT, PEER_PORT)
        address = lab.witness_address(WITNESS_NETWORK)
        self.cluster = EtcdCluster(directory, servers=[server], address=address, enter=enter)

    @property
    def directory(self) -> Path:
        """Certificates, data and log of the server."""
        return self.cluster.directory

    def words(self, timeout_s: float) -> dict[str, Any]:
        """`witness` of cluster.yml."""
        files = dict(
            zip(("ca", "cert", "key"), (f"{DIRECTORY}/{name}" for name in FILES.values()), strict=True)
        )
        endpoint = f"https://{self.cluster.address}:{CLIENT_PORT}"
        return {"kind": "etcd", "endpoints": [endpoint], "timeout": timeout_s, **files}

    def start(self) -> None:
        """Start it, or start it again with the data it had; it answers then."""
        (server,) = self.cluster.servers
        if server.process is not None:
            server.process.send_signal(signal.SIGCONT)
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cluster.prepare()
        self.cluster.run(server)
        self._wait()

    def freeze(self) -> None:
        """It accepts connections and answers nothing, until `start`."""
        self.cluster.signal(self.cluster.servers[0], signal.SIGSTOP)

    def kill(self) -> None:
        """Power loss."""
        self.cluster.stop()

    def hand_out(self, directory: Path | None = None) -> None:
        """Give both nodes the files of the client; from another directory where others were made."""
        for node in self._lab.nodes.values():
            target = node.disk(DIRECTORY)
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(0o700)
            for source, name in FILES.items():
                draft = target / f".{name}"
                shutil.copyfile((directory or self.directory) / source, draft)
                draft.chmod(0o600)
                draft.replace(target / name)

    def record(self, module: str) -> str:
        """The value of a module's key, as etcd's own client shows it; empty when there is none."""
        return self.cluster.ctl("get", "--print-value-only", f"/twinhull/{self._lab.name}/{module}").strip()

    def _wait(self) -> None:
        """Until a linearizable read is answered."""
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                self.cluster.ctl("get", "anything")
                return
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                if time.monotonic() > deadline_s:
                    raise LabError(f"etcd of lab {self._lab.name} does not answer: {error}") from error
                time.sleep(POLL_S)
