"""Two Windows hosts under Wine, on networks of their own, behind the WinRM endpoint.

with WineSite(directory) as site:
    run = site.fleet.play("playbooks/install.yml", extra=...)
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.network import Fabric
from tests.wine import template
from tests.wine.prefix import Prefix

from ..argspec import Documentation
from ..cluster import Cluster
from ..fleet import REPOSITORY, Fleet, Site
from ..model import HostState
from .machine import WineMachine

HOSTS = {"a": 11, "b": 12}
BUNDLES = REPOSITORY / "build" / "wine" / "bundles"
_numbers = itertools.count(1)


class WineSite:
    """One site of two hosts, a and b.

    Args:
        directory: for the prefixes, the inventory, certificates and reports; on the disk that the volumes shall be on.
        modules: the modules of its configuration.
        name: the site's.
    """

    def __init__(self, directory: Path, modules: Mapping[str, Any], name: str = "lyon") -> None:
        self.directory = directory
        self.name = name
        self.fleet = Fleet(directory / "fleet", tls=True)
        lab = f"w{os.getpid()}-{next(_numbers)}"
        self.fabric = Fabric(lab, {"lan": "10.0.1", "direct": "192.168.1"}, HOSTS)
        self._modules = modules
        self.site: Site | None = None

    def __enter__(self) -> WineSite:
        source = template.bare()
        self.fabric.up()
        for node in HOSTS:
            self.fabric.plug(node)

        def make_host(
            state: HostState, documentation: Documentation, cluster: Cluster, node: str
        ) -> WineMachine:
            enter = ("ip", "netns", "exec", self.fabric.namespace(node))
            prefix = Prefix(self.directory / f"host-{node}", source, enter=enter, repository=False)
            prefix.start()
            return WineMachine(state, documentation, cluster, node, prefix)

        self.site = self.fleet.add_site(self.name, modules=self._modules, make_host=make_host)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for machine in self.machines.values():
                machine.prefix.stop()
        finally:
            self.fleet.__exit__(kind, error, trace)
            self.fabric.down()

    @property
    def machines(self) -> dict[str, WineMachine]:
        """The hosts by the names of their nodes."""
        hosts = self.site.hosts if self.site is not None else {}
        return {node: host for node, host in hosts.items() if isinstance(host, WineMachine)}

    def settings(self, bundle: Path) -> dict[str, Any]:
        """Extra variables of the plays: everything that they write stays in the site's directory."""
        return {
            "twinhull_bundle": str(bundle),
            "agent_part_dir": str(self.directory / "parts"),
            "twinhull_output_dir": str(self.directory / "reports"),
            "twinhull_ca_dir": str(self.directory / "pki") + "/{{ twinhull_site }}",
            "hypervisor_reboot": True,
        }


def windows_bundle(fleet: Fleet, version: str) -> Path:
    """The bundle of this checkout for Windows, made by the project's own playbook; its CPython is the pinned repack.

    Args:
        fleet: its way to run a playbook.
        version: the number that the agent gets.
    """
    archive = template.embed_zip()
    target = BUNDLES / version
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    extra = {
        "bundle_version": version,
        "bundle_platforms": ["windows"],
        "bundle_output_dir": str(target),
        "bundle_python_windows": str(archive),
        "bundle_python_windows_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }
    run = fleet.play("playbooks/bundle.yml", extra=extra, inventory=Path("localhost,"))
    if run.exit_code:
        raise AssertionError(run.text)
    [bundle] = target.glob("twinhull-bundle-*.tar.gz")
    return bundle
