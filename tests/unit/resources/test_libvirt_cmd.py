"""virsh's commands, and what virsh 9.0 really answered."""

from __future__ import annotations

import pytest

from twinhull.resources.base import ResourceState
from twinhull.resources.libvirt_cmd import (
    DomainState,
    Off,
    Virsh,
    complaint,
    is_domain,
    parse_fields,
    parse_names,
    parse_secrets,
    parse_state,
)

UUID = "6a1f5d52-0f3b-4a0f-9d43-3f2f6cdb9a01"
EMULATOR = [
    "/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-S", "-m", "64", "-uuid", UUID,
    "-no-user-config",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("running (booted)\n\n", DomainState(ResourceState.RUNNING, "booted")),
        ("running (restored)\n", DomainState(ResourceState.RUNNING, "restored")),
        ("in shutdown (unknown)\n", DomainState(ResourceState.RUNNING, "unknown")),
        ("paused (user)\n\n", DomainState(ResourceState.PAUSED, "user")),
        ("paused (I/O error)\n\n", DomainState(ResourceState.PAUSED, "I/O error")),
        ("crashed (panicked)\n", DomainState(ResourceState.PAUSED, "panicked")),
        ("shut off (shutdown)\n", DomainState(ResourceState.OFF, "shutdown", Off.SHUTDOWN)),
        ("shut off (destroyed)\n", DomainState(ResourceState.OFF, "destroyed", Off.DESTROYED)),
        ("shut off (crashed)\n", DomainState(ResourceState.OFF, "crashed", Off.CRASHED)),
        ("shut off (saved)\n", DomainState(ResourceState.SAVED, "saved", Off.SAVED)),
        ("shut off (of a new kind)\n", DomainState(ResourceState.OFF, "of a new kind", Off.UNKNOWN)),
        ("no state\n", DomainState(ResourceState.UNKNOWN, "no state")),
        ("", DomainState(ResourceState.UNKNOWN, "")),
    ],
)
def test_a_domain_state_is_read(text: str, expected: DomainState) -> None:
    assert parse_state(text) == expected


def test_commands_are_argument_lists_with_the_configured_uri() -> None:
    virsh = Virsh("qemu+unix:///system", ("nsenter", "virsh"))
    assert virsh.state("a b; rm") == [
        "nsenter", "virsh", "-q", "-c", "qemu+unix:///system", "domstate", "a b; rm", "--reason",
    ]  # fmt: skip
    assert "--force-boot" in virsh.start("web")
    assert "--security-info" in virsh.definition("web")
    assert virsh.autostart("web", enable=False)[-1] == "--disable"


def test_names_are_read_line_by_line() -> None:
    assert parse_names("web\nmail server\n\n") == ["web", "mail server"]


def test_fields_are_read() -> None:
    text = (
        "Name:           default\nUUID:           9707af4b-8d25-4ba3-b3ce-8c71efd0e0c5\n"
        "Active:         no\nPersistent:     yes\nAutostart:      no\nBridge:         virbr0\n\n"
    )
    assert parse_fields(text)["Active"] == "no"


def test_secrets_are_read_without_their_heading() -> None:
    head = " UUID   Usage\n" + "-" * 36 + "\n"
    assert parse_secrets(head) == set()
    assert parse_secrets(head + f" {UUID.upper()}   volume /srv/a\n") == {UUID}


def test_a_complaint_is_one_line_without_prefixes() -> None:
    text = (
        "error: failed to get emulator capabilities\n"
        "error: unsupported configuration: unable to find any emulator to serve 'aarch64' architecture\n\n"
    )
    assert complaint(text) == (
        "failed to get emulator capabilities: unsupported configuration: "
        "unable to find any emulator to serve 'aarch64' architecture"
    )
    assert complaint("\n") == "no reason was given"


@pytest.mark.parametrize(
    ("name", "uuid", "expected"),
    [
        ("web", UUID, True),
        ("renamed", UUID, True),
        ("web", None, True),
        ("web", "00000000-0000-4000-8000-000000000001", False),
        ("we", None, False),
        ("web,debug-threads=on", None, False),
    ],
)
def test_an_emulator_is_known_by_its_uuid_else_by_its_name(
    name: str, uuid: str | None, expected: bool
) -> None:
    assert is_domain(EMULATOR, name, uuid) is expected


def test_a_comma_in_a_name_is_doubled_on_the_command_line() -> None:
    assert is_domain(["qemu", "-name", "guest=a,,b,debug-threads=on"], "a,b", None)
    assert not is_domain(["qemu", "-name", "guest=a,,b,debug-threads=on"], "a", None)
    assert not is_domain([], "a", None)
