"""Nothing overwritten unseen: a split brain heals by itself and the loser's files are read back; a copy is rolled back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab import Lab, Node

from .conftest import make_pair
from .pair import FOLDER, MODULE, Pair
from .test_power_lost import begin_resync

pytestmark = pytest.mark.lab

OWN_MB = 6


@pytest.fixture(scope="module")
def cluster_words() -> dict[str, Any]:
    return {"witness": {"kind": "none"}, "keep": "longest-running"}


class PreferringPair(Pair):
    """The module prefers node b."""

    def module_words(self) -> dict[str, Any]:
        return {**super().module_words(), "preferred": "b"}


@pytest.fixture
def preferring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A mirrored pair whose split brain is won by node b."""
    name = f"r{os.getpid()}"
    made = PreferringPair(
        Lab(tmp_path_factory.mktemp(name), name), witness={"kind": "none"}, keep="preferred-node"
    )
    try:
        made.lab.up()
        made.install()
        made.protect()
        yield made
    finally:
        made.close()


def fill(node: Node, name: str, megabytes: int) -> None:
    """Random bytes into a file of the folder."""
    words = ["dd", "if=/dev/urandom", f"of={FOLDER}/{name}", "bs=1M", f"count={megabytes}"]
    node.run([*words, "conv=notrunc,fsync", "status=none"])


def write_own(node: Node) -> dict[str, str]:
    """Files that this node writes in its own history; their digests by name."""
    fill(node, f"own-{node.name}", OWN_MB)
    fill(node, "both", 2)
    node.run(["mkdir", "-p", f"{FOLDER}/deep/er"])
    node.run(["tee", f"{FOLDER}/deep/er/note"], input_text=f"written on {node.name}\n")
    node.run(["sync", "-f", FOLDER])
    return digests(node, FOLDER, [f"own-{node.name}", "both", "deep/er/note"])


def digests(node: Node, folder: str, names: list[str]) -> dict[str, str]:
    """SHA-256 of files, as they are read on the node."""
    return {name: hashlib.sha256(node.path(f"{folder}/{name}").read_bytes()).hexdigest() for name in names}


def rescue(node: Node, command: str, *words: str) -> dict[str, Any]:
    """What a command of `twinhull rescue` tells."""
    told: dict[str, Any] = json.loads(node.twinhull("rescue", command, MODULE, *words, "--json").stdout)
    return told


def rescues(node: Node) -> list[dict[str, Any]]:
    """What `rescue list` says on the node."""
    found: list[dict[str, Any]] = rescue(node, "list")["rescues"]
    return found


def cut_and_write(pair: Pair, winner: Node) -> tuple[dict[str, str], dict[str, str]]:
    """A split brain in which both write: the digests of what the loser and the winner wrote."""
    loser = pair.other(winner)
    pair.say("all networks are cut")
    common = pair.reports.last()
    loser.cut_all()
    for node in pair.lab.nodes.values():
        pair.wait_state(node, "ALONE")
        pair.wait_writing(node)
    lost, kept = write_own(loser), write_own(winner)
    pair.reports.give_up(loser.name, common)
    pair.say("the networks are healed")
    pair.lab.heal()
    return lost, kept


