"""One judgement over both nodes: a healthy site passes, and each thing that is wrong is told by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from preflight_sites import (
    GIB,
    LINUX_CLUSTER,
    WINDOWS_CLUSTER,
    cluster_of,
    judged,
    linux_facts,
    told,
)

from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_disk_rules import (
    needed_at_once_bytes,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_judge import judge, read_limits
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_linux_rules import is_supported
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_model import Limits, Module
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_report import (
    as_report,
    as_text,
    refusal,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_windows_rules import (
    is_supported as is_windows_supported,
)

Facts = dict[str, dict[str, Any]]


def on_b(path: str, value: Any) -> Callable[[Facts], None]:
    """Node b with the fact at this dotted path set."""

    def change(facts: Facts) -> None:
        found: Any = facts["b"]
        *parents, last = path.split(".")
        for key in parents:
            found = found[int(key)] if key.isdigit() else found[key]
        found[int(last) if last.isdigit() else last] = value

    return change


def test_a_healthy_linux_site_passes_without_a_warning() -> None:
    assert told(judged()) == []


def test_a_healthy_windows_site_passes_but_for_small_clusters() -> None:
    assert told(judged(platform="windows")) == [
        ("warning", "disk.clusters", ("a",)),
        ("warning", "disk.clusters", ("b",)),
    ]


@pytest.mark.parametrize(
    ("path", "value", "level", "code", "words"),
    [
        ("os.version", "11", "error", "os.unsupported", "which is not supported"),
        ("os.machine", "armv7l", "error", "os.machine", "armv7l"),
        ("os.systemd_booted", False, "error", "os.systemd", "not booted with systemd"),
        ("pythons", [{"path": "/usr/bin/python3", "version": "3.9.18", "venv": True}], "error", "python.version", "3.9.18"),
        ("pythons", [], "error", "python.version", "it has none"),
        ("pythons.0.venv", False, "error", "python.venv", "lacks the venv module"),
        ("clock.synchronised", False, "warning", "clock.unsynchronised", "no time service"),
        ("virtualisation.kvm_opens", False, "error", "virtualisation.none", "does not answer. VM VM1 needs KVM"),
        ("virtualisation.guest_of", "vmware", "warning", "virtualisation.nested", "vmware"),
        ("devices.fuse", False, "error", "device.fuse", "/dev/fuse"),
        ("devices.loop", False, "error", "device.loop", "/dev/loop-control"),
        ("missing_tools", ["mkfs.xfs"], "warning", "tools.missing", "mkfs.xfs"),
        ("root", False, "error", "host.privilege", "not allowed"),
        ("memory.total_bytes", 256 << 20, "error", "memory.small", "256 MiB"),
        ("memory.total_bytes", 2 * GIB, "error", "memory.vm", "VM VM1 is given 4.0 GiB"),
        ("memory.total_bytes", 9 * GIB // 2, "warning", "memory.sum", "less than 1.0 GiB"),
        ("names.resolves_to", [], "warning", "name.unresolved", "does not resolve"),
        ("names.resolves_to", ["203.0.113.9"], "warning", "name.foreign", "203.0.113.9"),
        ("addresses.2.address", "192.168.1.99", "error", "address.missing", "192.168.1.12 (network direct)"),
        ("addresses.2.up", False, "error", "address.down", "eno2"),
        ("pending_reboot", ["packages were updated: libc6"], "warning", "reboot.pending", "libc6"),
        ("folders.0.entries", 3, "error", "folder.not_empty", "is not empty: 3 entries"),
        ("folders.0.mounted", "/dev/sdb1 (ext4)", "error", "folder.mounted", "/dev/sdb1 (ext4)"),
        ("folders.0.symlink_to", "/data/VM1", "error", "folder.link", "/data/VM1"),
        ("folders.0.exists", True, "error", "folder.file", "is a file"),
        ("data_dir.kind", "memory", "error", "disk.memory", "lies in memory"),
        ("data_dir.kind", "network", "error", "disk.network", "network file system"),
        ("data_dir.read_only", True, "error", "disk.read_only", "read-only"),
        ("data_dir.own_volume", True, "error", "disk.own_volume", "a volume cannot hold itself"),
        ("data_dir.path", "/srv/twinhull/VM1/data", "error", "disk.own_volume", "overlaps the folder of module VM1"),
        ("data_dir.barriers_disabled_by", "nobarrier", "error", "disk.barriers", "'nobarrier'"),
        ("data_dir.free_bytes", 5 * GIB, "error", "disk.space", "need 8.1 GiB at once"),
        ("data_dir.free_bytes", 20 * GIB, "warning", "disk.outgrow", "may grow by 64.0 GiB"),
        ("install_dir.free_bytes", 1 << 20, "error", "disk.install", "1.0 MiB are free"),
        ("cpu.vendor", "GenuineIntel", "warning", "cpu.different", "GenuineIntel"),
        ("cpu.flags", ["aes"], "warning", "cpu.different", "only one node has"),
        ("switches.networks", [], "error", "switch.missing", "no libvirt network 'default'"),
        ("switches.bridges", [], "error", "switch.missing", "no bridge 'br0'"),
        ("switches.networks.0.active", False, "error", "switch.inactive", "is not active"),
        ("antivirus", [{"name": "ClamAV", "exclusions": None}], "warning", "antivirus.exclusions", "ClamAV runs"),
        ("os.name", "Ubuntu 24.04", "warning", "os.different", "Ubuntu 24.04"),
        ("clock.offset_s", 3.02, "warning", "clock.difference", "3.0 s apart"),
        ("clock.offset_s", 30.5, "error", "clock.difference", "certificates would be refused"),
        ("unreadable", [{"part": "power", "error": "access denied"}], "warning", "host.unreadable", "access denied"),
    ],
)  # fmt: skip
def test_each_thing_wrong_on_a_linux_node_is_told_with_its_remedy(
    path: str, value: Any, level: str, code: str, words: str
) -> None:
    findings = [finding for finding in judged(on_b(path, value)) if finding.level != "ok"]
    found = next(finding for finding in findings if finding.code == code)
    assert found.level == level
    assert "b" in found.nodes
    assert words in found.sentence
    assert found.remedy
    others = [finding.code for finding in findings if finding.code not in (code, "clock.control")]
    assert others == []


@pytest.mark.parametrize(
    ("path", "value", "level", "code", "words"),
    [
        ("os.edition", "Core", "error", "os.unsupported", "edition Core"),
        ("os.build", 14393, "error", "os.unsupported", "build 14393"),
        ("drives", ["C"], "error", "drive.missing", "no drive D:"),
        ("network_profiles.1.category", "Public", "warning", "network.public", "network direct (Direct)"),
        ("power.sleep", True, "warning", "power.sleep", "sleep is on"),
        ("account", {"name": "LYON\\ops", "local": True, "filter_policy": None}, "warning", "account.filter", "LYON\\ops"),
        ("data_dir.write_cache.flush_disabled", True, "error", "disk.write_cache", "does not flush its write cache"),
        ("data_dir.file_system", "ReFS", "error", "disk.file_system", "ReFS"),
        ("data_dir.kind", "missing", "error", "disk.missing", "does not have"),
        ("hypervisor.available", False, "error", "virtualisation.hyperv", "vmms"),
        ("hypervisor.vm_versions", ["8.0", "9.0"], "error", "vm.version", "configuration version is 10.0"),
        ("switches.networks", [], "error", "switch.missing", "no switch 'External'"),
        ("antivirus.0.exclusions", [], "warning", "antivirus.exclusions", "scans"),
        ("cpu.signature", "Intel64 Family 6 Model 106", "warning", "cpu.different", "the processors differ"),
        ("clock.synchronised", False, "warning", "clock.unsynchronised", "w32time"),
        ("data_dir.record_bytes", 1024, "warning", "disk.records", "file records of 1 KiB"),
        ("paging_files", ["C:\\pagefile.sys", "D:\\Twinhull\\VM1\\pagefile.sys"], "error", "disk.paging_file", "VM1"),
        ("shadow_areas", [{"of": "D:\\", "on": "D:\\"}, {"of": "D:\\Twinhull\\VM1\\", "on": "D:\\"}],
            "warning", "disk.shadow_copies", "of D:\\Twinhull\\VM1\\ are kept on D:\\"),
    ],
)  # fmt: skip
def test_each_thing_wrong_on_a_windows_node_is_told_with_its_remedy(
    path: str, value: Any, level: str, code: str, words: str
) -> None:
    def change(facts: Facts) -> None:
        if path.startswith("os.edition"):
            facts["b"]["os"]["product"] = "client"
        on_b(path, value)(facts)

    findings = [finding for finding in judged(change, platform="windows") if finding.level != "ok"]
    found = next(finding for finding in findings if finding.code == code)
    assert (found.level, "b" in found.nodes) == (level, True)
    assert words in found.sentence
    assert found.remedy
    assert {finding.code for finding in findings} <= {code, "disk.clusters"}


@pytest.mark.parametrize(
    ("change", "level", "code"),
    [
        ({"size": "40"}, "error", "site.size"),
        ({"size": "500 MiB"}, "error", "site.size"),
        ({"number": 0}, "error", "site.number"),
        ({"folder": "srv/VM1"}, "error", "site.folder"),
        ({"folder": "/etc/VM1"}, "error", "site.folder"),
        ({"folder": "/srv"}, "error", "site.folder"),
        ({"preferred": "c"}, "error", "site.preferred"),
        ({"resource": {}}, "error", "site.resource"),
    ],
)
def test_a_module_that_does_not_fit_is_refused(change: dict[str, Any], level: str, code: str) -> None:
    findings = judged(cluster=cluster_of(LINUX_CLUSTER, **change))
    assert [(finding.level, finding.module) for finding in findings if finding.code == code] == [
        (level, "VM1")
    ]


@pytest.mark.parametrize("folder", ["D:VM1", "\\VM1", "D:\\", "C:\\Windows\\VM1", "/srv/VM1", "D:\\a\\..\\b"])
def test_a_windows_folder_that_cannot_be_one_is_refused(folder: str) -> None:
    findings = judged(platform="windows", cluster=cluster_of(WINDOWS_CLUSTER, folder=folder))
    assert "site.folder" in [finding.code for finding in findings if finding.level == "error"]


def test_two_modules_that_get_in_each_others_way_are_refused() -> None:
    cluster = cluster_of(LINUX_CLUSTER)
    cluster["modules"]["vm1"] = {**cluster["modules"]["VM1"], "folder": "/srv/twinhull/VM1/inner"}
    errors = sorted(finding.code for finding in judged(cluster=cluster) if finding.level == "error")
    assert errors == ["site.folder", "site.name", "site.number"]


def test_an_address_that_two_nodes_share_is_refused() -> None:
    cluster = cluster_of(LINUX_CLUSTER)
    cluster["nodes"]["b"]["addresses"]["lan"] = "10.1.0.11"
    findings = [finding for finding in judged(cluster=cluster) if finding.code == "site.address"]
    assert "is node a's address on network lan already" in findings[0].sentence


def test_ports_that_overlap_are_refused() -> None:
    errors = [finding.code for finding in judged(cluster={**LINUX_CLUSTER, "ports": {"control": 7425}})]
    assert "site.port" in errors


def test_a_port_of_our_own_service_is_fine_and_a_foreign_one_is_not() -> None:
    held = {"port": 7410, "address": "0.0.0.0", "pid": 7, "process": "nginx", "ours": False}
    assert told(judged(on_b("held_ports", [{**held, "ours": True}]))) == []
    findings = judged(on_b("held_ports", [held]))
    assert told(findings) == [("error", "port.held", ("b",))]
    assert "is held by nginx (process 7)" in findings[0].sentence


def test_a_folder_that_is_our_volume_already_is_fine() -> None:
    def change(facts: Facts) -> None:
        facts["b"]["folders"][0].update(mounted="/dev/loop3 (ext4)", own_volume=True, entries=4, exists=True)

    assert told(judged(change)) == []


def test_a_volume_that_exists_needs_no_more_room_at_once() -> None:
    def change(facts: Facts) -> None:
        facts["b"]["volumes"] = {"VM1": {"size_bytes": 64 * GIB, "allocated_bytes": 63 * GIB}}
        facts["b"]["data_dir"]["free_bytes"] = 2 * GIB

    assert told(judged(change)) == []


@pytest.mark.parametrize(("thick", "expected"), [(False, 8 * GIB), (True, 64 * GIB)])
def test_what_a_volume_needs_at_once_is_its_vm_or_when_thick_all_of_it(thick: bool, expected: int) -> None:
    module = Module("VM1", 1, "/srv/twinhull/VM1", 64 * GIB, thick, "libvirt", "VM1", "", "stop")
    needed = needed_at_once_bytes(module, 8 * GIB)
    assert expected < needed < expected + (128 << 20)


@pytest.mark.parametrize(
    ("installed", "wanted", "codes"),
    [
        ("0.1.0", "0.2.0", []),
        ("0.9.0", "1.0.0", ["agent.major", "agent.major"]),
        ("2.0.0", "1.0.0", ["agent.major", "agent.major"]),
        ("0.9.0", "", []),
    ],
)
def test_an_agent_of_another_major_version_is_refused(installed: str, wanted: str, codes: list[str]) -> None:
    def change(facts: Facts) -> None:
        for own in facts.values():
            own["agent"] = {"installed": True, "version": installed, "service": "active"}

    findings = judged(change, limits=Limits(agent_version=wanted))
    assert [finding.code for finding in findings if finding.level == "error"] == codes


def test_different_agents_on_the_two_nodes_are_a_warning() -> None:
    def change(facts: Facts) -> None:
        for node, version in (("a", "0.1.0"), ("b", "0.2.0")):
            facts[node]["agent"] = {"installed": True, "version": version, "service": "active"}

    assert told(judged(change)) == [("warning", "agent.different", ("a", "b"))]


def test_clocks_are_not_blamed_for_what_the_measurement_may_have_added() -> None:
    def change(facts: Facts) -> None:
        facts["b"]["clock"].update(offset_s=3.0, uncertainty_s=2.0)

    assert told(judged(change)) == []


def test_clocks_that_agree_but_are_far_from_the_control_nodes_are_a_warning() -> None:
    def change(facts: Facts) -> None:
        for own in facts.values():
            own["clock"]["offset_s"] = -3600.0

    findings = judged(change)
    assert told(findings) == [("warning", "clock.control", ("a",)), ("warning", "clock.control", ("b",))]
    assert "-3600 s off the control node's" in findings[0].sentence


def test_a_saved_state_needs_like_processors() -> None:
    cluster = cluster_of(LINUX_CLUSTER, resource={"kind": "libvirt", "stop": {"mode": "save"}})
    findings = judged(on_b("cpu.vendor", "GenuineIntel"), cluster=cluster)
    assert ("error", "cpu.different", ("a", "b")) in told(findings)


def test_two_platforms_in_one_site_are_refused() -> None:
    from preflight_sites import windows_facts

    findings = judge("lyon", LINUX_CLUSTER, {"a": linux_facts("a"), "b": windows_facts("b")}, {}, Limits())
    assert ("error", "site.platform", ("a", "b")) in told(findings)


def test_a_vm_with_a_virtual_tpm_needs_its_guardian_on_the_other_node() -> None:
    def change(facts: Facts) -> None:
        facts["a"]["vms"][0].update(tpm=True, guardians=["aa11"])
        facts["b"]["guardians"] = []

    assert ("error", "vm.guardian", ("b",)) in told(judged(change, platform="windows"))

    def repaired(facts: Facts) -> None:
        change(facts)
        facts["b"]["guardians"] = [{"name": "g", "private_key": True, "thumbprints": ["AA11"]}]

    assert "vm.guardian" not in [code for _, code, _ in told(judged(repaired, platform="windows"))]


def test_a_guardian_that_cannot_be_told_is_a_warning_and_no_error() -> None:
    def change(facts: Facts) -> None:
        facts["a"]["vms"][0].update(tpm=True, guardians=None)

    assert ("warning", "vm.guardian", ("b",)) in told(judged(change, platform="windows"))


def test_the_power_settings_of_a_client_edition_say_what_the_role_will_do() -> None:
    def change(facts: Facts) -> None:
        facts["b"]["os"].update(product="client", edition="Professional", build=22631)
        facts["b"]["power"].update(sleep=True, hibernation=True, fast_startup=True)

    found = next(
        finding
        for finding in judged(change, platform="windows")
        if finding.code == "power.sleep" and finding.remedy
    )
    assert "sleep, hibernation, Fast Startup are on" in found.sentence
    assert "keeps the old values" in found.remedy


def test_a_node_without_facts_is_named_and_the_site_does_not_pass() -> None:
    findings = judge("lyon", LINUX_CLUSTER, {"a": linux_facts("a")}, {}, Limits())
    assert told(findings) == [("error", "host.facts", ("b",))]


def test_facts_that_could_not_be_read_are_not_judged() -> None:
    def change(facts: Facts) -> None:
        for key, empty in (
            ("memory", {}),
            ("addresses", None),
            ("drives", None),
            ("data_dir", {}),
            ("os", {}),
        ):
            facts["b"][key] = empty
        facts["b"]["unreadable"] = [{"part": "memory", "error": "no"}]

    findings = judged(change, platform="windows")
    assert [level for level, _, _ in told(findings) if level == "error"] == []


def test_an_accepted_error_is_told_as_a_warning() -> None:
    limits = read_limits({"accept": ["disk.network"]})
    findings = judged(on_b("data_dir.kind", "network"), limits=limits)
    assert told(findings) == [("warning", "disk.network", ("b",))]
    assert "Accepted by preflight_accept" in findings[0].sentence


def test_the_report_names_site_node_and_remedy_and_counts() -> None:
    findings = judged(on_b("devices.fuse", False))
    report = as_report("lyon", findings)
    assert (report["passed"], report["errors"], report["warnings"]) == (False, 1, 0)
    lines = as_text(report)
    assert lines[0] == (
        "lyon: preflight found 1 error and 0 warnings. Nothing was changed. Correct the errors and run it again."
    )
    assert lines[1].startswith("  ERROR   device.fuse: node b: there is no /dev/fuse")
    assert any(line.strip().startswith("-> Use the distribution's full kernel") for line in lines)
    assert max(len(line) for line in lines) <= 110
    assert len(as_text(report, verbose=True)) > len(lines)
    assert "node b: there is no /dev/fuse" in refusal(report)


def test_a_site_that_passes_says_so() -> None:
    report = as_report("lyon", judged())
    assert as_text(report)[0] == "lyon: preflight passed. Nothing was changed."


@pytest.mark.parametrize(
    ("distribution", "like", "version", "supported"),
    [
        ("debian", [], "12", True), ("debian", [], "13", True), ("debian", [], "11", False),
        ("ubuntu", ["debian"], "22.04", True), ("ubuntu", ["debian"], "24.10", False),
        ("rhel", ["fedora"], "9.4", True), ("rocky", ["rhel", "centos", "fedora"], "9.5", True),
        ("almalinux", ["rhel"], "8.10", False), ("fedora", [], "9", False), ("arch", [], "", False),
    ],
)  # fmt: skip
def test_which_linux_releases_are_supported(
    distribution: str, like: list[str], version: str, supported: bool
) -> None:
    assert is_supported(distribution, like, version) is supported


@pytest.mark.parametrize(
    ("product", "build", "edition", "supported"),
    [
        ("server", 17763, "ServerStandard", True), ("server", 20348, "ServerDatacenter", True),
        ("domain_controller", 26100, "ServerStandard", True), ("server", 14393, "ServerStandard", False),
        ("client", 19045, "Professional", True), ("client", 22631, "EnterpriseN", True),
        ("client", 22631, "Core", False), ("client", 10240, "Professional", False),
    ],
)  # fmt: skip
def test_which_windows_editions_are_supported(
    product: str, build: int, edition: str, supported: bool
) -> None:
    assert is_windows_supported(product, build, edition) is supported


def test_limits_may_be_told_as_text() -> None:
    limits = read_limits({"rtt_warning_ms": "2.5", "memory_minimum_bytes": "1024", "agent_version": "0.1.0"})
    assert (limits.rtt_warning_ms, limits.memory_minimum_bytes, limits.agent_version) == (2.5, 1024, "0.1.0")


def test_a_limit_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="preflight_memory_minimum_bytes is no number: 'much'"):
        read_limits({"memory_minimum_bytes": "much"})
