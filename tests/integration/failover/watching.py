"""Looks at both nodes all the time: what their agents say of the module, and where its folder is mounted.

Every look is a call of the agent's `status_local` over mutual TLS, made inside the node's network namespace, as
`twinhull status` would make it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.lab import Lab, LabError, Node
from tests.lab.install import NODE_PATHS, PORTS

from twinhull.errors import TwinhullError
from twinhull.transport import tls
from twinhull.transport.control import ControlClient

WORKER = "twinhull.worker.main"
CLONE_NEWNET = 0x40000000
LOOK_S = 0.04
MOUNT_LOOK_S = 0.02
CALL_TIMEOUT_S = max(2.0, float(os.environ.get("TWINHULL_TEST_TIMEOUT_S", "2")))
FRESH_S = 0.5
RUNNING_STATES = ("PRIM", "ALONE")
MOUNT_POINT_FIELD, OPTIONS_FIELD = 4, 5

Words = dict[str, Any]
_Result = TypeVar("_Result")
_libc = ctypes.CDLL(None, use_errno=True)


def in_network_of(node: Node, call: Callable[[], _Result]) -> _Result:
    """Run `call` in a thread of its own that sees the network as the node does; its exception is raised here.

    Raises LabError for a node that is off.
    """

    def inside() -> _Result:
        enter_network_of(node)
        return call()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(inside).result()


def enter_network_of(node: Node) -> None:
    """Move the calling thread, which must be one of its own, into the node's network namespace for good.

    Raises LabError for a node that is off.
    """
    name = node.lab.fabric.namespace(node.name)
    try:
        with open(f"/run/netns/{name}", "rb") as file:  # noqa: PTH123
            if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise LabError(f"cannot enter {name}: {os.strerror(ctypes.get_errno())}")
    except FileNotFoundError:
        raise LabError(f"node {node.name} is off") from None


def client_of(node: Node) -> ControlClient:
    """A client of the node's agent, for use inside its network namespace."""
    return ControlClient(
        "127.0.0.1",
        PORTS["control"],
        tls.client_context(node.disk(NODE_PATHS["pki_dir"])),
        cluster=node.lab.name,
        expected_name=node.name,
        timeout_s=CALL_TIMEOUT_S,
    )


@dataclass(frozen=True)
class Look:
    """What a node's agent said last.

    Args:
        asked_s, at_s: when it was asked and when it answered, monotonic seconds.
        words: the module's status; None while no agent answers.
    """

    asked_s: float
    at_s: float
    words: Words | None

    @property
    def serves(self) -> bool:
        """Whether the node says that it runs the module and holds nothing."""
        return self.words is not None and self.state in RUNNING_STATES and not self.words["holding"]

    @property
    def state(self) -> str:
        """The module's state, empty while nobody can tell."""
        return str(self.words["state"]) if self.words else ""

    @property
    def colour(self) -> str:
        """Its colour."""
        return str(self.words["colour"]) if self.words else ""

    @property
    def label(self) -> str:
        """State and colour in two words, for messages."""
        return f"{self.state} {self.colour}" if self.words else "silent"


@dataclass(frozen=True)
class Row:
    """Answers of one node, in a row, that it serves the module.

    Args:
        since_s: when the first of them came.
        asked_s: when the last but one was asked for; None while there is one only.
        last_s: when the last was asked for.
    """

    since_s: float
    asked_s: float | None
    last_s: float


def longer(row: Row | None, look: Look) -> Row | None:
    """The row with one more answer; None when the answer ends it."""
    if not look.serves:
        return None
    if row is None:
        return Row(look.at_s, None, look.asked_s)
    return Row(row.since_s, row.last_s, look.asked_s)


def both_serve(one: Row | None, other: Row | None) -> bool:
    """Whether two nodes were found serving at the same time.

    Answers take a while on a loaded machine, and two that overlap prove nothing: the one may tell of a time before the
    hand-over, the other of a time after it. So each node must have been asked, twice over, after the other had answered
    that it serves: the first answer may still be what the agent knew before it read what its worker had told it.
    """
    if one is None or other is None or one.asked_s is None or other.asked_s is None:
        return False
    return one.asked_s > other.since_s and other.asked_s > one.since_s


class NodeWatch(threading.Thread):
    """Asks one node's agent again and again.

    Args:
        told: called under no lock after each answer.
    """

    def __init__(self, node: Node, module: str, told: Callable[[str, Look], None]) -> None:
        super().__init__(name=f"watch-{node.name}", daemon=True)
        self._node = node
        self._module = module
        self._told = told
        self._over = threading.Event()

    def run(self) -> None:
        """Until `end`; after a power loss the node has a new network, so a new life begins."""
        while not self._over.is_set():
            life = threading.Thread(target=self._live, daemon=True)
            life.start()
            life.join()
            now_s = time.monotonic()
            self._told(self._node.name, Look(now_s, now_s, None))
            self._over.wait(LOOK_S)

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self.join()

    def _live(self) -> None:
        born = self._node.state.init_pid
        if not self._node.alive:
            return
        with contextlib.suppress(OSError, LabError):
            enter_network_of(self._node)
            with client_of(self._node) as client:
                while not self._over.is_set() and self._node.state.init_pid == born:
                    asked_s = time.monotonic()
                    words = self._ask(client)
                    self._told(self._node.name, Look(asked_s, time.monotonic(), words))
                    self._over.wait(LOOK_S)

    def _ask(self, client: ControlClient) -> Words | None:
        try:
            words: Words = client.call("status_local", {})["modules"][self._module]
        except (TwinhullError, OSError, KeyError):
            return None
        return words


