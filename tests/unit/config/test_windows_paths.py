"""A configuration for Windows hosts: folders on drives, programs by Windows paths, NTFS; and never both platforms."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

import pytest
from tests.unit.config.test_cluster import GOOD as LINUX
from tests.unit.config.test_cluster import complaints

from twinhull.config import (
    HyperVConfig,
    InvalidConfigError,
    NodeConfig,
    Platform,
    Unrestorable,
    module_settings,
    parse_cluster,
    platform_of,
    to_yaml,
)
from twinhull.core.settings import StopMode

GOOD = r"""cluster: lyon
nodes: {a: {addresses: {n: 10.0.0.1}}, b: {addresses: {n: 10.0.0.2}}}
networks: {n: {roles: [heartbeat, control, replication]}}
modules:
  M1:
    number: 1
    folder: D:\Twinhull\M1
    size: 1 GiB
    resource:
      kind: scripts
      start: ['C:\Scripts\start.exe', '-x']
      stop: ['C:\Scripts\stop.exe']
      check: ['C:\Scripts\check.exe']
"""


def test_a_folder_on_a_drive_makes_it_a_configuration_for_windows() -> None:
    module = parse_cluster(GOOD).modules["M1"]
    assert module.folder == PureWindowsPath(r"D:\Twinhull\M1")
    assert platform_of(module.folder) is Platform.WINDOWS
    assert module.file_system == "ntfs"
    small = parse_cluster(GOOD.replace("    folder:", "    file_system: ntfs-4k\n    folder:", 1))
    assert small.modules["M1"].file_system == "ntfs-4k"


def test_it_is_written_as_it_was_read() -> None:
    config = parse_cluster(GOOD)
    again = parse_cluster(to_yaml(config))
    assert (again, again.digest()) == (config, config.digest())


def test_slashes_and_a_small_drive_letter_are_the_same_folder() -> None:
    other = parse_cluster(GOOD.replace(r"D:\Twinhull\M1", "d:/Twinhull/M1/"))
    assert other.digest() == parse_cluster(GOOD).digest()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"D:\Twinhull\M1", "D:\\", r"D:\ is a whole drive; use a folder below it, for example D:\Twinhull\NAME"),
        (r"D:\Twinhull\M1", r"C:\Windows\x", r"C:\Windows\x belongs to the system; use for example D:\Twinhull\NAME"),
        (r"D:\Twinhull\M1", r"C:\Users", r"C:\Users is used by others; use a folder of its own below it"),
        (r"D:\Twinhull\M1", r"D:\a\..\b", r"'D:\a\..\b' must be written without '\\', '.' and '..' after the drive"),
        (r"D:\Twinhull\M1", r"D:\a?", r"'a?' in 'D:\a?' is no name of a file on Windows"),
        (r"D:\Twinhull\M1", r"D:\nul", r"'nul' in 'D:\nul' is no name of a file on Windows"),
        (r"D:\Twinhull\M1", r"\\server\share", r"'\\server\share' is no absolute path"),
        (r"'C:\Scripts\start.exe'", "/bin/true", "names /bin/true, which is no path of Windows as the folder is"),
        (r"'C:\Scripts\stop.exe'", "stop.exe", "must begin with the program's absolute path, not 'stop.exe'"),
        ("size: 1 GiB", "size: 1 GiB\n    file_system: ext4", "'ext4' is not one of them"),
    ],
)  # fmt: skip
def test_what_windows_cannot_have_is_told(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidConfigError) as caught:
        parse_cluster(GOOD.replace(old, new, 1))
    assert expected in str(caught.value)


def test_folders_that_differ_by_case_alone_are_one_folder() -> None:
    second = GOOD + GOOD.partition("modules:\n")[2].replace("M1:", "M2:").replace(
        "number: 1", "number: 2"
    ).replace(r"D:\Twinhull\M1", r"d:\TWINHULL\m1\below")
    with pytest.raises(InvalidConfigError, match="overlaps"):
        parse_cluster(second)


def test_modules_of_both_platforms_are_refused() -> None:
    linux = "  M2: {number: 2, folder: /srv/M2, size: 1 GiB, resource: {kind: libvirt}}\n"
    with pytest.raises(InvalidConfigError, match="both nodes of a cluster run the same"):
        parse_cluster(GOOD + linux)


def test_a_linux_node_refuses_to_be_of_a_cluster_of_windows_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.config.fit.HERE", Platform.LINUX)
    with pytest.raises(InvalidConfigError) as caught:
        parse_cluster(GOOD, node=NodeConfig("a"))
    assert (
        r"D:\Twinhull\M1 is a folder of Windows, and node 'a' runs Linux: both nodes of a cluster run the same"
        in str(caught.value)
    )


def test_a_windows_node_refuses_to_be_of_a_cluster_of_linux_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.config.fit.HERE", Platform.WINDOWS)
    linux = GOOD.partition("modules:\n")[0] + (
        "modules: {M2: {number: 2, folder: /srv/M2, size: 1 GiB, resource: {kind: libvirt}}}\n"
    )
    with pytest.raises(InvalidConfigError, match="/srv/M2 is a folder of Linux, and node 'a' runs Windows"):
        parse_cluster(linux, node=NodeConfig("a"))


def test_a_vm_of_libvirt_has_no_folder_of_windows() -> None:
    libvirt = GOOD.partition("    resource:")[0] + "    resource: {kind: libvirt}\n"
    with pytest.raises(InvalidConfigError, match="is of kind 'libvirt', and the folder is one of Windows"):
        parse_cluster(libvirt)


def _vm(resource: str) -> str:
    return GOOD.partition("    resource:")[0] + f"    resource: {resource}\n"


def test_a_vm_of_hyperv_is_configured_and_written_out() -> None:
    config = parse_cluster(_vm("{kind: hyperv, domain: \"仮想 'x'\", stop: {mode: save}, saved_state: stop}"))
    resource = config.modules["M1"].resource
    assert isinstance(resource, HyperVConfig)
    assert (resource.domain, resource.saved_state) == ("仮想 'x'", Unrestorable.STOP)
    assert module_settings(config, "M1", "a").stop_mode is StopMode.SAVE
    assert parse_cluster(to_yaml(config)) == config
    plain = parse_cluster(_vm("{kind: hyperv}"))
    assert plain.modules["M1"].resource == HyperVConfig("M1")
    assert plain.digest() != config.digest()


def test_a_vm_of_hyperv_has_no_folder_of_linux() -> None:
    linux = _vm("{kind: hyperv}").replace(r"D:\Twinhull\M1", "/srv/M1")
    with pytest.raises(InvalidConfigError, match="is of kind 'hyperv', and the folder is one of Linux"):
        parse_cluster(linux)


def test_windows_has_no_fuse() -> None:
    with pytest.raises(InvalidConfigError, match="which Windows has not got: write 'iscsi'"):
        parse_cluster(_vm("{kind: hyperv}") + "    export: {kind: fuse}\n")


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("control: 49152", "'ports.control' is wrong: 49152 reaches into the ports from 49152 on"),
        ("heartbeat: 60000", "write 49151 or less"),
        ("data: 49120", "'ports.data' is wrong"),
        ("export: 49121", "write 49119 or less"),
    ],
)
def test_no_port_of_ours_lies_where_windows_gives_ports_to_others(ports: str, expected: str) -> None:
    text = f"ports: {{{ports}}}\n"
    (told,) = complaints(text + GOOD)
    assert expected in told
    on_linux = re.sub(r"ports: .*\n", text, LINUX)
    assert text in on_linux and parse_cluster(on_linux).modules
