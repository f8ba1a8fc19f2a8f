"""Start of an agent: `twinhull agent run`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from twinhull import config as configuration
from twinhull import log as logs
from twinhull.errors import TwinhullError
from twinhull.secrets_file import make_private_directory

from .agent import Agent
from .methods import Methods

if sys.platform == "win32":
    from twinhull.windows import api, files

    LOOK_AT_SERVICE = "sc.exe query twinhull-agent"
else:
    import fcntl

    LOOK_AT_SERVICE = "systemctl status twinhull-agent"

WATCHDOG_SHARE = 3

log = logging.getLogger(__name__)


@contextlib.contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold the lock of this node's agent. Raises TwinhullError when another agent runs."""
    make_private_directory(run_dir)
    taken = TwinhullError("Another agent already runs on this node.", f"Look at `{LOOK_AT_SERVICE}`.")
    if sys.platform == "win32":
        try:
            handle = files.open_alone(run_dir / "agent.lock")
        except OSError as error:
            if error.winerror == api.ERROR_SHARING_VIOLATION:
                raise taken from None
            raise
        try:
            yield
        finally:
            api.close_handle(handle)
    else:
        with (run_dir / "agent.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise taken from None
            yield


def host_goes_down() -> bool:
    """Whether systemd is stopping the host (systemctl(1), is-system-running)."""
    try:
        done = subprocess.run(
            ["systemctl", "is-system-running"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "stopping"


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)); nothing happens when there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or sys.platform == "win32":
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


class Manager(Protocol):
    """Who started the agent, and ends it."""

    def takes(self, agent: Agent) -> None:
        """Remember whom to end; called before it is at work."""

    def ready(self) -> None:
        """It is at work."""

    def ending(self) -> None:
        """It was told to end."""

    def host_goes_down(self) -> bool:
        """Whether its modules are to be handed over, because the host goes down with it."""

    def watchdog_s(self) -> float:
        """How often it wants to know that the agent does its work; 0: never."""

    def works(self) -> None:
        """The agent does its work."""

    def hangs(self) -> None:
        """The agent does not do its work any more."""


class _Systemd:
    """systemd, or a person at a terminal: signals, and notices to the one that asked for them."""

    def takes(self, agent: Agent) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.end())

    def ready(self) -> None:
        notify("READY=1")

    def ending(self) -> None:
        notify("STOPPING=1")

    def host_goes_down(self) -> bool:
        return host_goes_down()

    def watchdog_s(self) -> float:
        try:
            return int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6 / WATCHDOG_SHARE
        except ValueError:
            log.error("WATCHDOG_USEC is no number: the service manager is told nothing")
            return 0.0

    def works(self) -> None:
        notify("WATCHDOG=1")

    def hangs(self) -> None:
        """systemd restarts what it hears nothing of."""


def run(node_file: Path) -> int:
    """Run the agent of this node until SIGTERM or SIGINT. Arguments and errors are those of `serve`."""
    return serve(node_file, _Systemd())


def serve(node_file: Path, manager: Manager) -> int:
    """Run the agent of this node until its manager ends it.

    Args:
        node_file: the node's own configuration.
        manager: who started this process.

    Raises:
        ConfigError: a configuration is invalid.
        TwinhullError: another agent runs, or no certificate is there.
    """
    node = configuration.load_node(node_file)
    cluster = configuration.load_cluster(node.cluster_config, node)
    handle = logs.setup_logging(node.log_dir, node.node)
    try:
        with _only_one(node.run_dir):
            agent = Agent(node_file, node, cluster)
            manager.takes(agent)
            agent.start(Methods(agent).table())
            log.info("the agent of %s in cluster %s is at work", node.node, cluster.cluster)
            manager.ready()
            threading.Thread(
                target=_feed_watchdog, args=(agent, manager), name="watchdog", daemon=True
            ).start()
            agent.wait()
            manager.ending()
            if manager.host_goes_down():
                log.info("the host goes down: the modules are handed over")
                agent.leave()
            agent.stop()
            log.info("the agent ends; the workers go on")
    finally:
        handle.close()
    return 0


def _feed_watchdog(agent: Agent, manager: Manager) -> None:
    """Prove to the service manager that the agent still does its work, as long as it does."""
    interval_s = manager.watchdog_s()
    while interval_s > 0 and agent.healthy(interval_s):
        manager.works()
    if interval_s > 0 and not agent.ended:
        log.critical("the agent does not do its work any more; the service manager restarts it")
        manager.hangs()
