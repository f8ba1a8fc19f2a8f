"""The lab's guest: a small real VM of Debian's packages whose program writes records and tells of each."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .commands import LabError, run

FILES = Path(__file__).with_name("guest_files")
RECORDER = FILES / "recorder.c"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio-rng",
    "button",
    "evdev",
)
PROGRAMS = ("/usr/sbin/qemu-ga", "/sbin/mke2fs")
APPLETS = (
    "acpid cat dd echo grep head insmod kill ln mkdir mount poweroff printf reboot sh sleep sync tr umount"
)
DOWNLOAD_TIMEOUT_S = 300.0
DISK_BYTES = 512 << 20
SLOTS = 65_536
MEMORY_MIB = 192

DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <kernel>{directory}/vmlinuz</kernel>
    <initrd>{directory}/initrd</initrd>
    <cmdline>console=ttyS0 loglevel=4 panic=1 recorder.slots={slots} recorder.pause_ms={pause_ms}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='threads' discard='unmap'/>
      <source file='{directory}/disk.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='/var/log/libvirt/{name}-console.log' append='on'/>
      <target port='0'/>
    </serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='file'>
      <source path='{reports}' append='on'/>
      <target type='virtio' name='twinhull.reports'/>
    </channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""


@dataclass(frozen=True)
class Guest:
    """The built parts of a guest: kernel and initial RAM disk."""

    kernel: Path
    initrd: Path

    def place(self, directory: Path) -> None:
        """Lay kernel, RAM disk and an empty disk into a directory, as an existing VM's files."""
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.kernel, directory / "vmlinuz")
        shutil.copyfile(self.initrd, directory / "initrd")
        with (directory / "disk.img").open("wb") as disk:
            disk.truncate(DISK_BYTES)


def domain_xml(name: str, directory: str, reports: Path, *, pause_ms: int = 0) -> str:
    """The libvirt definition of a guest.

    Args:
        name: of the domain.
        directory: where its files lie, as the node sees it.
        reports: host file, on no node's disk, that gets the numbers of the records.
        pause_ms: pause between two records, in milliseconds.
    """
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    uuid = "-".join((digest[:8], digest[8:12], "4" + digest[13:16], "8" + digest[17:20], digest[20:32]))
    return DOMAIN.format(
        name=name,
        uuid=uuid,
        memory_mib=MEMORY_MIB,
        directory=directory,
        reports=reports,
        slots=SLOTS,
        pause_ms=pause_ms,
    )


def build(cache: Path) -> Guest:
    """Build the guest, or take it from the cache.

    Args:
        cache: directory for downloads and results; only grows by what this function needs.

    Raises:
        LabError: a package cannot be had or a program is missing.
    """
    cache = cache.resolve()
    unpacked = _kernel(cache)
    [kernel] = unpacked.glob("boot/vmlinuz-*")
    recipe = hashlib.sha256(kernel.name.encode())
    for file in (Path(__file__), *sorted(FILES.iterdir())):
        recipe.update(file.read_bytes())
    target = cache / f"guest-{recipe.hexdigest()[:16]}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
        try:
            _make_initrd(unpacked, draft)
            shutil.copyfile(kernel, draft / "vmlinuz")
            shutil.rmtree(draft / "tree")
            if not target.exists():
                draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Guest(target / "vmlinuz", target / "initrd")


def _kernel(cache: Path) -> Path:
    """Debian's kernel package, unpacked."""
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / "kernel"
    if target.exists():
        return target
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
    try:
        _download_kernel(draft)
        [package] = draft.glob("*.deb")
        run(["dpkg-deb", "-x", package, draft / "x"], timeout_s=DOWNLOAD_TIMEOUT_S)
        if not target.exists():
            (draft / "x").rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _download_kernel(directory: Path) -> None:
    try:
        _download_kernel_now(directory)
    except LabError:
        run(["apt-get", "-q", "update"], timeout_s=DOWNLOAD_TIMEOUT_S)
        _download_kernel_now(directory)


