"""A command line whose terminal, clock and agent are in the test's hands."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.cli.fake_agent import FakeAgent

from twinhull.cli.main import main
from twinhull.cli.shell import Shell
from twinhull.config import ClusterConfig, NodeConfig, parse_cluster

EXAMPLE = Path(__file__).parents[3] / "inventories" / "example" / "cluster.yml"
NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@dataclass
class Console:
    """Runs commands against the fake agent.

    Args:
        pauses: what Ctrl-C interrupts: after so many pauses it is pressed.
    """

    agent: FakeAgent
    node_config: Path
    typed: list[str] = field(default_factory=list)
    interactive: bool = False
    colour: bool = False
    pauses: int = 1000
    out: str = ""
    err: str = ""
    targets: list[str] = field(default_factory=list)
    stdin: str = ""
    waited_s: float = 0.0

    def run(self, *argv: str) -> int:
        """Run one command; its output is in `out` and `err`, how long it waited in `waited_s`."""
        out, err = io.StringIO(), io.StringIO()
        self.waited_s = 0.0
        shell = Shell(
            out,
            err,
            self._ask,
            interactive=self.interactive,
            colour=self.colour,
            pause=self._pause,
            clock=lambda: self.waited_s,
            stdin=lambda: self.stdin,
            secret=lambda: self.stdin,
            now=lambda: NOW,
            connect=self._connect,
        )
        code = main(["--node-config", str(self.node_config), *argv], shell)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def _ask(self, prompt: str) -> str:
        if not self.typed:
            raise EOFError
        return self.typed.pop(0)

    def _pause(self, seconds: float) -> None:
        self.pauses -= 1
        self.waited_s += seconds
        if self.pauses < 0:
            raise KeyboardInterrupt

    def _connect(self, node: NodeConfig, cluster: ClusterConfig, target: str) -> FakeAgent:
        self.targets.append(target)
        return self.agent


@pytest.fixture
def cluster_file(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yml"
    path.write_text(EXAMPLE.read_text())
    return path


@pytest.fixture
def console(tmp_path: Path, cluster_file: Path) -> Console:
    node_config = tmp_path / "node.yml"
    node_config.write_text(f"node: a\ncluster_config: {cluster_file}\npki_dir: {tmp_path / 'pki'}\n")
    return Console(FakeAgent(parse_cluster(cluster_file.read_text())), node_config)
