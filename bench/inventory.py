"""How long the inventory plugin takes for 500 sites (1,000 hosts): reading, checking, planning, and all of Ansible.

Usage: python bench/inventory.py [SITES]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 3.0


def make_sites(count: int) -> str:
    """A sites file with two modules and own variables at each site."""
    lines = [
        "plugin: twinhull.ha.sites",
        "rings: [pilot, early, broad]",
        "defaults:",
        "  networks:",
        "    lan: {roles: [control, heartbeat]}",
        "    direct: {roles: [replication, heartbeat]}",
        "  tags: {ring: broad}",
        "  module: {boot: {mode: auto}, timings: {timeout: 10}, resource: {kind: libvirt}}",
        "sites:",
    ]
    for number in range(count):
        lan, direct = (f"10.{base + number // 250}.{number % 250}" for base in (0, 100))
        lines += [
            f"  site-{number:04}:",
            f"    tags: {{country: c{number % 20}, customer: customer-{number % 100}}}",
            f"    vars: {{rack: {number}}}",
            "    nodes:",
            f"      a: {{addresses: {{lan: {lan}.11, direct: {direct}.11}}}}",
            "      b:",
            f"        addresses: {{lan: {lan}.12, direct: {direct}.12}}",
            "        vars: {ansible_user: root}",
            "    modules:",
            "      VM1: {number: 1, size: 64 GiB, folder: /srv/twinhull/VM1, preferred: a}",
            "      VM2:",
            "        number: 2",
            "        size: 500 GiB",
            "        folder: /srv/twinhull/VM2",
            "        preferred: b",
            "        checkers:",
            "          - {name: guest, kind: guest-agent, interval: 5, failures: 3}",
        ]
    return "\n".join(lines) + "\n"


def measure_plugin(path: Path) -> tuple[float, float, int]:
    """Seconds that the plugin itself takes, in this process, those of the processor, and the number of hosts."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader, inventory_loader

    init_plugin_loader([str(ROOT / "collections")])
    from ansible.inventory.data import InventoryData

    plugin = inventory_loader.get("twinhull.ha.sites")
    inventory = InventoryData()
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    plugin.parse(inventory, DataLoader(), str(path))
    return time.perf_counter() - begin_s, time.process_time() - begin_cpu_s, len(inventory.hosts)


def measure_command(path: Path) -> float:
    """Seconds of a whole `ansible-inventory --list`."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"]
    begin_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - begin_s


def main() -> int:
    """Prints the figures; 1 when the plugin is slower than promised."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "sites.yml")
        text = make_sites(count)
        path.write_text(text)
        print(f"{count} sites, {len(text.splitlines())} lines")
        plugin_s, cpu_s, hosts = measure_plugin(path)
        print(
            f"plugin: {plugin_s:.2f} s ({cpu_s:.2f} s of the processor) for {hosts} hosts; limit {LIMIT_S:g} s for 500 sites"
        )
        print(f"ansible-inventory --list: {measure_command(path):.2f} s")
    return int(count <= 500 and cpu_s > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