def check_rescue(pair: Pair, loser: Node, lost: dict[str, str], kept: dict[str, str]) -> None:
    """The loser's files are read back byte for byte, beside the module, and stay so while it runs on."""
    winner = pair.other(loser)
    (shown,) = rescues(loser)
    assert (shown["kind"], rescues(winner)) == ("split-brain", [])
    number = str(shown["rescue"])
    folder = rescue(loser, "mount", number)["result"]["folder"]
    assert digests(loser, folder, list(lost)) == lost
    assert not loser.path(f"{folder}/own-{winner.name}").exists()
    assert loser.run(["touch", f"{folder}/x"], check=False).returncode != 0
    pair.say("the module runs on and overwrites; the rescue shows what was")
    fill(winner, "both", 8)
    rescue(loser, "unmount", number)
    folder = rescue(loser, "mount", number)["result"]["folder"]
    assert digests(loser, folder, list(lost)) == lost
    own = f"own-{winner.name}"
    assert digests(winner, FOLDER, [own])[own] == kept[own]
    told = {each["path"]: each["what"] for each in rescue(loser, "diff", number)["result"]["changes"]}
    assert told[f"own-{loser.name}"] == "only in the rescue"
    assert told[own] == "only now"
    assert told["both"] == told["deep/er/note"] == "differs"
    rescue(loser, "unmount", number)
    pair.wait("the rescue to stand on its own", lambda _: rescues(loser)[0]["state"] == "complete")
    rescue(loser, "export", number, "--to", "/srv/old", "--path", "deep", "--path", "both")
    taken = ["both", "deep/er/note"]
    assert digests(loser, "/srv/old", taken) == {name: lost[name] for name in taken}
    rescue(loser, "drop", number, "--yes", MODULE)
    assert rescues(loser) == []


def test_the_longest_running_side_goes_on_and_the_losers_files_are_read_back(pair: Pair) -> None:
    winner = pair.primary
    lost, kept = cut_and_write(pair, winner)
    pair.wait_green()
    assert pair.primary is winner
    check_rescue(pair, pair.other(winner), lost, kept)
    pair.verify(witnessed=False)


def test_the_preferred_node_goes_on_and_the_losers_files_are_read_back(preferring: Pair) -> None:
    winner = preferring.lab["b"]
    assert preferring.primary is not winner
    lost, kept = cut_and_write(preferring, winner)
    preferring.wait_green()
    assert preferring.primary is winner
    check_rescue(preferring, preferring.other(winner), lost, kept)
    preferring.verify(witnessed=False)


def test_what_a_person_gives_up_is_read_back_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = make_pair(tmp_path_factory, {"witness": {"kind": "none"}, "keep": "ask"})
    try:
        pair.protect()
        winner, loser = pair.secondary, pair.primary
        lost, kept = cut_and_write(pair, winner)
        loser.twinhull("stop", MODULE)
        winner.twinhull("start", MODULE, "--as-primary", "--yes", MODULE)
        loser.twinhull("start", MODULE)
        pair.wait_green()
        check_rescue(pair, loser, lost, kept)
        pair.verify(witnessed=False)
    finally:
        pair.close()


def test_a_target_whose_source_dies_half_way_is_rolled_back_and_started_by_a_person(
    tmp_path_factory: pytest.TempPathFactory, cluster_words: dict[str, Any]
) -> None:
    pair = make_pair(tmp_path_factory, cluster_words)
    try:
        pair.protect()
        fill(pair.primary, "ballast", 24)
        pair.wait_writing(pair.primary)
        before = digests(pair.primary, FOLDER, ["ballast"])
        source, target = begin_resync(pair)
        pair.power_off(source)
        pair.wait_state(target, "WAIT")
        (shown,) = rescues(target)
        assert (shown["kind"], shown["state"]) == ("resync", "open")
        number = str(shown["rescue"])
        refused = target.twinhull("rescue", "drop", MODULE, number, "--yes", MODULE, check=False)
        assert refused.returncode != 0
        pair.say("it is rolled back and started by a person")
        target.twinhull("stop", MODULE)
        rescue(target, "rollback", number, "--yes", MODULE)
        pair.wait("the new worker", lambda _: pair.has_worker(target))
        pair.wait_state(target, "STOP")
        assert pair.status(target)["uptodate"] is False
        target.twinhull("start", MODULE, "--as-primary", "--yes", MODULE)
        pair.wait_state(target, "ALONE")
        pair.wait_writing(target)
        assert digests(target, FOLDER, ["ballast"]) == before
        target.twinhull("stop", MODULE)
        image = "/srv/rolled-back.img"
        target.run(["cp", "--sparse=always", f"/var/lib/twinhull/volumes/{MODULE}/data.img", image])
        whole = target.run(["e2fsck", "-fn", image], check=False)
        assert whole.returncode == 0, whole.stdout + whole.stderr
    finally:
        pair.close()
