"""What a bundle packs of an installed collection is what ansible-galaxy installs, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.twinhull.ha.plugins.plugin_utils import bundle_collections

NAME = "ansible.posix"


def modules(collection: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (collection / "plugins" / "modules").glob("*.py")}


def test_a_collection_of_the_control_node_is_packed_and_installs_without_a_network(tmp_path: Path) -> None:
    source = bundle_collections.installed(NAME)
    name, raw = bundle_collections.pack_installed(source)
    archive, target = tmp_path / name, tmp_path / "target"
    archive.write_bytes(raw)
    # --force: one that is installed elsewhere on this machine would be enough for it.
    command = ["collection", "install", "--offline", "--force", "-p", str(target), str(archive)]
    subprocess.run(
        [sys.executable, "-m", "ansible", "galaxy", *command],
        check=True, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    installed = target / "ansible_collections" / NAME.replace(".", "/")
    assert modules(installed) == modules(source) != {}
