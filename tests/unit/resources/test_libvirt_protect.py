"""An existing VM comes into its folder and out of it again, and nothing of it is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.resources.conftest import definition
from tests.unit.resources.fake_virsh import Domain, FakeVirsh

from twinhull.errors import ResourceError
from twinhull.resources.base import Progress
from twinhull.resources.images import Image
from twinhull.resources.libvirt_plan import Direction, MovePlan, plan_protect, plan_unprotect
from twinhull.resources.libvirt_protect import VmMover
from twinhull.resources.libvirt_xml import parse_definition
from twinhull.resources.run import CommandTimeoutError

FOLDER = Path("/srv/twinhull/VM1")
OLD = Path("/var/lib/libvirt/images")


def image(path: str, **facts: object) -> Image:
    return Image(path, "raw", 4096, 4096)._replace(**facts)  # type: ignore[arg-type]


def found(*more: Image) -> dict[str, Image]:
    disks = [image(f"{OLD}/disk.img"), *more]
    return {disk.path: disk for disk in disks}


def sentences(plan: MovePlan) -> str:
    return " ".join(finding.sentence for finding in plan.findings)


# ---- plans -------------------------------------------------------------------------------------------


def test_a_plan_says_what_goes_where() -> None:
    devices = "<disk type='file'><source file='/mnt/b/disk.img'/><target dev='vdb'/></disk>"
    text = definition(OLD, devices=devices, os="<nvram>/nvram/web.fd</nvram><kernel>/boot/vmlinuz</kernel>")
    images = found(image("/mnt/b/disk.img"), image("/nvram/web.fd"), image("/boot/vmlinuz"))
    plan = plan_protect(text, FOLDER, images)
    assert [(move.what, move.target) for move in plan.moves] == [
        ("disk vda", "/srv/twinhull/VM1/disk.img"),
        ("disk vdb", "/srv/twinhull/VM1/vdb-disk.img"),
        ("firmware variables", "/srv/twinhull/VM1/vm/web.fd"),
        ("boot file vmlinuz", "/srv/twinhull/VM1/vm/vmlinuz"),
    ]
    assert plan.total_bytes == 4 * 4096
    assert not plan.refused
    assert plan.original == text
    assert parse_definition(plan.definition).disks[1].source == "/srv/twinhull/VM1/vdb-disk.img"


def test_firmware_variables_that_do_not_exist_yet_are_made_in_the_new_place() -> None:
    plan = plan_protect(definition(OLD, os="<nvram>/nvram/web.fd</nvram>"), FOLDER, found())
    assert [move.what for move in plan.moves] == ["disk vda"]
    assert parse_definition(plan.definition).nvram == "/srv/twinhull/VM1/vm/web.fd"


def test_a_vm_that_is_in_its_folder_already_needs_no_move() -> None:
    plan = plan_protect(definition(FOLDER), FOLDER, {f"{FOLDER}/disk.img": image(f"{FOLDER}/disk.img")})
    assert plan.moves == ()
    assert not plan.refused


def test_an_image_that_builds_on_another_is_planned_to_be_flattened() -> None:
    plan = plan_protect(
        definition(OLD), FOLDER, {f"{OLD}/disk.img": image(f"{OLD}/disk.img", backing="/t.img")}
    )
    assert plan.moves[0].flatten
    assert not plan.refused


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "pci device (passthrough)"),
        ("<tpm><backend type='emulator'/></tpm>", "has a TPM"),
        (
            "<disk type='network'><source protocol='rbd'/><target dev='vdb'/></disk>",
            "disk vdb is of type network",
        ),
        ("<disk type='file'><source file='/x'/><target dev='vdb'/></disk>", "disk vdb (/x) cannot be read"),
        (
            "<disk type='file'><source file='/b'/><target dev='vdb'/><shareable/></disk>",
            "shared with other VMs",
        ),
        ("<disk type='file'><source file='/b'/><target dev='vdb'/><transient/></disk>", "is transient"),
        ("<disk type='file'><source file='/e'/><target dev='vdb'/></disk>", "keeps its data in another file"),
        ("<disk type='file'><source file='/s'/><target dev='vdb'/></disk>", "holds snapshots"),
    ],
)
def test_what_cannot_be_moved_is_refused_in_words(devices: str, sentence: str) -> None:
    images = found(image("/b"), image("/e", data_file="/e.raw"), image("/s", backing="/t", snapshots=1))
    plan = plan_protect(definition(OLD, devices=devices), FOLDER, images)
    assert plan.refused
    assert sentence in sentences(plan)


def test_a_vm_is_not_moved_out_of_its_folder_into_its_folder() -> None:
    text = definition(FOLDER)
    plan = plan_unprotect(text, FOLDER, FOLDER / "sub", {f"{FOLDER}/disk.img": image(f"{FOLDER}/disk.img")})
    assert "name a directory outside" in sentences(plan)


# ---- carrying out ------------------------------------------------------------------------------------


class Bench:
    """A VM at its old place, and the mover under test."""

    def __init__(self, virsh: FakeVirsh, tmp_path: Path) -> None:
        self.virsh = virsh
        self.old = tmp_path / "images"
        self.folder = tmp_path / "folder"
        self.state = tmp_path / "state"
        self.old.mkdir()
        self.folder.mkdir()
        self.content = b"boot" + b"\0" * 100_000 + b"data" * 5000
        (self.old / "disk.img").write_bytes(self.content)
        self.text = definition(self.old, devices="<graphics type='vnc' passwd='hunter2'/>")
        virsh.domains["web"] = Domain(self.text, autostart=True)
        self.progress: list[Progress] = []
        self.lines: list[str] = []
        self.mover = VmMover(
            module="VM1", node="a", state_directory=self.state, log=self.lines.append,
            progress=self.progress.append, run=virsh,
        )  # fmt: skip

    @property
    def domain(self) -> Domain:
        return self.virsh.domains["web"]

    def plan(self) -> MovePlan:
        return self.mover.plan_protect("web", self.folder)

    def run_from_the_new_place(self) -> None:
        with (self.folder / "disk.img").open("r+b") as file:
            file.write(b"written in the folder")

    def untouched(self) -> bool:
        same = (self.old / "disk.img").read_bytes() == self.content
        return same and self.domain.definition == self.text and self.domain.autostart


@pytest.fixture
def bench(virsh: FakeVirsh, tmp_path: Path) -> Bench:
    return Bench(virsh, tmp_path)


def test_planning_changes_nothing(bench: Bench) -> None:
    bench.plan()
    assert bench.untouched()
    assert list(bench.folder.iterdir()) == []
    assert not bench.state.exists()


def test_protect_copies_registers_and_keeps_the_originals(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    assert (bench.folder / "disk.img").read_bytes() == bench.content
    assert (bench.old / "disk.img").read_bytes() == bench.content
    read = parse_definition((bench.folder / "vm/domain.xml").read_text())
    assert read.disks[0].source == str(bench.folder / "disk.img")
    assert bench.domain.definition == (bench.folder / "vm/domain.xml").read_text()
    assert not bench.domain.autostart
    assert (bench.state / "before-protect.xml").read_text() == bench.text
    assert bench.progress[-1].bytes_done == bench.progress[-1].bytes_total > 0


def test_files_with_secrets_are_readable_by_root_alone(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    for path in (bench.folder / "vm/domain.xml", bench.state / "before-protect.xml"):
        assert "hunter2" in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert "hunter2" not in "".join(bench.lines)


@pytest.mark.parametrize("state", ["running (booted)", "paused (user)"])
def test_a_vm_that_is_not_off_is_not_moved(bench: Bench, state: str) -> None:
    plan = bench.plan()
    bench.domain.state = state
    with pytest.raises(ResourceError, match="is not off"):
        bench.mover.carry_out(plan)
    assert list(bench.folder.iterdir()) == []


def test_a_vm_with_a_managed_save_is_not_moved(bench: Bench) -> None:
    bench.domain.managed_save = True
    with pytest.raises(ResourceError, match="keeps a saved state"):
        bench.mover.carry_out(bench.plan())


def test_a_refused_plan_is_not_carried_out(bench: Bench) -> None:
    bench.domain.definition = definition(bench.old, devices="<hostdev type='pci'/>")
    plan = bench.plan()
    assert plan.refused
    with pytest.raises(ResourceError, match="passthrough"):
        bench.mover.carry_out(plan)


def test_a_disk_that_another_vm_uses_too_is_refused(bench: Bench) -> None:
    bench.virsh.domains["mail"] = Domain(definition(bench.old, name="mail"))
    assert "also a disk of the VM mail" in sentences(bench.plan())


def test_a_target_that_exists_is_not_overwritten(bench: Bench) -> None:
    (bench.folder / "disk.img").write_bytes(b"precious")
    with pytest.raises(ResourceError, match="exists already"):
        bench.mover.carry_out(bench.plan())
    assert (bench.folder / "disk.img").read_bytes() == b"precious"
    assert bench.untouched()


def interrupt_at(bench: Bench, command: str, number: int) -> None:
    seen = 0

    def on_call(words: list[str]) -> None:
        nonlocal seen
        if words[0] == command:
            seen += 1
            if seen == number:
                raise KeyboardInterrupt

    bench.virsh.on_call = on_call


INTERRUPTIONS = [("domstate", 1), ("domstate", 2), ("define", 1), ("autostart", 1)]


@pytest.mark.parametrize(("command", "number"), INTERRUPTIONS)
def test_an_interrupted_protect_can_be_run_again(bench: Bench, command: str, number: int) -> None:
    plan = bench.plan()
    interrupt_at(bench, command, number)
    with pytest.raises(KeyboardInterrupt):
        bench.mover.carry_out(plan)
    bench.virsh.on_call = lambda _words: None
    bench.mover.carry_out(bench.plan())
    assert (bench.folder / "disk.img").read_bytes() == bench.content
    assert str(bench.folder) in bench.domain.definition
    assert not bench.domain.autostart
    assert (bench.state / "before-protect.xml").read_text() == bench.text


@pytest.mark.parametrize(("command", "number"), INTERRUPTIONS)
def test_an_interrupted_protect_can_be_rolled_back(bench: Bench, command: str, number: int) -> None:
    plan = bench.plan()
    interrupt_at(bench, command, number)
    with pytest.raises(KeyboardInterrupt):
        bench.mover.carry_out(plan)
    bench.virsh.on_call = lambda _words: None
    bench.mover.roll_back()
    bench.mover.roll_back()
    assert bench.untouched()
    assert [path for path in bench.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("command", ["define", "autostart"])
def test_a_registration_that_fails_puts_the_original_back(bench: Bench, command: str) -> None:
    plan = bench.plan()
    failures = 0

    def fail_once(words: list[str]) -> None:
        nonlocal failures
        if words[0] == command and not failures:
            failures += 1
            raise CommandTimeoutError("it did not answer.")

    bench.virsh.on_call = fail_once
    with pytest.raises(ResourceError):
        bench.mover.carry_out(plan)
    assert bench.untouched()
    bench.mover.carry_out(bench.plan())
    assert str(bench.folder) in bench.domain.definition


def test_an_original_that_changed_while_it_was_copied_is_noticed(bench: Bench) -> None:
    plan = bench.plan()
    looks = 0

    def change(words: list[str]) -> None:
        nonlocal looks
        looks += words[0] == "domstate"
        if looks == 2:
            (bench.old / "disk.img").write_bytes(b"changed")

    bench.virsh.on_call = change
    with pytest.raises(ResourceError, match="was changed while it was copied"):
        bench.mover.carry_out(plan)
    assert bench.domain.definition == bench.text


def test_a_full_folder_is_said_before_anything_is_copied(bench: Bench) -> None:
    plan = bench.plan()
    big = plan.moves[0]._replace(data_bytes=1 << 60)
    too_big = MovePlan(
        plan.direction,
        plan.domain,
        plan.place,
        (big,),
        plan.original,
        plan.definition,
        plan.definition_path,
        (),
    )
    with pytest.raises(ResourceError, match="MiB free, the VM's images take"):
        bench.mover.carry_out(too_big)
    assert not (bench.folder / "disk.img").exists()


def test_originals_are_removed_only_after_the_vm_ran_from_its_folder(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    with pytest.raises(ResourceError, match="has not run from its new place yet"):
        bench.mover.remove_originals()
    bench.run_from_the_new_place()
    assert bench.mover.removable_originals() == [str(bench.old / "disk.img")]
    assert bench.mover.remove_originals() == [str(bench.old / "disk.img")]
    assert not (bench.old / "disk.img").exists()
    assert bench.mover.remove_originals() == []
    assert (bench.state / "before-protect.xml").exists()


def test_a_vm_that_ran_from_its_folder_is_not_rolled_back(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    bench.run_from_the_new_place()
    with pytest.raises(ResourceError, match="has run from its new place"):
        bench.mover.roll_back()
    assert str(bench.folder) in bench.domain.definition


def test_while_the_folder_is_not_mounted_nothing_is_rolled_back_or_removed(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    (bench.folder / "disk.img").rename(bench.folder / "elsewhere")
    for undo in (bench.mover.roll_back, bench.mover.remove_originals):
        with pytest.raises(ResourceError, match="Mount the folder"):
            undo()
    assert (bench.old / "disk.img").exists()


def test_protecting_what_is_protected_changes_nothing(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    bench.run_from_the_new_place()
    bench.mover.carry_out(bench.plan())
    assert (bench.folder / "disk.img").read_bytes().startswith(b"written in the folder")


def test_unprotect_brings_back_what_was_written_and_the_autostart(bench: Bench, tmp_path: Path) -> None:
    bench.mover.carry_out(bench.plan())
    bench.run_from_the_new_place()
    written = (bench.folder / "disk.img").read_bytes()
    place = tmp_path / "out"
    plan = bench.mover.plan_unprotect(bench.folder, place)
    assert plan.direction is Direction.UNPROTECT
    bench.mover.carry_out(plan)
    assert (place / "disk.img").read_bytes() == written
    assert bench.domain.definition == (place / "web.xml").read_text()
    assert bench.domain.autostart
    assert (bench.folder / "disk.img").read_bytes() == written


def test_unprotect_never_overwrites_the_originals_of_before(bench: Bench) -> None:
    bench.mover.carry_out(bench.plan())
    bench.run_from_the_new_place()
    with pytest.raises(ResourceError, match="exists already"):
        bench.mover.carry_out(bench.mover.plan_unprotect(bench.folder, bench.old))
    assert (bench.old / "disk.img").read_bytes() == bench.content
