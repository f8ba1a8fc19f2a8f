"""A module's disk as a folder of a Windows host: `disk.ps1` in the real PowerShell engine, over a modelled host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.standin.windows_host import WindowsHost, needs_engine

from twinhull.attach.windows import CLUSTER_BYTES, BareFolder, OurDisk, WindowsAttacher
from twinhull.errors import AttachError, FolderNotOursError
from twinhull.powershell import PowerShellHosts

pytestmark = needs_engine

PREFIX = "iqn.2026-11.io.twinhull:site.vm1"
SERIAL = "00112233445566778899aabbccddeeff"
SIZE_BYTES = 10 << 30
FOLDER = r"D:\Repli\VM1"
DISK = OurDisk(PREFIX, SERIAL, SIZE_BYTES)


@dataclass(frozen=True)
class Offered:
    """What the export offers."""

    target: str = f"{PREFIX}.0a1b2c3d"
    address: str = "127.0.0.1"
    port: int = 7461
    user: str = "twinhull"
    secret: str = "Sixteen-Letters!"

    def words(self, **more: Any) -> dict[str, Any]:
        """As the model wants it."""
        return {
            "NodeAddress": self.target,
            "Portal": self.address,
            "Port": self.port,
            "ChapUsername": self.user,
            "ChapSecret": self.secret,
            "SizeBytes": SIZE_BYTES,
            "SerialNumber": SERIAL,
            "Content": None,
            **more,
        }


class Scene:
    """One host, its PowerShell, and an attacher."""

    def __init__(self, directory: Path, *, file_system: str = "ntfs", **initial: Any) -> None:
        self.offer: Offered | None = Offered()
        self.first_data: int | None = None
        self.bare: list[str] = []
        self.host = WindowsHost(directory, {"iscsiTargets": [Offered().words()], **initial})
        self.shells = PowerShellHosts(self.host.engine())
        self.attacher = WindowsAttacher(
            "VM1",
            FOLDER,
            disk=lambda: DISK,
            offer=lambda: self.offer,
            powershell=self.shells,
            first_data=lambda: self.first_data,
            bare=BareFolder(lambda: self.bare.append("allow"), lambda: self.bare.append("deny")),
            cluster_bytes=CLUSTER_BYTES[file_system],
        )

    def disk(self) -> dict[str, Any]:
        """The model's record of our disk; empty while it is not there."""
        return next((dict(disk) for disk in self.host.state["disks"] if disk["SerialNumber"] == SERIAL), {})

    def called(self, *cmdlets: str) -> list[str]:
        """Which of these were called, in order."""
        return [call["cmdlet"] for call in self.host.calls() if call["cmdlet"] in cmdlets]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "host")
    yield made
    made.shells.close()


def attached(scene: Scene) -> Scene:
    scene.attacher.attach(make=True)
    return scene


def test_a_blank_volume_becomes_an_ntfs_folder_without_a_letter(scene: Scene) -> None:
    assert not scene.attacher.attached()
    scene.attacher.attach(make=True)
    assert scene.attacher.attached()
    disk = scene.disk()
    assert (disk["IsOffline"], disk["IsReadOnly"], disk["PartitionStyle"]) == (False, False, "GPT")
    [partition] = disk["Partitions"]
    assert FOLDER + "\\" in partition["AccessPaths"]
    assert not partition["DriveLetter"]
    assert partition["Volume"]["FileSystem"] == "NTFS"
    assert partition["Volume"]["AllocationUnitSize"] == 65536
    [formatted] = scene.host.calls("Format-Volume")
    assert formatted["parameters"]["UseLargeFRS"] is True
    assert scene.bare == ["allow"]


def test_clusters_are_as_small_as_configured(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "host", file_system="ntfs-4k")
    scene.attacher.attach(make=True)
    [partition] = scene.disk()["Partitions"]
    assert partition["Volume"]["AllocationUnitSize"] == 4096
    scene.shells.close()


def test_the_login_is_not_kept_and_the_portal_is_forgotten(scene: Scene) -> None:
    attached(scene)
    state = scene.host.state
    [session] = state["sessions"]
    assert session["IsPersistent"] is False
    assert session["AuthenticationType"] == "ONEWAYCHAP"
    assert state["portals"] == []
    assert "Sixteen-Letters!" not in scene.host.log_path.read_text()
    assert scene.called("Set-IscsiChapSecret") == [], "the initiator has one mutual secret for all targets"


def test_attaching_again_changes_nothing(scene: Scene) -> None:
    attached(scene)
    before = scene.host.state
    scene.attacher.attach(make=False)
    assert scene.host.state == before
    assert len(scene.called("Connect-IscsiTarget")) == 1


def test_a_hand_over_flushes_unmounts_and_leaves_nothing(scene: Scene) -> None:
    attached(scene)
    scene.attacher.flush()
    scene.attacher.detach(forced=False)
    order = scene.called(
        "Write-VolumeCache", "Remove-PartitionAccessPath", "Set-Disk", "Disconnect-IscsiTarget"
    )[-4:]
    assert order == ["Write-VolumeCache", "Remove-PartitionAccessPath", "Set-Disk", "Disconnect-IscsiTarget"]
    state = scene.host.state
    assert state["sessions"] == []
    assert state["portals"] == []
    assert scene.disk() == {}
    assert scene.bare == ["allow", "deny"]
    assert not scene.attacher.attached()
    scene.attacher.detach(forced=False)


