"""A VM under libvirt: starts, stops, and is off when it says so. Emulators are real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.unit.resources.conftest import definition
from tests.unit.resources.fake_virsh import UUID, Domain, FakeVirsh

from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState
from twinhull.resources.libvirt import LibvirtResource, LibvirtTimings
from twinhull.resources.libvirt_cmd import Off

OTHER_UUID = "00000000-0000-4000-8000-000000000001"
QUICK = LibvirtTimings(kill_s=2.0, destroy_s=0.5, ask_again_s=0.0, poll_s=0.01, look_s=15.0)


class Node:
    """The resource under test, with a clock that the pauses turn."""

    def __init__(self, virsh: FakeVirsh, folder: Path) -> None:
        self.virsh = virsh
        self.now_s = 0.0
        self.lines: list[str] = []
        self.ready = True
        self.folder = folder
        self.resource = self.make()

    def make(self, uuid: str | None = None) -> LibvirtResource:
        return LibvirtResource(
            module="VM1", node="a", folder=self.folder, domain="web", log=self.lines.append, uuid=uuid,
            folder_ready=lambda: self.ready, timings=QUICK, run=self.virsh, clock=lambda: self.now_s,
            pause=self.pause,
        )  # fmt: skip

    def pause(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.05)

    @property
    def emulator(self) -> object:
        return self.virsh.domains["web"].emulator

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def node(virsh: FakeVirsh, folder: Path) -> Node:
    return Node(virsh, folder)


# ---- start -------------------------------------------------------------------------------------------


def test_a_start_defines_the_vm_from_the_folder_without_autostart_and_boots_it(node: Node) -> None:
    node.virsh.domains["web"] = Domain(definition(Path("/elsewhere")), autostart=True)
    node.resource.start(resume=False)
    assert node.resource.state() is ResourceState.RUNNING
    domain = node.virsh.domains["web"]
    assert str(node.folder) in domain.definition
    assert not domain.autostart


def test_a_cold_start_never_uses_a_saved_state_of_before(node: Node) -> None:
    node.resource.saved_path.write_bytes(b"LibvirtQemudSave")
    node.resource.start(resume=False)
    assert not node.resource.saved_path.exists()
    assert not node.virsh.named("restore")
    assert node.virsh.named("start") == [["start", "web", "--force-boot"]]


def test_a_start_with_resume_restores_the_saved_state_once(node: Node) -> None:
    node.resource.saved_path.write_bytes(b"LibvirtQemudSave")
    node.resource.start(resume=True)
    assert node.virsh.named("restore") == [["restore", str(node.resource.saved_path), "--running"]]
    assert not node.virsh.named("start")
    assert not node.resource.saved_path.exists()


@pytest.mark.parametrize("content", [b"LibvirtQemudPart and half of it", b"", None])
def test_a_saved_state_that_is_not_whole_leads_to_a_cold_boot(node: Node, content: bytes | None) -> None:
    if content is not None:
        node.resource.saved_path.write_bytes(content)
    node.resource.start(resume=True)
    assert node.resource.state() is ResourceState.RUNNING
    assert not node.virsh.named("restore")
    assert "boots cold" in node.log


def test_a_saved_state_that_cannot_be_restored_leads_to_a_cold_boot(node: Node) -> None:
    node.resource.saved_path.write_bytes(b"LibvirtQemudSave")
    node.virsh.fail.add("restore")
    node.resource.start(resume=True)
    assert node.resource.state() is ResourceState.RUNNING
    assert not node.resource.saved_path.exists()
    assert "boots cold" in node.log


def test_nothing_is_started_while_the_folder_is_not_the_mounted_volume(node: Node) -> None:
    node.ready = False
    with pytest.raises(ResourceError, match=r"Module VM1 on node a: .* is not the mounted volume"):
        node.resource.start(resume=False)
    assert node.virsh.calls == []


def test_a_vm_with_a_disk_outside_of_the_folder_is_not_started(node: Node, tmp_path: Path) -> None:
    (tmp_path / "VM1" / "vm" / "domain.xml").write_text(definition(tmp_path))
    with pytest.raises(ResourceError, match=r"its disk vda .* does not lie in the folder"):
        node.resource.start(resume=False)
    assert "web" not in node.virsh.domains


def test_a_disk_that_is_a_link_out_of_the_folder_is_outside(node: Node, tmp_path: Path) -> None:
    (tmp_path / "VM1" / "disk.img").unlink()
    (tmp_path / "VM1" / "disk.img").symlink_to(tmp_path / "real.img")
    with pytest.raises(ResourceError, match="its disk vda"):
        node.resource.start(resume=False)


def test_a_definition_of_another_vm_is_not_started(node: Node) -> None:
    node.resource.definition_path.write_text(definition(node.folder, name="mail"))
    with pytest.raises(ResourceError, match="defines the VM mail instead of web"):
        node.resource.start(resume=False)


def test_a_missing_definition_is_named(node: Node) -> None:
    node.resource.definition_path.unlink()
    with pytest.raises(ResourceError, match=r"domain\.xml cannot be read"):
        node.resource.start(resume=False)


def test_a_vm_that_runs_already_is_not_started_a_second_time(node: Node) -> None:
    node.resource.start(resume=False)
    with pytest.raises(ResourceError, match="runs already as bash"):
        node.make().start(resume=False)
    assert node.resource.state() is ResourceState.RUNNING


@pytest.mark.parametrize("command", ["define", "autostart", "start"])
def test_after_a_start_that_failed_nothing_runs(node: Node, command: str) -> None:
    node.virsh.fail.add(command)
    with pytest.raises(ResourceError, match="internal error: told to fail"):
        node.resource.start(resume=False)
    assert node.resource.state() in (ResourceState.OFF, ResourceState.ABSENT)


def test_a_start_that_libvirt_does_not_answer_is_an_error(node: Node) -> None:
    node.virsh.silent = True
    with pytest.raises(ResourceError, match="did not end within"):
        node.resource.start(resume=False)


def test_what_libvirt_made_of_the_definition_is_kept_in_the_folder(node: Node) -> None:
    def canonical(words: list[str]) -> None:
        if words[0] == "start":
            domain = node.virsh.domains["web"]
            domain.definition = domain.definition.replace("machine='pc'", "machine='pc-i440fx-7.2'")

    node.virsh.on_call = canonical
    node.resource.start(resume=False)
    assert "pc-i440fx-7.2" in node.resource.definition_path.read_text()
    assert node.resource.definition_path.stat().st_mode & 0o777 == 0o600
    assert not node.resource.keep_definition()


def test_a_disk_added_outside_of_the_folder_is_reported_and_not_kept(node: Node) -> None:
    node.resource.start(resume=False)
    before = node.resource.definition_path.read_text()
    node.virsh.domains["web"].definition = definition(Path("/elsewhere"))
    with pytest.raises(ResourceError, match="no longer wholly in its folder"):
        node.resource.keep_definition()
    assert node.resource.definition_path.read_text() == before


def test_a_change_while_the_vm_runs_gets_into_the_folder_and_a_wrong_one_is_said_once(node: Node) -> None:
    node.resource.start(resume=False)
    changed = definition(node.folder, devices="<serial type='pty'/>")
    node.virsh.domains["web"].definition = changed
    node.now_s += QUICK.look_s + 1
    node.resource.state()
    assert node.resource.definition_path.read_text() == changed
    node.virsh.domains["web"].definition = definition(Path("/elsewhere"))
    for _ in range(3):
        node.now_s += QUICK.look_s + 1
        node.resource.state()
    assert node.log.count("no longer wholly in its folder") == 1
    assert node.resource.definition_path.read_text() == changed


def test_a_vm_that_this_object_did_not_start_is_stopped_without_touching_its_definition(node: Node) -> None:
    node.virsh.domains["web"] = Domain(definition(Path("/elsewhere")))
    node.virsh.boot("web")
    before = node.resource.definition_path.read_text()
    node.resource.stop(mode="stop", timeout_s=10.0)
    assert node.resource.definition_path.read_text() == before
    assert node.log == ""


# ---- stop --------------------------------------------------------------------------------------------


def test_stop_asks_the_guest_and_returns_when_its_process_is_gone(node: Node) -> None:
    node.resource.start(resume=False)
    assert node.resource.stop(mode="stop", timeout_s=60.0) is False
    assert node.emulator is None
    assert node.resource.describe().off is Off.SHUTDOWN


def test_a_guest_with_an_agent_is_asked_by_agent_and_acpi_again_and_again(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.agent = node.virsh.deaf_guest = True
    with pytest.raises(ResourceError, match=r"did not shut down \(within 0.2 s\); it runs on"):
        node.resource.stop(mode="stop", timeout_s=0.2)
    asked = [words[-1] for words in node.virsh.named("shutdown")]
    assert asked[:4] == ["agent", "acpi", "agent", "acpi"]
    assert node.resource.state() is ResourceState.RUNNING


def test_a_stop_can_be_given_up_and_the_vm_runs_on(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.deaf_guest = True

    def give_up(words: list[str]) -> None:
        if words[0] == "shutdown":
            node.resource.interrupt()

    node.virsh.on_call = give_up
    with pytest.raises(ResourceError, match="the stop was given up"):
        node.resource.stop(mode="stop", timeout_s=1000.0)
    assert node.resource.state() is ResourceState.RUNNING


def test_a_paused_vm_goes_on_so_that_its_guest_can_shut_down(node: Node) -> None:
    node.resource.start(resume=False)
    node.resource.suspend()
    assert node.resource.state() is ResourceState.PAUSED
    node.resource.stop(mode="stop", timeout_s=10.0)
    assert node.virsh.named("resume")


def test_save_leaves_a_whole_saved_state_in_the_folder(node: Node) -> None:
    node.resource.start(resume=False)
    assert node.resource.stop(mode="save", timeout_s=60.0) is True
    assert node.resource.saved_path.read_bytes().startswith(b"LibvirtQemudSave")
    assert node.resource.state() is ResourceState.SAVED
    assert list(node.resource.saved_path.parent.glob("*.part")) == []


def test_a_save_that_fails_leaves_the_vm_running_and_no_saved_state(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.fail.add("save")
    with pytest.raises(ResourceError, match=r"was not saved .*; it runs on"):
        node.resource.stop(mode="save", timeout_s=60.0)
    assert node.resource.state() is ResourceState.RUNNING
    assert not node.resource.saved_path.exists()


def test_a_vm_that_ended_during_its_save_counts_as_off_without_a_saved_state(node: Node) -> None:
    node.resource.start(resume=False)

    def torn(words: list[str]) -> None:
        if words[0] == "save":
            Path(words[2]).write_bytes(b"LibvirtQemudPart")
            node.virsh.end(node.virsh.domains["web"], "shut off (crashed)")
            node.virsh.fail.add("save")

    node.virsh.on_call = torn
    assert node.resource.stop(mode="save", timeout_s=60.0) is False
    assert not node.resource.saved_path.exists()


def test_off_lets_libvirt_end_the_emulator_first(node: Node) -> None:
    node.resource.start(resume=False)
    assert node.resource.stop(mode="off", timeout_s=30.0) is False
    assert node.emulator is None
    assert node.resource.describe().off is Off.DESTROYED


def test_stopping_what_is_off_is_no_error(node: Node) -> None:
    for mode in ("stop", "save", "off"):
        assert node.resource.stop(mode=mode, timeout_s=1.0) is False


def test_an_unknown_way_of_stopping_is_refused(node: Node) -> None:
    with pytest.raises(ResourceError, match="Use stop, save or off"):
        node.resource.stop(mode="gently", timeout_s=1.0)


# ---- force off ---------------------------------------------------------------------------------------


def test_force_off_kills_the_emulator_before_it_asks_libvirt(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.calls.clear()
    node.resource.force_off()
    assert node.virsh.domains["web"].emulator is None
    assert node.resource.describe().off is Off.CRASHED
    assert not node.virsh.named("destroy")


def test_force_off_needs_neither_libvirt_nor_the_folder(node: Node) -> None:
    node.resource.start(resume=False)
    process = node.virsh.domains["web"].emulator
    assert process is not None
    node.virsh.silent = True
    node.ready = False
    node.resource.definition_path.unlink()
    node.resource.force_off()
    assert process.wait(5) == -signal.SIGKILL
    assert "libvirt does not answer" in node.log
    assert node.resource.state() is ResourceState.UNKNOWN


@pytest.mark.parametrize("uuid", [None, UUID])
def test_force_off_finds_a_vm_that_another_process_had_started(node: Node, uuid: str | None) -> None:
    node.resource.start(resume=False)
    node.virsh.silent = True
    process = node.virsh.domains["web"].emulator
    assert process is not None
    node.make(uuid).force_off()
    assert process.wait(5) == -signal.SIGKILL


def test_force_off_spares_a_vm_that_uses_nothing_of_the_folder(node: Node, tmp_path: Path) -> None:
    node.resource.start(resume=False)
    domain = node.virsh.domains["web"]
    node.resource.force_off()
    domain.definition = domain.definition.replace(str(node.folder), str(tmp_path / "before its protection"))
    node.virsh.boot("web")
    process = domain.emulator
    assert process is not None
    node.make(None).force_off()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_force_off_spares_a_vm_of_the_same_name_with_another_uuid(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.silent = True
    node.make(OTHER_UUID).force_off()
    process = node.virsh.domains["web"].emulator
    assert process is not None
    assert process.poll() is None


def test_force_off_of_what_is_off_or_unknown_is_no_error(node: Node) -> None:
    node.resource.force_off()
    node.resource.force_off()


def test_a_vm_that_libvirt_says_runs_on_is_not_reported_off(node: Node) -> None:
    node.virsh.domains["web"] = Domain(definition(node.folder), state="running (booted)")
    with pytest.raises(ResourceError, match="libvirt says that the VM web still runs"):
        node.resource.force_off()


# ---- the rest ----------------------------------------------------------------------------------------


def test_forget_keeps_every_file_and_is_no_error_twice(node: Node) -> None:
    node.resource.start(resume=False)
    with pytest.raises(ResourceError, match="runs, so it stays registered"):
        node.resource.forget()
    node.resource.force_off()
    node.resource.forget()
    node.resource.forget()
    assert node.resource.state() is ResourceState.ABSENT
    assert node.resource.definition_path.exists()
    [words] = node.virsh.named("undefine")
    assert "--keep-nvram" in words
    assert not [word for word in words if "storage" in word or word == "--nvram"]


def test_forget_says_so_when_libvirt_does_not_answer(node: Node) -> None:
    node.virsh.silent = True
    with pytest.raises(ResourceError, match="libvirt does not answer"):
        node.resource.forget()


def test_a_crash_is_seen_and_told_from_a_shutdown(node: Node) -> None:
    node.resource.start(resume=False)
    process = node.virsh.domains["web"].emulator
    assert process is not None
    process.kill()
    process.wait()
    assert node.resource.state() is ResourceState.OFF
    assert node.resource.describe().off is Off.CRASHED


def test_the_state_is_known_from_the_process_while_libvirt_is_silent(node: Node) -> None:
    node.resource.start(resume=False)
    node.virsh.silent = True
    assert node.resource.state() is ResourceState.RUNNING
    node.virsh.end(node.virsh.domains["web"])
    assert node.resource.state() is ResourceState.OFF
    assert node.make().state() is ResourceState.UNKNOWN


def test_looking_often_at_a_running_vm_does_not_ask_libvirt_each_time(node: Node) -> None:
    node.resource.start(resume=False)
    node.resource.state()
    node.virsh.calls.clear()
    for _ in range(10):
        assert node.resource.state() is ResourceState.RUNNING
    assert node.virsh.calls == []
    node.now_s += QUICK.look_s + 1
    node.resource.state()
    assert node.virsh.named("domstate")


def test_suspend_and_resume_never_raise(node: Node) -> None:
    node.virsh.domains["web"] = Domain(definition(node.folder))
    node.virsh.fail |= {"suspend", "resume"}
    node.resource.suspend()
    node.resource.resume()
    node.virsh.silent = True
    node.resource.suspend()
    assert "was not paused" in node.log


def test_no_secret_of_a_definition_gets_into_the_log_or_a_command_line(node: Node) -> None:
    text = definition(node.folder, devices="<graphics type='vnc' passwd='hunter2'/>")
    node.resource.definition_path.write_text(text)
    node.resource.start(resume=False)
    node.resource.stop(mode="off", timeout_s=1.0)
    assert "hunter2" not in node.log
    assert "hunter2" not in str(node.virsh.calls)
    assert "hunter2" in node.resource.definition_path.read_text()


def test_a_missing_virsh_is_an_error_that_says_so(folder: Path) -> None:
    resource = LibvirtResource(
        module="VM1", node="a", folder=folder, domain="web", log=lambda _line: None,
        virsh=("/nonexistent/virsh",), folder_ready=lambda: True,
    )  # fmt: skip
    with pytest.raises(ResourceError, match="/nonexistent/virsh cannot be run"):
        resource.start(resume=False)
    assert resource.state() is ResourceState.UNKNOWN
