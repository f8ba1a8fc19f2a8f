"""A guest with Debian's own kernel and open-iscsi, which uses the export as a disk: built from Debian's packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.lab import guest as lab_guest
from tests.lab.commands import LabError, run

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[3]
MODULES = ("virtio_pci", "virtio_net", "crc32c_generic", "crc32c-intel", "ext4", "sd_mod", "iscsi_tcp")
PACKAGES = ("open-iscsi", "libopeniscsiusr", "libisns0")
PROGRAMS = {
    "/sbin/iscsid": "sbin/iscsid",
    "/sbin/iscsiadm": "sbin/iscsiadm",
}
OWN_PROGRAMS = ("/usr/sbin/mkfs.ext4", "/usr/sbin/fsck.ext4", "/usr/sbin/fstrim", "/usr/bin/fio")
APPLETS = "cat cut dmesg echo grep head insmod ip ln ls mkdir mount poweroff rm sed seq sh sleep tail tr umount usleep"
CONFIGURATION = """\
node.startup = manual
node.session.auth.authmethod = CHAP
node.session.auth.username = {user}
node.session.auth.password = {secret}
node.session.timeo.replacement_timeout = 120
node.conn[0].timeo.login_timeout = 15
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 30
"""
MACHINE = (
    "qemu-system-x86_64 -accel tcg -m 640 -smp 1 -nodefaults -nographic -no-reboot -serial stdio "
    "-netdev user,id=n -device virtio-net-pci,netdev=n,romfile="
)
DOWNLOAD_TIMEOUT_S = 600.0


def why_not() -> str:
    """What is missing for such a guest; empty when nothing is."""
    needed = ["qemu-system-x86_64", "busybox", "cpio", "dpkg-deb", "apt-get", "fio", "mkfs.ext4"]
    missing = [program for program in needed if shutil.which(program) is None]
    return f"missing here: {', '.join(missing)}" if missing else ""


def build(cache: Path, user: str, secret: str) -> tuple[Path, Path]:
    """Kernel and initial RAM disk, made once for each state of this file.

    Raises:
        LabError: a package cannot be had.
    """
    cache.mkdir(parents=True, exist_ok=True)
    packages = _packages(cache)
    recipe = hashlib.sha256(f"{user} {secret}".encode())
    for file in (Path(__file__), HERE / "guest_init"):
        recipe.update(file.read_bytes())
    target = cache / f"guest-{recipe.hexdigest()[:16]}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
        try:
            _make_initrd(packages, draft, CONFIGURATION.format(user=user, secret=secret))
            [kernel] = (packages / "linux").glob("boot/vmlinuz-*")
            shutil.copyfile(kernel, draft / "vmlinuz")
            shutil.rmtree(draft / "tree")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target / "vmlinuz", target / "initrd"


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


def _make_initrd(packages: Path, draft: Path, configuration: str) -> None:
    tree = draft / "tree"
    for directory in (
        "bin",
        "sbin",
        "modules",
        "etc/iscsi",
        "usr/bin",
        "usr/sbin",
        "proc",
        "sys",
        "dev",
        "run",
    ):
        (tree / directory).mkdir(parents=True)
    _install(Path("/bin/busybox"), tree / "bin/busybox")
    for applet in APPLETS.split():
        (tree / "bin" / applet).symlink_to("busybox")
    initiator = packages / "iscsi"
    sources = {initiator / inside: name for name, inside in PROGRAMS.items()}
    sources |= {Path(name): name for name in OWN_PROGRAMS}
    for source, name in sources.items():
        _install(source, tree / name.lstrip("/"))
    for library in _libraries(list(sources), initiator):
        own = initiator in library.parents
        inside = library.relative_to(initiator) if own else library.relative_to("/")
        _install(library, tree / inside)
    _install(HERE / "guest_init", tree / "init")
    (tree / "etc/iscsi/iscsid.conf").write_text(configuration)
    (tree / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.1993-08.org.debian:01:guest\n")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    modules = lab_guest._modules(packages / "linux", MODULES)
    for module in modules:
        shutil.copyfile(module, tree / "modules" / module.name)
    (tree / "modules/order").write_text("\n".join(module.name for module in modules) + "\n")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0", "-F", draft / "initrd"],
        input_text=names + "\n",
        cwd=tree,
    )


def _install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _libraries(programs: list[Path], initiator: Path) -> list[Path]:
    """The shared libraries of programs, and the loader; those of the unpacked packages among them."""
    inside = [path.parent for path in initiator.rglob("*.so*")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(str(path) for path in dict.fromkeys(inside))}
    found: set[str] = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True, check=True)
        found.update(word for line in listed.stdout.splitlines() for word in line.split() if word[0] == "/")
    return sorted(Path(os.path.normpath(path)) for path in found)


class Guest:
    """A running guest; its console's lines that begin with GUEST are what it says.

    Args:
        kernel, initrd: see `build`.
        name, port: of the target on this machine.
        log: file for the whole console.
    """

    def __init__(self, kernel: Path, initrd: Path, name: str, port: int, log: Path) -> None:
        append = f"console=ttyS0 loglevel=4 panic=-1 iscsi.name={name} iscsi.port={port}"
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [*MACHINE.split(), "-kernel", str(kernel), "-initrd", str(initrd), "-append", append],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def says(self) -> Iterator[str]:
        """What it says, one after the other, until it is off. Raises AssertionError when it failed."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._log.write(line)
            self._log.flush()
            _, mark, said = line.partition("GUEST ")
            if mark:
                assert not said.startswith("FAILED"), said
                yield said.strip()

    def end(self) -> None:
        """Turn it off, whatever it does."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