def test_what_was_written_is_mounted_again_and_never_formatted(scene: Scene) -> None:
    attached(scene)
    scene.attacher.detach(forced=False)
    scene.offer = replace(Offered(), target=f"{PREFIX}.99999999", secret="Another-Secret!!")
    again = scene.offer.words()

    def anew(state: dict[str, Any]) -> None:
        again["Content"] = state["iscsiTargets"][0]["Content"]
        state["iscsiTargets"] = [again]

    scene.host.edit(anew)
    scene.first_data = 0
    scene.attacher.attach(make=True)
    assert scene.attacher.attached()
    assert len(scene.called("Format-Volume")) == 1
    assert len(scene.called("Initialize-Disk")) == 1


def test_a_raw_disk_that_holds_data_is_not_formatted(scene: Scene) -> None:
    scene.first_data = 4096
    with pytest.raises(FolderNotOursError, match="at byte 4096"):
        scene.attacher.attach(make=True)
    assert scene.called("Initialize-Disk", "Format-Volume") == []
    assert scene.host.state["sessions"] == []


def test_a_blank_disk_is_formatted_at_the_first_start_alone(scene: Scene) -> None:
    with pytest.raises(AttachError, match="is blank"):
        scene.attacher.attach(make=False)
    assert scene.called("Initialize-Disk", "Format-Volume") == []
    assert scene.disk() == {}


def test_a_foreign_partition_table_is_left_alone(tmp_path: Path) -> None:
    content: dict[str, Any] = {"PartitionStyle": "MBR", "Guid": None, "Partitions": []}
    scene = Scene(tmp_path / "host", iscsiTargets=[Offered().words(Content=content)])
    with pytest.raises(AttachError, match="0 partitions"):
        scene.attacher.attach(make=True)
    assert scene.called("Initialize-Disk", "Format-Volume", "New-Partition", "Clear-Disk") == []
    scene.shells.close()


def test_a_disk_of_another_size_is_not_taken_for_ours(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "host", iscsiTargets=[Offered().words(SizeBytes=SIZE_BYTES // 2)])
    with pytest.raises(AttachError, match="not the disk of this module"):
        scene.attacher.attach(make=True)
    assert scene.called("Set-Disk", "Initialize-Disk", "Format-Volume") == []
    scene.shells.close()


def test_two_disks_of_one_serial_number_are_refused(scene: Scene) -> None:
    attached(scene)
    scene.host.edit(lambda state: state["disks"].append({**scene.disk(), "Number": 77, "UniqueId": "copy"}))
    with pytest.raises(AttachError, match="2 disks have the serial number"):
        scene.attacher.attached()


def test_a_wrong_secret_leaves_nothing_behind(scene: Scene) -> None:
    scene.offer = replace(Offered(), secret="wrong-wrong-wrong")
    with pytest.raises(AttachError, match="cannot be connected") as failure:
        scene.attacher.attach(make=True)
    assert "wrong-wrong" not in str(failure.value)
    assert scene.host.state["portals"] == []
    assert scene.disk() == {}


def test_the_session_of_a_dead_worker_is_ended_and_another_modules_is_not(tmp_path: Path) -> None:
    other = Offered(target="iqn.2026-11.io.twinhull:site.vm10.5", port=7470)
    targets = [Offered().words(), other.words(SerialNumber="of-vm10")]
    scene = attached(Scene(tmp_path / "host", iscsiTargets=targets))
    scene.host.edit(lambda state: state["sessions"].append({**state["sessions"][0], "SessionIdentifier": "x-10",
                                                            "TargetNodeAddress": other.target}))  # fmt: skip
    freed = scene.attacher.clean_up()  # what was offered still stands in its file, but nobody listens there
    assert any(Offered().target in sentence for sentence in freed)
    assert [session["TargetNodeAddress"] for session in scene.host.state["sessions"]] == [other.target]
    assert scene.attacher.clean_up() == []
    scene.shells.close()


def test_an_attach_after_a_crash_ends_the_old_session_first(scene: Scene) -> None:
    attached(scene)
    scene.offer = replace(Offered(), target=f"{PREFIX}.77777777")

    def crashed(state: dict[str, Any]) -> None:
        state["iscsiTargets"][0]["Down"] = True
        state["iscsiTargets"].append(Offered(target=f"{PREFIX}.77777777").words())

    scene.host.edit(crashed)
    assert not scene.attacher.attached()
    scene.attacher.attach(make=True)
    assert scene.attacher.attached()
    assert [s["TargetNodeAddress"] for s in scene.host.state["sessions"]] == [f"{PREFIX}.77777777"]


def test_a_session_that_does_not_end_is_told_and_can_be_ended_later(scene: Scene) -> None:
    attached(scene)
    scene.host.fault("Disconnect-IscsiTarget", error={"message": "The session is in use."})
    with pytest.raises(AttachError, match="cannot be taken off"):
        scene.attacher.detach(forced=False)
    scene.host.heal()
    scene.attacher.detach(forced=False)
    assert scene.host.state["sessions"] == []


def test_another_disk_at_the_folder_is_refused(scene: Scene) -> None:
    scene.attacher.attached()  # the host has a state from here on

    def mounted(state: dict[str, Any]) -> None:
        state["disks"][0]["Partitions"][0]["AccessPaths"].append(FOLDER + "\\")

    scene.host.edit(mounted)
    with pytest.raises(FolderNotOursError, match="Another disk is mounted"):
        scene.attacher.attach(make=True)
    assert scene.host.state["sessions"] == []


def test_on_a_client_edition_the_disk_arrives_on_line(tmp_path: Path) -> None:
    scene = attached(Scene(tmp_path / "host", edition="Client"))
    assert scene.attacher.attached()
    scene.shells.close()


def test_nothing_offered_is_nothing_attached(scene: Scene) -> None:
    scene.offer = None
    with pytest.raises(AttachError, match="not offered"):
        scene.attacher.attach(make=True)
    assert not scene.attacher.attached()
