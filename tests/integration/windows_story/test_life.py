"""From two bare Windows hosts to a mirrored application and away again; each test goes on where the one before ended."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.standin.agent_service import SERVICE
from tests.standin.seam import Command
from tests.standin.wine.site import windows_bundle

from .story import HOME, MODULE, NODES, Story, other

NEXT = "0.1.1"
CONFIG_ERROR = "SERVICE_EXIT_CODE  : 3"


def test_install_unpacks_python_and_wheels_and_the_service_starts_the_real_agent(story: Story) -> None:
    story.play("install.yml")
    for node in NODES:
        machine = story.machine(node)
        assert machine.is_running(SERVICE)
        assert any(r"\versions\0.1.0\python\python.exe" in program for program in machine.programs())
        order = machine.state.registry_get(r"HKLM:\SYSTEM\CurrentControlSet\Control", "PreshutdownOrder")
        assert order[0] == SERVICE


def test_the_two_agents_are_a_cluster_over_mutual_tls(story: Story) -> None:
    nodes = story.status("a")
    assert {name: (side["reachable"], side["version"]) for name, side in nodes.items()} == {
        "a": (True, "0.1.0"),
        "b": (True, "0.1.0"),
    }


def test_install_again_changes_nothing(story: Story) -> None:
    workers = [story.worker(node) for node in NODES]
    assert story.play("install.yml").changed() == 0
    assert [story.worker(node) for node in NODES] == workers


def test_what_an_initiator_writes_is_on_both_hosts(story: Story) -> None:
    code, said = story.twinhull("a", "protect", MODULE, "--yes", MODULE)
    assert code == 0, said
    assert story.primary() == "a"
    story.disk(
        "a", "write -P 17 0 1M", "write -f -P 34 3145728 4k", "write -P 51 200M 512k", "discard 204864k 64k",
        "flush", "read -P 17 0 1M", "read -P 34 3145728 4k", "read -P 0 204864k 64k",
    )  # fmt: skip
    assert story.copies_are_equal()
    with story.data("b").open("rb") as file:
        assert file.read(1 << 20) == bytes([17]) * (1 << 20)


def test_a_service_that_was_stopped_leaves_its_workers_which_the_next_one_adopts(story: Story) -> None:
    machine, worker, application = story.machine("a"), story.worker("a"), story.applications("a")
    machine.stop_service(machine.state, SERVICE)
    told = machine.told_of(SERVICE)
    assert "1  STOPPED" in told and "WIN32_EXIT_CODE    : 0 " in told, told
    assert "the agent ends; the workers go on" in story.file("a", r"log\agent.log").read_text()
    story.disk("a", "write -P 18 4M 64k", "flush")
    assert machine.start_service(machine.state, SERVICE) == ""
    story.wait("the agent to talk to its worker", lambda: story.worker("a") == worker)
    assert story.applications("a") == application
    code, said = story.twinhull("a", "agent", "run")
    assert code != 0 and "Another agent already runs" in said


def test_a_service_whose_configuration_is_broken_says_so_and_runs_when_it_is_mended(story: Story) -> None:
    machine, file = story.machine("b"), story.file("b", "node.yml")
    whole = file.read_text()
    machine.stop_service(machine.state, SERVICE)
    file.write_text("node: [b\n")
    assert machine.start_service(machine.state, SERVICE) != ""
    told = machine.told_of(SERVICE)
    assert "1  STOPPED" in told and CONFIG_ERROR in told, told
    last = story.file("b", r"log\agent.log").read_text().splitlines()[-1]
    assert " CRITICAL " in last and rf"{HOME}\node.yml" in last
    file.write_text(whole)
    assert machine.start_service(machine.state, SERVICE) == ""
    assert story.primary() == "a"


def test_a_killed_worker_takes_its_application_along_and_nothing_written_is_lost(story: Story) -> None:
    primary = story.primary()
    machine, pid = story.machine(primary), story.worker(primary)
    [application] = story.applications(primary)
    before = story.offer(primary)
    ran = machine.run_command(machine.state, Command(("taskkill.exe", "/F", "/PID", str(pid))))
    assert ran.exit_code == 0, ran.stdout + ran.stderr
    story.wait(
        "the application of the dead worker to be gone", lambda: not Path(f"/proc/{application}").exists()
    )
    story.wait("another worker to stand in its place", lambda: story.worker(primary) not in (0, pid))
    now = story.primary()
    assert story.offer(now) != before
    story.disk(now, "read -P 17 0 1M", "read -P 18 4M 64k", "write -P 85 9M 64k", "flush")
    assert story.copies_are_equal()


def test_swap_moves_the_application_and_its_disk(story: Story) -> None:
    primary = story.primary()
    story.play("swap.yml", twinhull_empty=primary)
    assert story.primary() == other(primary)
    assert story.offer(primary) is None
    story.disk(other(primary), "read -P 17 0 1M", "write -P 68 8M 64k", "flush")
    assert story.copies_are_equal()


def test_a_host_without_power_is_followed_and_copies_what_it_missed(story: Story) -> None:
    primary = story.primary()
    follower = other(primary)
    story.machine(primary).lose_power()
    story.wait(f"{follower} to run alone", lambda: story.module(follower).get("state") == "ALONE")
    story.disk(follower, "read -P 68 8M 64k", "write -P 102 10M 64k", "flush")
    story.machine(primary).power_on()
    assert story.primary() == follower
    story.disk(follower, "read -P 102 10M 64k")
    assert story.copies_are_equal()


def test_snapshot_fetches_an_archive_of_both_without_a_secret(story: Story) -> None:
    key = story.file("a", r"pki\node.key").read_text().splitlines()[1]
    offer = story.offer(story.primary())
    assert offer is not None
    story.play("snapshot.yml")
    archives = sorted((story.site.directory / "reports").rglob("*.tar.gz"))
    assert len(archives) == 2
    for path in archives:
        with tarfile.open(path) as archive:
            texts = {
                Path(member.name).relative_to("twinhull-snapshot").as_posix(): archive.extractfile(member)
                for member in archive.getmembers()
            }
            told = {name: file.read().decode() for name, file in texts.items() if file is not None}
        assert {"status.json", "cluster.yml", "node.yml", "logs/agent.log", "logs/module-M1.log"} <= set(told)
        assert {"facts/service.txt", "facts/events.txt", "facts/hyperv.txt", "facts/vms.txt"} <= set(told)
        assert "at work" in told["logs/agent.log"]
        whole = "".join(told.values())
        assert key not in whole and str(offer["secret"]) not in whole and "Quiet words 7" not in whole


def test_upgrade_brings_another_version_to_both(story: Story) -> None:
    story.bundle = windows_bundle(story.site.fleet, NEXT)
    story.play("upgrade.yml")
    primary = story.primary()
    assert {side["version"] for side in story.status(primary).values()} == {NEXT}
    story.disk(primary, "read -P 17 0 1M", "read -P 102 10M 64k", "write -P 119 11M 64k", "flush")
    assert story.copies_are_equal()


def test_uninstall_takes_service_and_versions_and_leaves_the_volumes(story: Story) -> None:
    for node in NODES:
        story.twinhull(node, "stop", MODULE)
    story.play("uninstall.yml", twinhull_confirm="lyon")
    for node in NODES:
        machine = story.machine(node)
        assert SERVICE not in machine.state.services
        assert not machine.prefix.path(r"C:\Program Files\Twinhull").exists()
        assert not [program for program in machine.programs() if "Twinhull" in program]
        assert story.data(node).exists()
        order = machine.state.registry_get(r"HKLM:\SYSTEM\CurrentControlSet\Control", "PreshutdownOrder")
        assert SERVICE not in order
