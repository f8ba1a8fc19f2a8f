"""A guest with Debian's own kernel and open-iscsi, whose disk is an iSCSI export outside: built from Debian's packages.

Its first process (initiator_files/init) logs in to the target that an offer names; then a story, a shell script of
the test, decides what is done with the disk. The offer is the private file that a worker writes for each attach (JSON
with `target`, `port`, `user` and `secret`); the guest reads it through QEMU's firmware configuration, so the secret
stands on no command line and in no other file.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import guest
from .commands import LabError, run

FILES = Path(__file__).with_name("initiator_files")
MODULES = (
    "virtio_pci",
    "virtio_net",
    "crc32c_generic",
    "crc32c-intel",
    "ext4",
    "sd_mod",
    "iscsi_tcp",
    "qemu_fw_cfg",
    "button",
    "evdev",
)
PACKAGES = ("open-iscsi", "libopeniscsiusr", "libisns0")
PROGRAMS = {
    "/sbin/iscsid": "sbin/iscsid",
    "/sbin/iscsiadm": "sbin/iscsiadm",
}
OWN_PROGRAMS = ("/usr/sbin/mkfs.ext4", "/usr/sbin/fsck.ext4", "/usr/sbin/fstrim", "/usr/bin/fio")
APPLETS = (
    "acpid cat cut dmesg echo grep head insmod ip kill ln ls mkdir mount poweroff printf rm sed seq sh sleep stty "
    "tail touch tr umount usleep"
)
DIRECTORIES = "bin sbin modules etc/iscsi etc/acpi/PWRF usr/bin usr/sbin proc sys dev run"
EMULATOR = "qemu-system-x86_64"
MACHINE = (
    "-accel tcg -m 640 -smp 1 -nodefaults -nographic -no-reboot -serial stdio "
    "-netdev user,id=n -device virtio-net-pci,netdev=n,romfile="
)
"""The guest's 10.0.2.2 is the loopback of where QEMU runs. The console is QEMU's standard output."""
KERNEL_WORDS = "console=ttyS0 loglevel=4 panic=-1 edd=off mitigations=off cryptomgr.notests=1"
"""Nothing that an emulated processor would spend seconds on at every boot."""
NEEDED = (EMULATOR, "busybox", "cpio", "dpkg-deb", "apt-get", "gcc", "fio", "mkfs.ext4")
DOWNLOAD_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Initiator:
    """The built parts of a guest: kernel and initial RAM disk."""

    kernel: Path
    initrd: Path

    def command(self, offer: str, *more: str) -> list[str]:
        """The command line that runs it; the program's path is absolute.

        Args:
            offer: path of the offer, read when QEMU starts.
            more: further arguments for QEMU.
        """
        emulator = shutil.which(EMULATOR) or EMULATOR
        machine = [emulator, *MACHINE.split(), "-kernel", str(self.kernel), "-initrd", str(self.initrd)]
        machine += ["-append", KERNEL_WORDS]
        return [*machine, "-fw_cfg", f"name=opt/io.twinhull/offer,file={offer}", *more]


def why_not() -> str:
    """What is missing for such a guest; empty when nothing is."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    return f"missing here: {', '.join(missing)}" if missing else ""


def build(cache: Path, story: Path) -> Initiator:
    """Kernel and initial RAM disk, made once for each state of what they are made of.

    Args:
        cache: directory for downloads and results.
        story: shell script that the guest's first process goes on with once it has its disk.

    Raises:
        LabError: a package cannot be had.
    """
    cache.mkdir(parents=True, exist_ok=True)
    packages = _packages(cache)
    recipe = hashlib.sha256()
    for file in (Path(__file__), Path(guest.__file__), FILES / "init", guest.RECORDER, story):
        recipe.update(file.read_bytes())
    target = cache / f"guest-{recipe.hexdigest()[:16]}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
        try:
            _make_initrd(packages, draft, story)
            [kernel] = (packages / "linux").glob("boot/vmlinuz-*")
            shutil.copyfile(kernel, draft / "vmlinuz")
            shutil.rmtree(draft / "tree")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Initiator(target / "vmlinuz", target / "initrd")


def _packages(cache: Path) -> Path:
    """Debian's packages, unpacked: the kernel into `linux`, the initiator into `iscsi`."""
    target = cache / "packages"
    if target.exists():
        return target
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
    try:
        listed = run(["apt-cache", "depends", "--important", "linux-image-amd64"]).stdout
        kernels = [line.split()[-1] for line in listed.splitlines() if "Depends: linux-image-" in line]
        if not kernels:
            raise LabError("Debian's linux-image-amd64 is not known here (apt-get update)")
        run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", kernels[0], *PACKAGES],
            cwd=draft,
            timeout_s=DOWNLOAD_TIMEOUT_S,
        )
        (draft / "x").mkdir()
        for package in draft.glob("*.deb"):
            where = "linux" if package.name.startswith("linux-image") else "iscsi"
            run(["dpkg-deb", "-x", package, draft / "x" / where], timeout_s=DOWNLOAD_TIMEOUT_S)
        (draft / "x").rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _make_initrd(packages: Path, draft: Path, story: Path) -> None:
    tree = draft / "tree"
    for directory in DIRECTORIES.split():
        (tree / directory).mkdir(parents=True)
    guest.install("/bin/busybox", tree / "bin/busybox")
    guest.link_applets(tree, APPLETS)
    initiator = packages / "iscsi"
    sources = {initiator / inside: name for name, inside in PROGRAMS.items()}
    sources |= {Path(name): name for name in OWN_PROGRAMS}
    for source, name in sources.items():
        guest.install(source, tree / name.lstrip("/"))
    search = dict.fromkeys(path.parent for path in initiator.rglob("*.so*"))
    for library in map(Path, guest.libraries(sources, search)):
        guest.install(library, tree / library.relative_to(initiator if initiator in library.parents else "/"))
    guest.install(FILES / "init", tree / "init")
    guest.install(FILES / "power_button", tree / "etc/acpi/PWRF/00000080")
    guest.install(story, tree / "story")
    guest.make_recorder(tree)
    (tree / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.1993-08.org.debian:01:guest\n")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    guest.install_modules(packages / "linux", MODULES, tree)
    guest.pack(tree, draft / "initrd")
