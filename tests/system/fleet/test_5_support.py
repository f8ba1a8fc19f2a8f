"""Chapter 5: support archives, certificates, and the end."""

from __future__ import annotations

import tarfile
from pathlib import Path

from .host import Host
from .inventory import CONSOLE_PASSWORD
from .test_3_protect import assert_nothing_lost
from .town import GUEST, PROGRAM, SITES, Town, protected

LIVING = ("--limit", "site_lyon,site_basel")
SECRETS = (b"PRIVATE KEY", CONSOLE_PASSWORD.encode())


def archives(town: Town) -> list[Path]:
    """The support archives collected so far."""
    return sorted((town.fleet.root / "reports/snapshots").glob("*.tar.gz"))


def contents(archive: Path) -> dict[str, bytes]:
    """Every file of an archive."""
    with tarfile.open(archive) as opened:
        return {
            member.name: file.read()
            for member in opened.getmembers()
            if member.isfile() and (file := opened.extractfile(member)) is not None
        }


def serial(host: Host) -> str:
    """The serial number of a node's certificate."""
    script = (
        "from cryptography import x509; import pathlib;"
        "print(x509.load_pem_x509_certificate(pathlib.Path('/etc/twinhull/pki/node.crt').read_bytes()).serial_number)"
    )
    return host.run(["/opt/twinhull/current/bin/python", "-c", script]).stdout.strip()


def test_a_site_whose_power_is_lost_does_not_keep_the_others_archives_back(town: Town) -> None:
    protected(town)
    mirror = town.other(town.primary("basel"))

    def collecting(text: str) -> bool:
        return "TASK [Collect the node's archive]" in text

    first = town.stage.play_and("snapshot", when=collecting, do=mirror.power_loss)
    assert first.outcome("basel") == "left out", first.tail
    names = {path.name.rsplit("_", 1)[0] for path in archives(town)}
    assert {"lyon_a", "lyon_b"} <= names, first.tail
    town.power_back(mirror)
    town.wait_green("basel")
    again = town.stage.play("snapshot", "--limit", "site_basel")
    assert again.status == 0, again.tail
    names = {path.name.rsplit("_", 1)[0] for path in archives(town)}
    assert {"basel_a", "basel_b"} <= names, again.tail


def test_the_archives_tell_the_state_and_hold_no_secret(town: Town) -> None:
    protected(town)
    if not archives(town):
        town.stage.play("snapshot", *LIVING)
    for archive in archives(town):
        files = contents(archive)
        names = " ".join(files)
        for word in ("status", "cluster.yml", "log"):
            assert word in names, f"{archive.name} lacks {word}: {names}"
        site, node, _ = archive.name.split("_")
        assert any(site.encode() in content for content in files.values())
        keys = town[f"{site}-{node}"].path("/etc/twinhull/pki/node.key").read_bytes().splitlines()[1:-1]
        for name, content in files.items():
            for secret in (*SECRETS, *keys):
                assert secret not in content, f"{archive.name}: {name} holds a secret"
            assert b"scrypt" not in content, f"{archive.name}: {name} holds the password's hash"


def test_certificates_are_rotated_while_the_applications_write_through_a_power_loss(town: Town) -> None:
    protected(town)
    before = {host.name: serial(host) for host in town.fleet.living}
    lines = {site: town.applications[site].lines for site in SITES}
    mirror = town.other(town.primary("basel"))

    def renewed(_: str) -> bool:
        return any(serial(host) != before[host.name] for host in town.fleet.hosts_of("basel") if host.leader)

    def lose_power_for_a_moment() -> None:
        mirror.power_loss()
        mirror.boot()

    first = town.stage.play_and("rotate_certificates", when=renewed, do=lose_power_for_a_moment)
    assert first.outcome("lyon") == "done", first.tail
    mirror.wait_booted()
    town.wait_green("basel")
    again = town.stage.play("rotate_certificates", "--limit", "site_basel")
    assert again.status == 0, again.tail
    for site in SITES:
        town.wait_green(site)
        assert town.applications[site].told(lines[site]).boots == 0, "no application was stopped"
    for host in town.fleet.living:
        assert serial(host) != before[host.name], host.name
    assert_nothing_lost(town)


def test_uninstalling_is_refused_while_modules_run(town: Town) -> None:
    protected(town)
    outcome = town.stage.play("uninstall", *LIVING, "-e", "twinhull_confirm=all")
    assert outcome.status != 0
    for site in SITES:
        assert outcome.outcome(site) == "left out", outcome.tail
        assert outcome.changes(site) == []
        assert town.is_green(site)


def test_uninstalling_leaves_volumes_and_nothing_else_through_a_power_loss(town: Town) -> None:
    protected(town)
    assert_nothing_lost(town)
    stopped = town.stage.play("stop", *LIVING, "-e", "twinhull_confirm=all")
    assert stopped.status == 0, stopped.tail
    host = town["basel-b"]

    def begun(_: str) -> bool:
        return not host.path("/etc/systemd/system/twinhull-agent.service").exists()

    first = town.stage.play_and("uninstall", "-e", "twinhull_confirm=all", when=begun, do=host.power_loss)
    assert first.outcome("lyon") == "done", first.tail
    town.power_back(host)
    again = town.stage.play("uninstall", "-e", "twinhull_confirm=all")
    assert again.outcome("lyon") == "unchanged", again.tail
    assert again.outcome("basel") in {"done", "unchanged"}, again.tail
    for site in SITES:
        for one in town.fleet.hosts_of(site):
            assert not one.path("/opt/twinhull/versions").exists()
            assert not one.path("/usr/local/bin/twinhull").is_symlink()
            assert "twinhull" not in one.run(["systemctl", "list-unit-files", "--no-legend"]).stdout
            assert "twinhull" not in one.run(["nft", "list", "ruleset"]).stdout
            assert any(one.path("/var/lib/twinhull").rglob(f"*{town.module_of(site)}*")), "the volumes stay"


def test_volumes_go_only_when_their_site_is_named(town: Town) -> None:
    arguments = ("-e", "twinhull_confirm=all", "-e", "twinhull_remove_volumes=basel")
    outcome = town.stage.play("uninstall", *LIVING, *arguments)
    assert outcome.outcome("lyon") == "left out", outcome.tail
    assert outcome.outcome("basel") == "done", outcome.tail
    for site, module in (("lyon", GUEST), ("basel", PROGRAM)):
        for host in town.fleet.hosts_of(site):
            there = host.run(
                ["sh", "-c", f"ls -d /var/lib/twinhull/*/*{module}* 2>/dev/null"], check=False
            ).stdout
            assert bool(there.strip()) == (site == "lyon"), f"{host.name}: {there}"
    for host in town.fleet.hosts_of("basel"):
        assert not host.path("/etc/twinhull").exists()
