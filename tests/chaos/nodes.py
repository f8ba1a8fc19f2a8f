"""The pair that the rounds trouble: nodes with disks that fail on command and two versions of the program."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from tests.integration.failover.pair import MODULE, TIMEOUT_S, Pair
from tests.integration.failover.reports import Run, missing, read_fresh
from tests.integration.failover.reports import first_difference as difference_of
from tests.integration.witness import in_lab
from tests.lab import Lab, LabError, Node
from tests.lab.fixtures import REPOSITORY
from tests.lab.lab import SUBNETS
from tests.lab.node import DATA_DIRECTORY

from .deep import DeepReports
from .disk import Disk
from .plan import Witness

FULL = f"{DATA_DIRECTORY}/full"
AGENT = "twinhull.cli agent run"
DISK_MIB = 2048
PING = {"kind": "ping", "addresses": ["10.77.1.254", "10.77.2.254"], "timeout": TIMEOUT_S / 2}
WITNESS_TIMEOUT_S = TIMEOUT_S / 2
VERSIONS = ("one", "two")
NEXT_VERSION = "0.1.999"
SPLIT = ": split brain"


class ChaosLab(Lab):
    """A lab whose nodes run the version of Twinhull that stands in a file of theirs, by name."""

    @property
    def twinhull_command(self) -> str:
        """The nodes' `twinhull`."""
        return str(self.versions / "twinhull")

    @property
    def versions(self) -> Path:
        """Where the versions are installed."""
        return self.root / "versions"

    def write_versions(self) -> None:
        """The present program, and the same with the next number."""
        for version in VERSIONS:
            target = self.versions / version / "twinhull"
            shutil.copytree(
                REPOSITORY / "agent/twinhull", target, ignore=shutil.ignore_patterns("__pycache__")
            )
        first_lines = self.versions / VERSIONS[1] / "twinhull" / "__init__.py"
        text = first_lines.read_text(encoding="utf-8").rsplit("__version__", 1)[0]
        first_lines.write_text(f'{text}__version__ = "{NEXT_VERSION}"\n', encoding="utf-8")
        for node in self.nodes:
            self.set_version(node, VERSIONS[0])
        script = self.versions / "twinhull"
        choose = f'PYTHONPATH="{self.versions}/$(cat {self.versions}/of-$(hostname))"'
        lines = ["#!/bin/sh", choose, "export PYTHONPATH", f'exec {sys.executable} -m twinhull.cli "$@"']
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script.chmod(0o755)

    def version_of(self, node: str) -> str:
        """Which version the node's next process is of."""
        return (self.versions / f"of-{node}").read_text(encoding="ascii").strip()

    def set_version(self, node: str, version: str) -> None:
        """Install another version on a node; what runs there runs on."""
        (self.versions / f"of-{node}").write_text(f"{version}\n", encoding="ascii")


