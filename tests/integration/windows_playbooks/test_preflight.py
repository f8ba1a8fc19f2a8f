"""preflight.yml over sites that each have one thing wrong: said by code, nothing changed, the good site passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.standin.fleet import Fleet, Site, install_by_hand
from tests.standin.model import GIB, VirtualMachine


def _volume(site: Site, letter: str, **values: object) -> None:
    volumes = site.b.state.files.volumes
    volumes[letter] = replace(volumes[letter], **values)  # type: ignore[arg-type]


def _interface(site: Site, number: int, **values: object) -> None:
    interfaces = site.b.state.interfaces
    interfaces[number] = replace(interfaces[number], **values)  # type: ignore[arg-type]


def _break(site: Site, number: int, outcome: str) -> None:
    pair = (site.a.state.interfaces[number].address, site.b.state.interfaces[number].address)
    site.cluster.wire.broken[pair] = outcome
    for host in site.hosts.values():
        host.state.firewall_profiles = dict.fromkeys(host.state.firewall_profiles, False)


def _file_in_folder(site: Site) -> None:
    site.b.state.files.make_directory(r"D:\Twinhull\VM1")
    site.b.state.files.write(r"D:\Twinhull\VM1\letter.txt", b"dear")


def _flushing(site: Site) -> None:
    site.b.state.disks[0] = replace(site.b.state.disks[0], flushing=False)


def _slow(site: Site) -> None:
    address = site.b.state.interfaces[1].address
    site.cluster.wire.rtt_ms[address], site.cluster.wire.bytes_per_s[address] = 9.0, 10_000_000


def _versions(site: Site) -> None:
    for host in site.hosts.values():
        host.state.features["Hyper-V"] = True
    site.a.state.machines["VM1"] = VirtualMachine("VM1", version="11.0")


def _tpm(site: Site) -> None:
    for host in site.hosts.values():
        host.state.features["Hyper-V"] = True
    site.a.state.machines["VM1"] = VirtualMachine("VM1", has_tpm=True, guardians=("AA11",))
    site.a.state.guardians.add("AA11")


def _switch(site: Site) -> None:
    for host in site.hosts.values():
        host.state.features["Hyper-V"] = True
    site.a.state.switches["External"] = "External"
    site.a.state.machines["VM1"] = VirtualMachine("VM1", switches=("External",))


def _set(name: str, value: object) -> Callable[[Site], None]:
    return lambda site: setattr(site.b.state, name, value)


def _drop(letter: str) -> Callable[[Site], None]:
    def drop(site: Site) -> None:
        del site.b.state.files.volumes[letter]

    return drop


WRONG: dict[str, tuple[str, str, Callable[[Site], None]]] = {
    "drive": ("error", "drive.missing", _drop("D")),
    "space": ("error", "disk.space", lambda site: _volume(site, "C", free_bytes=1024**2)),
    "thin": ("warning", "disk.outgrow", lambda site: _volume(site, "C", free_bytes=20 * GIB)),
    "fat": ("error", "disk.file_system", lambda site: _volume(site, "C", file_system="ReFS")),
    "flush": ("error", "disk.write_cache", _flushing),
    "clock": ("error", "clock.", _set("clock_offset_s", 45.0)),
    "virtual": ("error", "virtualisation.", _set("virtualisation", False)),
    "name": ("", "name.", _set("name_resolves", False)),
    "port": ("error", "port.held", _set("foreign_ports", {7410: "other.exe"})),
    "folder": ("error", "folder.", _file_in_folder),
    "profile": ("", "network.public", lambda site: _interface(site, 0, profile="Public")),
    "address": ("error", "address.missing", lambda site: _interface(site, 1, address="192.168.99.99")),
    "wire": ("error", "network.timeout", lambda site: _break(site, 1, "timeout")),
    "slow": ("warning", "network.rtt", _slow),
    "reboot": ("", "reboot.pending", _set("pending_reboot", True)),
    "scanner": ("warning", "antivirus.", _set("antivirus", ("ESET",))),
    "version": ("error", "vm.", _versions),
    "tpm": ("error", "vm.", _tpm),
    "switch": ("error", "switch", _switch),
}
"""Site: level ('' for error or warning), beginning of the code, what is made wrong on it."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Findings of every site; the run itself changed nothing and asked nothing unknown."""
    directory = tmp_path_factory.mktemp("preflight")
    with Fleet(directory / "fleet", tls=False) as fleet:
        fleet.add_site("good")
        install_by_hand(fleet.add_site("installed"))
        for name, (_, _, spoil) in WRONG.items():
            spoil(fleet.add_site(name))
        before = {name: site.b.state.observable() for name, site in fleet.sites.items()}
        run = fleet.play("playbooks/preflight.yml", extra={"twinhull_output_dir": str(directory / "reports")})
        assert {name: site.b.state.observable() for name, site in fleet.sites.items()} == before
        assert fleet.problems() == [], run.text
        assert sum(run.recap(f"{name}-a")["changed"] for name in fleet.sites) == 0
        return {name: _findings(directory / "reports" / f"preflight-{name}.json") for name in fleet.sites}


def _findings(path: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(path.read_text())["findings"]
    return found


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_remedy(reports: dict[str, list[dict[str, str]]], name: str) -> None:
    level, code, _ = WRONG[name]
    levels = (level,) if level else ("error", "warning")
    hits = [item for item in reports[name] if item["code"].startswith(code) and item["level"] in levels]
    assert hits, [item for item in reports[name] if item["level"] != "ok"]
    assert all(item["remedy"] for item in hits)


@pytest.mark.parametrize("name", ["good", "installed"])
def test_a_good_site_passes(reports: dict[str, list[dict[str, str]]], name: str) -> None:
    assert [item for item in reports[name] if item["level"] == "error"] == []