class Watch:
    """Both nodes.

    Args:
        lab: whose nodes, up.
        module, folder: the module.
    """

    def __init__(self, lab: Lab, module: str, folder: str) -> None:
        self._lab = lab
        self._folder = folder
        self._begun_s = time.monotonic()
        self._changed = threading.Condition()
        self._looks = {name: Look(0.0, 0.0, None) for name in lab.nodes}
        self._rows: dict[str, Row | None] = dict.fromkeys(lab.nodes)
        self._story: list[str] = []
        self._doubles: list[str] = []
        self._over = threading.Event()
        self._woke_s: dict[str, float] = {}
        self._watches = [NodeWatch(node, module, self._take) for node in lab.nodes.values()]
        self._mounts = threading.Thread(target=self._look_at_mounts, name="watch-mounts", daemon=True)
        for thread in (*self._watches, self._mounts):
            thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        for watch in self._watches:
            watch.end()
        self._mounts.join()

    def now(self, node: str) -> Look:
        """What the node's agent said last."""
        return self._looks[node]

    def wait(self, what: str, condition: Callable[[Watch], bool], timeout_s: float) -> None:
        """Wait until the condition holds after some look. Raises LabError, telling the story so far."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not condition(self):
                if not self._changed.wait(max(0.0, deadline_s - time.monotonic())):
                    raise LabError(f"waited {timeout_s:g} s in vain for {what}\n{self.story()}")

    def note(self, text: str) -> None:
        """Add a sentence to the story."""
        self._story.append(f"{time.monotonic() - self._begun_s:8.2f}    {text}")

    def story(self, lines: int = 60) -> str:
        """What was seen lately, one change a line."""
        return "\n".join(self._story[-lines:])

    def forget(self) -> None:
        """Begin a new story."""
        self._story.clear()
        self._doubles.clear()

    def doubles(self) -> list[str]:
        """The moments in which both nodes could have written into their mounted folders."""
        return list(self._doubles)

    def woke(self, node: str, grace_s: float) -> None:
        """The node's processes were just let go on: for this long nothing that it says of itself counts.

        An agent that wakes answers with what its worker had said before both slept, until the worker, which acknowledges
        nothing meanwhile, gets the processor and says otherwise. What goes on for longer than that is found all the same.
        """
        self._woke_s[node] = time.monotonic() + grace_s

    def mounted(self, node: str) -> bool:
        """Whether the folder is mounted for writing on the node."""
        return is_mounted(self._lab[node], self._folder)

    # -- the threads ---------------------------------------------------------------------------

    def _take(self, node: str, look: Look) -> None:
        with self._changed:
            old = self._looks[node]
            self._looks[node] = look
            self._rows[node] = longer(self._rows[node], look)
            if _seen(old) != _seen(look):
                self.note(f"{node}: {_seen(look)}")
            self._changed.notify_all()

    def _look_at_mounts(self) -> None:
        while not self._over.wait(MOUNT_LOOK_S):
            writable = [name for name in self._lab.nodes if self._may_write(name)]
            if (
                len(writable) > 1
                and both_serve(*(self._rows[name] for name in writable))
                and all(self._is_served(name) for name in writable)
            ):
                self._doubles.append(
                    f"{time.monotonic() - self._begun_s:.2f}: mounted for writing and served on "
                    + " and ".join(f"{name} ({self._looks[name].label})" for name in writable)
                )

    def _may_write(self, node: str) -> bool:
        """Mounted for writing, while the node says that it runs the module and holds nothing."""
        look = self._looks[node]
        if time.monotonic() < self._woke_s.get(node, 0.0):
            return False
        return look.serves and time.monotonic() - look.at_s <= FRESH_S and self.mounted(node)

    def _is_served(self, node: str) -> bool:
        """Whether the worker that serves the mount runs: what a frozen one has said is no longer true."""
        states = [process_state(pid) for pid in self._lab[node].processes(WORKER)]
        return any(state not in ("", "T", "Z") for state in states)


def process_state(pid: int) -> str:
    """One letter of proc(5); empty when the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _seen(look: Look) -> str:
    if look.words is None:
        return "no answer"
    words = look.words
    holding = ", holding" if words["holding"] else ""
    return f"{look.label}{holding}, resource {words['resource']}: {words['sentence']}"


def is_mounted(node: Node, folder: str) -> bool:
    """Whether something is mounted for writing at a folder of the node, seen from outside."""
    try:
        lines = Path(f"/proc/{node.state.init_pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    mounts = (line.split(" ") for line in lines)
    return any(
        words[MOUNT_POINT_FIELD] == folder and words[OPTIONS_FIELD].startswith("rw") for words in mounts
    )


@contextlib.contextmanager
def watching(lab: Lab, module: str, folder: str) -> Iterator[Watch]:
    """A watch that ends with the block."""
    watch = Watch(lab, module, folder)
    try:
        yield watch
    finally:
        watch.end()
