"""Agents and workers under Windows Python: two hosts form a cluster, mirror a module, and lose and regain parts of it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.console import say
from tests.lab.fixtures import why_not

from .pair import MODULE, WindowsPair

DATA = rf"data\volumes\{MODULE}\data.img"


@pytest.fixture(scope="module")
def pair(windows_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPair]:
    """A mirrored pair; the tests below are its life, in order."""
    reason = why_not(libvirt=False)
    if reason is None and shutil.which("qemu-io") is None:
        reason = "qemu-io with its iSCSI driver is missing here (qemu-utils, qemu-block-extra)"
    if reason is not None:
        pytest.skip(reason)
    made = WindowsPair(tmp_path_factory.mktemp("windows"), windows_python, f"w{os.getpid()}")
    try:
        for node in made.nodes.values():
            node.start_agent()
        made.wait("both workers", lambda: all(node.module().get("state") for node in made.nodes.values()))
        made["a"].twinhull("protect", MODULE, "--yes", MODULE)
        made.wait_mirrored("a")
        yield made
    except BaseException:
        for node in made.nodes.values():
            say(node.logs())
        raise
    finally:
        made.close()


def replicas_equal(pair: WindowsPair) -> bool:
    """Whether both data files hold the same."""
    return pair["a"].file(DATA).read_bytes() == pair["b"].file(DATA).read_bytes()


def test_what_an_initiator_writes_is_on_both_hosts(pair: WindowsPair, tmp_path: Path) -> None:
    said = pair["a"].disk(
        tmp_path,
        "write -P 17 0 1M",
        "write -f -P 34 3145728 4k",
        "write -P 51 700M 512k",
        "discard 716800k 64k",
        "flush",
        "read -P 17 0 1M",
        "read -P 34 3145728 4k",
        "read -P 0 716800k 64k",
    )
    assert "Pattern verification failed" not in said
    assert replicas_equal(pair)
    with pair["b"].file(DATA).open("rb") as file:
        assert file.read(1 << 20) == bytes([17]) * (1 << 20)


def test_a_killed_worker_takes_its_application_along_and_is_replaced(
    pair: WindowsPair, tmp_path: Path
) -> None:
    node = pair["a"]
    before = node.offer()
    [application] = node.pids("at work")
    [worker] = node.pids("twinhull.worker.main")
    os.kill(worker, signal.SIGKILL)
    pair.wait(
        "the application of the dead worker to be gone", lambda: not Path(f"/proc/{application}").exists()
    )
    pair.wait(
        "the module to run again", lambda: any(n.label().startswith("PRIM g") for n in pair.nodes.values())
    )
    pair.wait_mirrored("a" if node.label().startswith("PRIM") else "b")
    assert before != next(n for n in pair.nodes.values() if n.label() == "PRIM green").offer()


def test_a_restarted_agent_adopts_its_worker(pair: WindowsPair) -> None:
    node = pair["a"]
    [worker] = node.pids("twinhull.worker.main")
    for pid in node.pids("twinhull.cli", "agent"):
        os.kill(pid, signal.SIGKILL)
    node.start_agent()
    pair.wait("its agent to talk to the worker", lambda: bool(node.module().get("worker", {}).get("alive")))
    assert node.pids("twinhull.worker.main") == [worker]


def test_a_second_agent_is_refused(pair: WindowsPair) -> None:
    ran = pair["a"].prefix.python("-m", "twinhull.cli", "agent", "run")
    assert ran.exit_code != 0
    assert "Another agent already runs" in ran.output + ran.errors


def test_roles_are_swapped_with_nothing_to_copy(pair: WindowsPair, tmp_path: Path) -> None:
    primary = next(name for name, node in pair.nodes.items() if node.label().startswith("PRIM"))
    other = "b" if primary == "a" else "a"
    pair[primary].twinhull("swap", MODULE)
    pair.wait_mirrored(other)
    assert pair[primary].offer() is None
    pair[other].disk(tmp_path, "read -P 17 0 1M", "write -P 68 8M 64k", "flush")
    assert replicas_equal(pair)


def test_a_host_that_loses_its_power_is_followed_by_the_other(pair: WindowsPair, tmp_path: Path) -> None:
    primary = next(name for name, node in pair.nodes.items() if node.label().startswith("PRIM"))
    other = "b" if primary == "a" else "a"
    pair[primary].prefix.stop()
    pair.wait(f"{other} to run alone", lambda: pair[other].module().get("state") == "ALONE")
    pair.wait("its disk", lambda: pair[other].offer() is not None)
    pair[other].disk(tmp_path, "read -P 17 0 1M", "read -P 68 8M 64k", "write -P 85 9M 64k", "flush")
    pair[primary].prefix.start()
    pair[primary].start_agent()
    pair.wait_mirrored(other)
    assert replicas_equal(pair)
