"""What a command needs from its surroundings: the terminal, the clock, the agent. Tests pass their own."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from ..config import DEFAULT_NODE_CONFIG, ClusterConfig, NodeConfig, load_cluster, load_node
from ..errors import ConfigError, UsageError
from .connection import connect

Answer = dict[str, Any]
MAX_SECRET_BYTES = 64 << 10


class Agent(Protocol):
    """A connection to an agent."""

    def call(self, method: str, arguments: Mapping[str, Any]) -> Answer:
        """The agent's answer. Raises TransportError, AgentDownError, or the error that the agent told."""

    def close(self) -> None:
        """Idempotent."""


Connect = Callable[[NodeConfig, ClusterConfig, str], Agent]


@dataclass(slots=True)
class Shell:
    """Terminal, clock and agents of one run of the command.

    Args:
        out, err: where results and remarks go.
        ask: shows a prompt and reads a line; raises EOFError when there is none.
        interactive: a person sits there, who can be asked and shown progress.
        colour: whether `out` shows colours.
        width: columns of `out`; 0 when it is no terminal.
        pause: waits for that many seconds.
        clock: seconds, monotonic.
        stdin: reads all of standard input; raises ConfigError when it is not text.
        secret: reads a password, without its line break; shown nowhere.
        now: the present time in UTC.
        connect: makes a connection to the agent of a node.
    """

    out: TextIO
    err: TextIO
    ask: Callable[[str], str]
    interactive: bool
    colour: bool
    width: int = 0
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    stdin: Callable[[], str] = field(default=lambda: _read_stdin(sys.stdin))
    secret: Callable[[], str] = field(default=lambda: read_secret(sys.stdin, sys.stderr))
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    connect: Connect = connect
    node_config: Path = DEFAULT_NODE_CONFIG
    target: str | None = None
    json: bool = False

    def say(self, text: str = "") -> None:
        """A line of the result."""
        print(text, file=self.out)

    def remark(self, text: str) -> None:
        """A line beside the result (standard error)."""
        print(text, file=self.err)

    def result(self, plain: object, human: str) -> None:
        """The result: as JSON when that was asked for, otherwise the text for people."""
        self.say(json.dumps(plain, indent=2, ensure_ascii=False) if self.json else human)

    def node(self) -> NodeConfig:
        """The configuration of this node. Raises ConfigError."""
        return load_node(self.node_config)

    def configuration(self) -> tuple[NodeConfig, ClusterConfig]:
        """The configurations of this node and of the cluster. Raises ConfigError."""
        node = self.node()
        return node, load_cluster(node.cluster_config, node)

    def check_module(self, name: str) -> None:
        """Raises UsageError for a module that the configuration does not name."""
        self.configuration()[1].module(name)

    def agent(self) -> Agent:
        """A connection to the agent of this node, or of the node named by `--node`."""
        node, cluster = self.configuration()
        target = self.target or node.node
        if target not in cluster.nodes:
            raise UsageError(
                f"There is no node '{target}' in cluster {cluster.cluster}.",
                f"Nodes are: {', '.join(cluster.nodes)}.",
            )
        return self.connect(node, cluster, target)


def terminal_shell() -> Shell:
    """The shell of a real terminal; honours NO_COLOR (https://no-color.org) and TERM=dumb."""
    tty = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Shell(
        out=sys.stdout,
        err=sys.stderr,
        ask=_ask,
        interactive=sys.stdin.isatty() and sys.stderr.isatty(),
        colour=tty and not plain,
        width=shutil.get_terminal_size().columns if tty else 0,
    )


def read_secret(stdin: TextIO, stderr: TextIO) -> str:
    """A password: typed twice at a terminal, otherwise all of standard input without its last line break.

    Raises UsageError when the two differ, or when it is not UTF-8.
    """
    if stdin.isatty():
        first = getpass.getpass("Password: ", stderr)
        if getpass.getpass("Again: ", stderr) != first:
            raise UsageError("The two passwords differ.", "Nothing was changed; type it again.")
        return first
    try:
        text = stdin.buffer.read(MAX_SECRET_BYTES).decode()
    except UnicodeDecodeError:
        raise UsageError("The password on standard input is not UTF-8.", "Nothing was changed.") from None
    return text.removesuffix("\n").removesuffix("\r")


def _read_stdin(stdin: TextIO) -> str:
    try:
        return stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise ConfigError("What came on standard input is not UTF-8.", "Nothing was applied.") from None


def _ask(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


Run = Callable[[Shell, argparse.Namespace], int]
"""A command: returns its exit code."""
