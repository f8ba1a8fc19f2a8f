"""Both replicas are compared while the writer writes: every planted difference is named and repaired, nothing else is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import Node
from tests.lab.waiting import wait_until

from twinhull.attach.filemap import extents
from twinhull.core.marks import BLOCK_BYTES
from twinhull.storage.linux import LinuxDirectory
from twinhull.storage.rescue import Store

from .pair import FOLDER, MODULE, PATIENCE_S, Pair
from .test_rescue import rescue
from .watching import WORKER

pytestmark = pytest.mark.lab

BALLAST_MB = 16
RESCUE = f"/var/lib/twinhull/rescue/{MODULE}"
RESULT = f"/var/lib/twinhull/verify/{MODULE}.json"
HAMMER = """
import mmap, os, random, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 65536)
print("writing", flush=True)
while True:
    page[:4096] = os.urandom(4096)
    length = random.choice((4096, 8192, 65536))
    os.pwrite(file, memoryview(page)[:length], random.randrange(int(sys.argv[2]) - 16) * 4096)
"""


def verify(pair: Pair, node: Node, **arguments: Any) -> dict[str, Any]:
    """`twinhull verify` on a node; the final words of its job."""
    pair.say(f"verify on node {node.name} {arguments or ''}")
    words = {"module": MODULE, "repair": False, **arguments}
    return pair.job_done(node, str(pair.call(node, "verify", words)["job"]))


def ballast(pair: Pair, node: Node) -> list[int]:
    """A file of random bytes in the folder; offsets of whole blocks of the volume that only it lies in."""
    pair.write_ballast(node, BALLAST_MB)
    pair.wait_green()
    assert pair.primary is node
    file = os.open(node.path(FOLDER) / "ballast", os.O_RDONLY)
    try:
        lies = list(extents(file))
    finally:
        os.close(file)
    return [
        block * BLOCK_BYTES
        for offset, length in lies
        for block in range(-(-offset // BLOCK_BYTES), (offset + length) // BLOCK_BYTES)
    ]


def plant(pair: Pair, node: Node, offset: int, data: bytes) -> bytes:
    """Change the data file underneath; the whole block as it is then."""
    pair.say(f"{len(data)} bytes at {offset} of the data file of node {node.name} are changed underneath")
    with pair.protected.data_file(node.name).open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, offset)
        return os.pread(file.fileno(), BLOCK_BYTES, offset // BLOCK_BYTES * BLOCK_BYTES)


def ranges(answer: dict[str, Any]) -> dict[int, list[str] | None]:
    """Offset of each block that an answer names, and its files."""
    return {
        offset: each["files"]
        for each in answer["result"]["ranges"]
        for offset in range(each["offset_bytes"], each["offset_bytes"] + each["length_bytes"], BLOCK_BYTES)
    }


def kept_on(node: Node) -> dict[int, bytes]:
    """What a node kept of what was overwritten."""
    store = Store(LinuxDirectory(node.path(RESCUE)), MODULE, node.name, 0)
    found: dict[int, bytes] = {}
    for number in store.numbers():
        rescue = store.open(number)
        found |= {entry.first * BLOCK_BYTES: rescue.content(entry) or b"" for entry in rescue.entries()}
        rescue.close()
    store.close()
    return found


@contextlib.contextmanager
def hammering(node: Node) -> Iterator[None]:
    """Random direct writes all over the ballast, as fast as they go, unsynced."""
    pages = BALLAST_MB * 256
    process = node.popen(
        [sys.executable, "-c", HAMMER, f"{FOLDER}/ballast", str(pages)], stdout=-1, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield
    finally:
        process.kill()
        process.wait()


def test_planted_differences_are_named_by_place_and_file_and_repaired(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    blocks = ballast(pair, primary)
    assert verify(pair, primary)["ok"]
    end = pair.protected.data_file(primary.name).stat().st_size - BLOCK_BYTES
    planted = {offset: plant(pair, secondary, offset + 512, b"\xa5" * 512) for offset in blocks[5:400:40]}
    planted[end] = plant(pair, secondary, end, b"not a hole")
    found = verify(pair, primary)
    assert not found["ok"]
    assert set(ranges(found)) == set(planted)
    assert {tuple(files or ()) for offset, files in ranges(found).items() if offset != end} == {("ballast",)}
    assert ranges(found)[end] == []
    assert "free space" in found["result"]["files_note"]
    assert kept_on(secondary) == {}
    warned = pair.call(primary, "status", {})["nodes"][primary.name]["modules"][MODULE]["warnings"]
    assert any("the replicas differ by" in warning for warning in warned)
    repaired = verify(pair, primary, repair=True)
    assert repaired["ok"], repaired
    assert repaired["result"]["repaired_bytes"] == len(planted) * BLOCK_BYTES
    assert kept_on(secondary) == planted
    assert kept_on(primary) == {}
    again = verify(pair, primary)
    assert again["ok"]
    assert again["result"]["differing_bytes"] == 0
    pair.verify()


def test_the_content_of_the_second_is_taken_when_it_is_named(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    offset = ballast(pair, primary)[7]
    right = os.urandom(BLOCK_BYTES)
    wrong = plant(pair, secondary, offset, right)
    assert wrong == right
    with pair.protected.data_file(primary.name).open("rb") as file:
        before = os.pread(file.fileno(), BLOCK_BYTES, offset)
    answer = verify(pair, primary, repair=True, source=secondary.name)
    assert answer["ok"], answer
    for node in pair.lab.nodes.values():
        with pair.protected.data_file(node.name).open("rb") as file:
            assert os.pread(file.fileno(), BLOCK_BYTES, offset) == right
    assert kept_on(primary)[offset] == before
    pair.verify()


def test_what_a_repair_overwrote_on_the_primary_is_seen_taken_out_and_dropped(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    offset = ballast(pair, primary)[5]
    right = os.urandom(BLOCK_BYTES)
    plant(pair, secondary, offset, right)
    with pair.protected.data_file(primary.name).open("rb") as file:
        before = os.pread(file.fileno(), BLOCK_BYTES, offset)
    answer = verify(pair, primary, repair=True, source=secondary.name)
    assert answer["ok"], answer

    number = str(max(each["rescue"] for each in rescue(primary, "list")["rescues"]))
    shown = rescue(primary, "show", number)
    assert (shown["kind"], shown["state"], shown["mounted"]) == ("verify", "blocks", "")
    assert shown["kept_bytes"] >= BLOCK_BYTES
    told = primary.twinhull("rescue", "mount", MODULE, number, check=False)
    assert told.returncode != 0
    assert "--partial" in told.stdout + told.stderr

    pair.say("the old block is shown in its place, beside the module as it runs")
    folder = rescue(primary, "mount", number, "--partial")["result"]["folder"]
    assert before in primary.path(f"{folder}/ballast").read_bytes()
    assert primary.run(["touch", f"{folder}/x"], check=False).returncode != 0
    rescue(primary, "unmount", number)
    changes = rescue(primary, "diff", number, "--partial")["result"]["changes"]
    assert "differs" in [each["what"] for each in changes if each["path"] == "ballast"]
    rescue(primary, "export", number, "--partial", "--to", "/srv/before", "--path", "ballast")
    assert before in primary.path("/srv/before/ballast").read_bytes()
    rescue(primary, "export", number, "--partial", "--image", "/srv/before.img")
    with primary.path("/srv/before.img").open("rb") as file:
        assert os.pread(file.fileno(), BLOCK_BYTES, offset) == before
    refused = primary.twinhull("rescue", "rollback", MODULE, number, "--yes", MODULE, check=False)
    assert refused.returncode != 0
    rescue(primary, "drop", number, "--yes", MODULE)
    assert number not in [str(each["rescue"]) for each in rescue(primary, "list")["rescues"]]
    pair.verify()


def test_the_heaviest_writes_give_no_false_alarm(pair: Pair) -> None:
    primary = pair.primary
    ballast(pair, primary)
    rechecked = compared = 0
    with hammering(primary):
        # A quick comparison meets few writes: go on until some were met.
        while compared < 4 or (rechecked == 0 and compared < 100):
            answer = verify(pair, primary)
            assert answer["ok"], answer
            rechecked += answer["result"]["rechecked_blocks"]
            compared += 1
    assert rechecked, "nothing was in flight: the test shows nothing"
    pair.verify()


def test_a_comparison_ends_with_its_connection_and_says_so_and_the_module_runs_on(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    run = pair.run_name()
    with pair.frozen(secondary, WORKER):
        job = str(pair.call(primary, "verify", {"module": MODULE})["job"])
        wait_until(
            "the comparison to be under way",
            lambda: bool(pair.status(primary)["verify"]["running"]),
            PATIENCE_S,
        )
        pair.kill_worker(secondary)
    answer = pair.job_done(primary, job)
    assert not answer["ok"]
    assert "It ended early: the connection to the other node was lost" in answer["sentence"]
    assert Path(primary.path(RESULT)).exists()
    pair.wait_green()
    assert pair.run_name() == run
    assert verify(pair, primary)["ok"]
    pair.verify()


def test_a_comparison_goes_on_while_the_agent_restarts(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    runs = pair.status(primary)["verify"]["runs"]

    def begun() -> bool:
        verify = pair.status(primary)["verify"]
        return bool(verify["running"]) or verify["runs"] > runs

    with pair.frozen(secondary, WORKER):
        pair.call(primary, "verify", {"module": MODULE})
        wait_until("the comparison to begin", begun, PATIENCE_S)
        pair.kill_agent(primary)

    def over() -> bool:
        words = pair.watch.now(primary.name).words
        return words is not None and (words.get("verify") or {}).get("runs", 0) > runs

    wait_until("the comparison to be over", over, PATIENCE_S)
    last = pair.status(primary)["verify"]["last"]
    assert (last["state"], last["differing_bytes"]) == ("complete", 0)
    pair.verify()


def test_a_second_refuses_and_says_where_to_ask(pair: Pair) -> None:
    answer = verify(pair, pair.secondary)
    assert not answer["ok"]
    assert f"verify it on {pair.primary.name}" in answer["sentence"]
