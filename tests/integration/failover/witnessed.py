"""A pair with a real etcd as its witness, which both nodes reach over a network of its own."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.witness.in_lab import LabEtcd
from tests.lab import Lab, LabError, Node
from tests.lab.install import WITNESS_NETWORK
from tests.lab.waiting import wait_until

from .pair import MODULE, PATIENCE_S, TIMEOUT_S, Pair
from .watching import Watch

WITNESS_TIMEOUT_S = TIMEOUT_S / 2


class WitnessedPair(Pair):
    """The module on its two nodes, and etcd.

    Args:
        lab: made with the witness's network (`in_lab.SUBNETS`), up.
        cluster: keys of cluster.yml that replace the lab's own.
    """

    def __init__(self, lab: Lab, **cluster: Any) -> None:
        self.etcd = LabEtcd(lab)
        super().__init__(lab, **{"witness": self.etcd.words(WITNESS_TIMEOUT_S), **cluster})

    def install(self) -> None:
        """The server first, then configuration, agents and the files that they need to ask it."""
        self.etcd.start()
        self.etcd.hand_out()
        super().install()

    def close(self) -> None:
        """Remove everything."""
        self.etcd.kill()
        super().close()

    def to_green(self, timeout_s: float = PATIENCE_S) -> None:
        """End all trouble, the witness's too, and wait for the mirrored pair."""
        self.etcd.start()
        super().to_green(timeout_s)

    # -- trouble -------------------------------------------------------------------------------

    def cut_between(self) -> None:
        """All networks between the nodes are cut; each still reaches the witness."""
        self.say("all networks between the nodes are cut")
        for network in self.lab.fabric.subnets:
            self.lab.isolate(network)

    def cut_from_witness(self, node: Node) -> None:
        """The node does not reach the witness any more."""
        self.say(f"node {node.name} is cut off from the witness")
        node.cut(WITNESS_NETWORK)

    def stop_etcd(self) -> None:
        """The witness is gone."""
        self.say("etcd is killed")
        self.etcd.kill()

    def start_etcd(self) -> None:
        """The witness is back, with what it knew."""
        self.say("etcd is started again")
        self.etcd.start()

    def wait_one_alone(self) -> Node:
        """Wait until a node goes on alone, whichever that is; that node."""

        def alone() -> list[str]:
            return [name for name in self.lab.nodes if self.watch.now(name).state == "ALONE"]

        self.wait("a node to go on alone", lambda _: bool(alone()))
        return self.lab[alone()[0]]

    # -- what it knows -------------------------------------------------------------------------

    def witness_shown(self, node: Node) -> dict[str, Any]:
        """What `twinhull witness show` says on a node. Raises LabError when it fails."""
        told: dict[str, Any] = json.loads(node.twinhull("witness", "show", MODULE, "--json").stdout)
        return told

    def wait_listed(self, *nodes: Node) -> None:
        """Wait until the record lists exactly these nodes."""
        wanted, seen = sorted(node.name for node in nodes), ""

        def listed() -> bool:
            nonlocal seen
            words = self.witness_shown(nodes[0])
            seen = str(words["sentence"])
            record = words["record"]
            return record is not None and sorted(each["node"] for each in record["may_start"]) == wanted

        try:
            wait_until(f"the witness to list {' and '.join(wanted)}", listed, PATIENCE_S)
        except LabError as error:
            raise LabError(f"{error}; it says: {seen}\n{self.watch.story()}") from error

    def wait_warning(self, node: Node, words: str) -> None:
        """Wait until a warning of the module's status on a node holds these words."""
        self.wait(
            f"node {node.name} to warn of '{words}'",
            lambda watch: any(words in text for text in self.warnings(node)),
        )

    def warnings(self, node: Node) -> list[str]:
        """The warnings of the module's status on a node; none while nobody can tell."""
        words = self.watch.now(node.name).words
        return [str(text) for text in words["warnings"]] if words else []

    def wait_waits_for(self, node: Node, words: str) -> None:
        """Wait until the node says that it waits, and why, with the module off."""

        def waits(watch: Watch) -> bool:
            look = watch.now(node.name)
            if look.words is None or look.state != "WAIT" or watch.mounted(node.name):
                return False
            return words in f"{look.words['sentence']} {look.words['waiting_for']}"

        self.wait(f"node {node.name} to wait because '{words}'", waits)
