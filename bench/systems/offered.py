"""A module of ours whose disk is its iSCSI export, mirrored to the other node, asked on the primary by QEMU's initiator."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.failover.watching import WORKER
from tests.lab.commands import LabError, run

from bench import initiator
from bench.systems.pair import Pair

OFFER = "/run/twinhull/targets/{}.json"


class Offered:
    """See `base.Disk`. The initiator gets the secret by its environment, which no other user can read."""

    def __init__(self, directory: Path, name: str) -> None:
        size = f"{initiator.DISK_BYTES >> 30} GiB"
        self.pair = Pair(directory, name, size=size, words={"export": {"kind": "iscsi", "attach": "none"}})

    def _offer(self) -> dict[str, str]:
        file = self.pair.primary.path(OFFER.format(self.pair.modules[0].name))
        words: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return words

    @property
    def url(self) -> str:
        """The disk that the primary offers now."""
        offer = self._offer()
        return f"iscsi://{offer['address']}:{offer['port']}/{offer['target']}/0"

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run the initiator on the primary, with what it needs to log in. Raises LabError."""
        offer, node = self._offer(), self.pair.primary
        login = {"LIBISCSI_CHAP_USERNAME": offer["user"], "LIBISCSI_CHAP_PASSWORD": offer["secret"]}
        environment = {**self.pair.lab.environment(), **login}
        return run(node.enter(argv), timeout_s=timeout_s, env=environment, cwd="/").stdout

    def servers(self) -> list[int]:
        """Agents and workers of both nodes, once both are green. Raises LabError."""
        self.pair.wait_green()
        found = []
        for node in self.pair.lab.nodes.values():
            agent = node.service_pid("agent")
            if agent is None:
                raise LabError(f"node {node.name} has no agent")
            found += [agent, *node.processes(WORKER)]
        return found

    def close(self) -> None:
        """Take the nodes away."""
        self.pair.close()
