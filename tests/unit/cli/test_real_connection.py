"""The command line against a real control server over mutual TLS on the loopback."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import EXAMPLE
from tests.unit.cli.fake_agent import FakeAgent

from twinhull.cli.main import main
from twinhull.cli.shell import Shell
from twinhull.config import parse_cluster
from twinhull.transport import pki
from twinhull.transport.control import Caller, ControlServer
from twinhull.transport.tls import Role, server_context

ADDRESS = "127.0.0.1"


class Node:
    """A node's directory, and a server that answers for its agent while it is up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with socket.socket() as probe:
            probe.bind((ADDRESS, 0))
            self.port = probe.getsockname()[1]
        pki.init_ca(path / "ca", "site-042")
        pki.issue(path / "ca", "a", Role.NODE, path / "pki")
        text = EXAMPLE.read_text().replace("control: 7410", f"control: {self.port}")
        self.agent = FakeAgent(parse_cluster(text))
        (path / "cluster.yml").write_text(text)
        (path / "node.yml").write_text(
            f"node: a\ncluster_config: {path / 'cluster.yml'}\npki_dir: {path / 'pki'}\n"
        )
        self.server: ControlServer | None = None

    def up(self) -> None:
        context = server_context(self.path / "pki")
        methods = self.agent.methods()
        self.server = ControlServer([(ADDRESS, self.port)], context, methods, cluster="site-042")
        self.server.start()

    def down(self) -> None:
        if self.server is not None:
            self.server.close()

    def run(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        shell = Shell(out, err, input, interactive=False, colour=False, pause=lambda _seconds: None)
        code = main(["--node-config", str(self.path / "node.yml"), *argv], shell)
        return code, out.getvalue(), err.getvalue()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.down()


def test_a_command_reaches_the_agent_and_its_answer_comes_back(node: Node) -> None:
    node.up()
    assert node.run("swap", "VM1") == (0, "It is done.\n", "")
    code, out, _ = node.run("status")
    assert (code, "module VM1" in out) == (0, True)


def test_an_operators_certificate_is_used_where_there_is_one(node: Node) -> None:
    pki.issue(node.path / "ca", "jane", Role.OPERATOR, node.path / "pki")
    callers: list[tuple[str, Role]] = []

    def remember(caller: Caller, _arguments: dict[str, Any]) -> dict[str, Any]:
        callers.append((caller.name, caller.role))
        return node.agent.status

    table = {"status": remember}
    server = ControlServer(
        [(ADDRESS, node.port)], server_context(node.path / "pki"), table, cluster="site-042"
    )
    server.start()
    try:
        assert node.run("status")[0] == 0
    finally:
        server.close()
    assert callers == [("jane", Role.OPERATOR)]


def test_what_the_agent_refuses_comes_with_its_remedy_and_exit_code(node: Node) -> None:
    node.up()
    code, _, err = node.run("job", "99")
    assert (code, err) == (2, "twinhull: There is no job 99.\nSee: twinhull status\n")


def test_where_no_agent_runs_it_is_said_with_what_to_do(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other node's address would have to be answered by somebody; the loopback refuses at once.
    monkeypatch.setattr("twinhull.config.ClusterConfig.addresses", lambda *_: {"heartbeat": ADDRESS})
    code, _, err = node.run("status")
    assert code == 9
    assert err.startswith("twinhull: No agent answers on node a: ")
    assert "systemctl start twinhull-agent" in err
    code, _, err = node.run("--node", "b", "status")
    assert code == 9
    assert "On node b, look with: systemctl status twinhull-agent" in err


def test_an_impostor_gets_no_command(node: Node) -> None:
    pki.issue(node.path / "ca", "b", Role.NODE, node.path / "other")
    server = ControlServer(
        [(ADDRESS, node.port)], server_context(node.path / "other"), node.agent.methods(), cluster="site-042"
    )
    server.start()
    try:
        code, _, err = node.run("swap", "VM1")
    finally:
        server.close()
    assert (code, node.agent.asked) == (4, [])
    assert "'b'" in err


def test_without_a_certificate_the_command_says_what_is_missing(node: Node) -> None:
    (node.path / "pki" / "node.key").unlink()
    code, _, err = node.run("status")
    assert code == 10
    assert "node.key" in err
