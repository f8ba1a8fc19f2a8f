"""The lab does to its nodes what it says: cables, power, signals, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab import Lab, LabError, Node, leftovers, processes, registry
from tests.lab.fixtures import REPOSITORY, MakeLab
from tests.lab.lab import sweep_stale
from tests.lab.network import NAMESPACES, Direction
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.lab


def hears(node: Node, address: str) -> bool:
    """Whether an address answers a ping from a node."""
    return node.run(["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


def test_the_nodes_reach_each_other_in_every_network(lab: Lab) -> None:
    assert all(hears(lab["a"], lab.fabric.address("b", network)) for network in lab.fabric.subnets)


def test_a_cut_network_is_silent_and_the_other_works(lab: Lab) -> None:
    lab.cut("heartbeat")
    assert not hears(lab["a"], "10.77.1.2")
    assert hears(lab["a"], "10.77.2.2")
    lab.heal()
    wait_until("the healed network", lambda: hears(lab["a"], "10.77.1.2"), 10)


def test_isolated_nodes_still_reach_the_observer(lab: Lab) -> None:
    lab.isolate("heartbeat")
    assert not hears(lab["a"], "10.77.1.2")
    assert hears(lab["a"], lab.witness_address("heartbeat"))
    assert hears(lab["b"], lab.witness_address("heartbeat"))


def test_a_one_way_cut_lets_the_other_way_through(lab: Lab) -> None:
    lab["a"].cut("heartbeat", Direction.IN)
    heard = lab["b"].popen(
        [sys.executable, "-c", RECEIVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert heard.stdout is not None
    assert heard.stdout.readline() == "listening\n"
    lab["a"].run([sys.executable, "-c", SEND])
    assert heard.stdout.readline() == "heard\n"
    assert not hears(lab["a"], "10.77.1.2")
    heard.wait(10)


RECEIVE = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.1.2", 7777)); s.settimeout(20)
print("listening", flush=True)
s.recv(10)
print("heard", flush=True)
"""
SEND = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.77.1.2", 7777))
"""


def test_a_power_loss_takes_every_process_and_keeps_the_disk(lab: Lab) -> None:
    node = lab["a"]
    node.run(["sh", "-c", "echo kept > /var/lib/twinhull/file"])
    node.popen(["sleep", "1000"])
    wait_until("the process", lambda: bool(node.processes("sleep 1000")), 10)
    victims = {pid: processes.start_time(pid) for pid in node.processes()}
    node.kill()
    assert not node.alive
    assert all(started is None or not processes.is_same(pid, started) for pid, started in victims.items())
    node.boot()
    assert node.run(["cat", "/var/lib/twinhull/file"]).stdout == "kept\n"
    assert node.processes("sleep 1000") == []
    wait_until("the booted node", lambda: hears(lab["b"], "10.77.1.1"), 10)


def test_a_pulled_cable_stays_pulled_over_a_boot(lab: Lab) -> None:
    lab["a"].cut("heartbeat")
    lab["a"].kill()
    lab["a"].boot()
    assert not hears(lab["a"], "10.77.1.2")
    assert hears(lab["a"], "10.77.2.2")


def test_a_connection_to_a_dead_node_ends_in_silence_not_in_a_farewell(lab: Lab) -> None:
    server = lab["a"].popen(
        [sys.executable, "-c", ACCEPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    client = lab["b"].popen([sys.executable, "-c", CONNECT], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "connected\n"
    lab["a"].kill()
    assert client.stdout.readline() == "silence\n"
    client.wait(10)
    server.wait(10)


ACCEPT = """
import socket, time
s = socket.create_server(("10.77.1.1", 7777))
print("listening", flush=True)
c, _ = s.accept()
time.sleep(1000)
"""
CONNECT = """
import socket
s = socket.create_connection(("10.77.1.1", 7777), 10)
print("connected", flush=True)
s.settimeout(3)
try:
    print("farewell" if s.recv(1) == b"" else "data")
except TimeoutError:
    print("silence")
"""


def test_a_frozen_process_goes_on_afterwards(lab: Lab) -> None:
    node = lab["a"]
    node.popen(["sleep", "1000"])
    wait_until("the process", lambda: bool(node.processes("sleep 1000")), 10)
    with node.frozen("sleep 1000") as frozen:
        wait_until("the stop", lambda: all(state_of(pid) == "T" for pid in frozen), 10)
    wait_until("the continuation", lambda: all(state_of(pid) == "S" for pid in frozen), 10)


def state_of(pid: int) -> str:
    """One letter of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def test_a_limited_disk_fills_up(make_lab: MakeLab) -> None:
    node = make_lab(disk_limit_mib=16)["a"]
    told = node.run(["dd", "if=/dev/zero", "of=/var/lib/twinhull/fill", "bs=1M"], check=False)
    assert "No space left" in told.stderr


def test_a_killed_node_leaves_no_loop_device_and_no_mount(lab: Lab, tmp_path: Path) -> None:
    node = lab["a"]
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    node.run(["mkfs.ext4", "-q", image])
    node.run(["mkdir", "-p", "/srv/x"])
    node.run(["mount", "-o", "loop", image, "/srv/x"])
    assert node.state.init_pid is not None
    held = leftovers.of_node(node.state.init_pid).loops
    assert len(held) == 1
    node.kill()
    assert all(leftovers.loop_backing(loop) != backing for loop, backing in held.items())


def test_another_process_can_go_on_with_a_lab_and_remove_it(lab: Lab) -> None:
    again = Lab.load(lab.name)
    assert again["a"].alive
    assert again["a"].run(["hostname"]).stdout == "a\n"
    again.down()
    assert not registry.exists(lab.name)
    assert not any(entry.name.startswith(f"twinhull-lab-{lab.name}-") for entry in NAMESPACES.iterdir())


def test_what_a_killed_maker_left_is_swept_away(tmp_path: Path) -> None:
    name = f"orphan-{os.getpid()}"
    maker = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path / "lab"), name],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdout is not None
    pid = int(maker.stdout.readline())
    started = processes.start_time(pid)
    assert started is not None
    maker.send_signal(signal.SIGKILL)
    maker.wait(10)
    assert processes.is_same(pid, started)
    assert name in sweep_stale()
    assert not processes.is_same(pid, started)
    assert not registry.exists(name)


ORPHAN = """
import sys, time
from pathlib import Path
from tests.lab import Lab
lab = Lab(Path(sys.argv[1]), sys.argv[2]).up()
print(lab["a"].state.init_pid, flush=True)
time.sleep(1000)
"""


def test_a_lab_of_the_same_name_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="exists already"):
        Lab(tmp_path / "other", lab.name).up()
    assert lab["a"].alive
