"""Changing the configuration of a running pair, as an operator does."""

from __future__ import annotations

import json
from typing import Any

import yaml
from tests.lab import Node
from tests.lab.install import cluster_words

from .pair import MODULE, Pair


def apply(pair: Pair, node: Node, **changes: Any) -> dict[str, Any]:
    """`twinhull config apply` on a node, of the lab's configuration with these keys; what it tells.

    Raises LabError when it is refused.
    """
    pair.say(f"config apply on node {node.name}: {changes}")
    text = yaml.safe_dump(cluster_words(pair.lab, {MODULE: pair.module_words()}, {**pair.cluster, **changes}))
    done = node.run([pair.lab.twinhull_command, "config", "apply", "-", "--json"], input_text=text)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def take_everywhere(pair: Pair) -> None:
    """Have a green module take what was applied, as the warnings say: the SECOND stops and starts, then the other."""
    for node in (pair.secondary, pair.primary):
        node.twinhull("stop", MODULE)
        node.twinhull("start", MODULE)
        pair.wait_green()