def _download_kernel_now(directory: Path) -> None:
    listed = run(["apt-cache", "depends", "--important", KERNEL_PACKAGE]).stdout
    names = [
        line.split()[-1] for line in listed.splitlines() if line.strip().startswith("Depends: linux-image-")
    ]
    if not names:
        raise LabError(
            f"Debian's {KERNEL_PACKAGE} is not known here: the lab's guest needs Debian 12 (amd64)"
        )
    run(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", names[0]],
        cwd=directory,
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )


def _make_initrd(unpacked: Path, draft: Path) -> None:
    tree = draft / "tree"
    for directory in ("bin", "sbin", "modules", "etc/acpi/PWRF", "usr/sbin", "proc", "sys", "dev"):
        (tree / directory).mkdir(parents=True)
    install("/bin/busybox", tree / "bin/busybox")
    link_applets(tree, APPLETS)
    for program in PROGRAMS:
        install(program, tree / program.lstrip("/"))
    for library in libraries(PROGRAMS):
        install(library, tree / library.lstrip("/"))
    install(FILES / "init", tree / "init")
    install(FILES / "shutdown", tree / "sbin/shutdown")
    (tree / "etc/acpi/PWRF/00000080").symlink_to("/sbin/shutdown")
    make_recorder(tree)
    install_modules(unpacked, MODULES, tree)
    pack(tree, draft / "initrd")


def install(source: str | Path, target: Path) -> None:
    """Copy a program into a RAM disk's tree.

    Raises:
        LabError: it is not here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not Path(source).exists():
        raise LabError(f"{source} is missing: `make lab` installs what the guest is made of")
    shutil.copyfile(source, target)
    target.chmod(0o755)


def link_applets(tree: Path, applets: str) -> None:
    """Names of busybox, separated by spaces, beside it in /bin."""
    for applet in applets.split():
        (tree / "bin" / applet).symlink_to("busybox")


def make_recorder(tree: Path) -> None:
    """Compile the program that writes records (guest_files/recorder.c) into /bin."""
    recorder = tree / "bin/recorder"
    run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", recorder, RECORDER])


def install_modules(unpacked: Path, wanted: Iterable[str], tree: Path) -> None:
    """Copy modules of an unpacked kernel package to /modules, with what they depend on, and /modules/order."""
    modules = _modules(unpacked, wanted)
    for module in modules:
        shutil.copyfile(module, tree / "modules" / module.name)
    order = [module.name for module in modules]
    (tree / "modules/order").write_text("\n".join(order) + "\n", encoding="ascii")


def pack(tree: Path, initrd: Path) -> None:
    """Make the initial RAM disk of a tree."""
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0", "-F", initrd],
        input_text=names + "\n",
        cwd=tree,
    )


def libraries(programs: Iterable[str | Path], search: Iterable[Path] = ()) -> list[str]:
    """The shared libraries of programs, and the loader, as absolute paths.

    Args:
        programs: files of this machine's kind.
        search: directories where the loader looks first.
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(str(path) for path in search)}
    found: set[str] = set()
    for program in programs:
        for line in run(["ldd", program], env=environment).stdout.splitlines():
            found.update(word for word in line.split() if word.startswith("/"))
    return sorted(os.path.normpath(path) for path in found)


def _modules(unpacked: Path, wanted: Iterable[str]) -> list[Path]:
    """Module files in the order of loading: what each depends on (its .modinfo says it) comes first."""
    files = {path.name.removesuffix(".ko").replace("-", "_"): path for path in unpacked.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None:
            raise LabError(f"the kernel package has no module {name}")
        if path in order:
            return
        raw = path.read_bytes()
        start = raw.index(b"\0depends=") + len(b"\0depends=")
        for dependency in raw[start : raw.index(b"\0", start)].decode("ascii").split(","):
            if dependency:
                add(dependency)
        order.append(path)

    for name in wanted:
        add(name)
    return order