class ChaosPair(Pair):
    """The module on two such nodes.

    Args:
        root: directory for everything of the lab.
        name: of the lab, unique on the machine.
        witness: who stands between the nodes.
    """

    lab: ChaosLab

    def __init__(self, root: Path, name: str, witness: Witness) -> None:
        remembers = witness is Witness.ETCD
        subnets = in_lab.SUBNETS if remembers else SUBNETS
        lab = ChaosLab(root, name, disk_limit_mib=DISK_MIB, subnets=subnets)
        self.etcd = in_lab.LabEtcd(lab) if remembers else None
        words = self.etcd.words(WITNESS_TIMEOUT_S) if self.etcd is not None else PING
        super().__init__(lab, witness=words, keep="ask")
        self.reconfigured = False
        self.deep = DeepReports(self.lab.reports / f"{MODULE}.deep")
        self.disks: dict[str, Disk] = {}
        self.damaged: set[str] = set()

    @property
    def witness(self) -> in_lab.LabEtcd:
        """The etcd. Raises LabError where the witness is another one."""
        if self.etcd is None:
            raise LabError("the witness of this pair is no etcd")
        return self.etcd

    def begin(self) -> None:
        """Make the lab, install, protect, and see it mirrored."""
        self.lab.up(boot=False)
        if self.etcd is not None:
            self.etcd.start()
            self.etcd.hand_out()
        self.lab.write_versions()
        for name, node in self.lab.nodes.items():
            mount_dir = self.lab.root / "disks" / name
            mount_dir.parent.mkdir(exist_ok=True)
            self.disks[name] = Disk(node.data_image, mount_dir)
            node.data_image = self.disks[name].power_on()
        for node in self.lab.nodes.values():
            node.boot()
        self.install()
        self.protect()

    def close(self) -> None:
        """Remove all of it."""
        for disk in self.disks.values():
            disk.healthy()
        if self.etcd is not None:
            self.etcd.kill()
        super().close()
        for disk in self.disks.values():
            disk.close()
        shutil.rmtree(self.lab.root, ignore_errors=True)

    def module_words(self) -> dict[str, Any]:
        """The module in cluster.yml: all of the load is its resource."""
        words = super().module_words()
        start = ["/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.chaos.load"]
        start += [str(self.reports.path), str(self.deep.path)]
        return {**words, "resource": {"kind": "scripts", "start": start, "process": True}}

    # -- power with a volatile cache -------------------------------------------------------------

    def lose_power(self, node: Node, seed: int) -> None:
        """Power loss: processes, network and what the disk had in its cache."""
        lost = self.disks[node.name].power_off(seed)
        self.power_off(node)
        self.say(f"the disk of node {node.name} lost {lost} writes that were not flushed")

    def power_on(self, node: Node) -> None:
        """Boot, with a disk that works."""
        node.data_image = self.disks[node.name].power_on()
        super().power_on(node)

    def repair_disks(self) -> None:
        """All disks work again; a node whose disk had errors starts anew with it, since its file system gave up."""
        for disk in self.disks.values():
            disk.healthy()
        for name in sorted(self.damaged):
            node = self.lab[name]
            if node.alive:
                self.say(f"node {name} is switched off for the repair of its disk")
                self.lose_power(node, 0)
        self.damaged.clear()

    def make_room(self, node: Node) -> None:
        """Remove what had filled the node's disk."""
        if node.alive:
            node.run(["rm", "-f", FULL])

    # -- judgement --------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether both nodes are green and no command is being carried out."""
        looks = [self.watch.now(name).words for name in self.lab.nodes]
        return self.is_green() and not any(words.get("operation") for words in looks if words)

    def split_told(self) -> bool:
        """Whether a node says that there are two histories."""
        return any(SPLIT in text for text in self.warnings())

    def warnings(self) -> list[str]:
        """What both nodes warn of at present."""
        looks = [self.watch.now(name).words for name in self.lab.nodes]
        return [str(text) for words in looks if words for text in words["warnings"]]

    def give_up(self, loser: Node, after: int, before: frozenset[str]) -> None:
        """A person gave up what the node wrote since it was cut off.

        Args:
            loser: whose history ends; nothing of it runs any more.
            after: the last number of the common history that is certain.
            before: names of the runs that had begun before the cut.
        """
        for run in self.reports.read():
            if run.node == loser.name and run.name not in before:
                run.given_up = True
            elif run.node == loser.name:
                _shorten(run, after)
        for name, deep in self.deep.read().items():
            if deep.node == loser.name:
                deep.floor.clear()
                if name not in before:
                    deep.look = dict.fromkeys(deep.look, sys.maxsize)

    def violations(self, *, split: bool) -> dict[str, list[str]]:
        """What is wrong, now that the pair is green and the load writes; sentences by the name of the promise.

        Args:
            split: there were two histories, as announced: two writers at once were to be expected.
        """
        primary = self.primary
        with self._file_system_frozen(primary):
            runs = self.reports.read()
            folder = primary.path(self.protected.folder)
            lost = missing(runs, read_fresh(folder / "journal"), read_fresh(folder / "table"))
            lost += self.deep.lost(read_fresh(folder / "deep"))
            difference = difference_of(*(self.protected.data_file(name) for name in self.lab.nodes))
        complaints, self.deep.complaints = self.deep.complaints, []
        doubles = [] if split else self.watch.doubles()
        return {
            "records_missing": lost + complaints + self.reports.broken_order(),
            "replicas_differing": [] if difference is None else [f"at byte {difference}"],
            "double_writers": doubles,
            "defects": self._new_defects(),
        }

    def acknowledged(self) -> int:
        """How many writes were told of as acknowledged and flushed, ever."""
        journaled = sum(len(run.acknowledged) for run in self.reports.read())
        return journaled + sum(run.counted for run in self.deep.read().values())


def _shorten(run: Run, after: int) -> None:
    for number in [number for number in run.acknowledged if number > after]:
        del run.acknowledged[number]


def other_version(version: str) -> str:
    """The version that a node is changed to."""
    return VERSIONS[1 - VERSIONS.index(version)]
