"""The hosts' root file systems: Debian, made once by this module and kept in a cache.

`bare` is what a freshly installed server has; `full` is `bare` with libvirt and QEMU. `packages` is an apt
repository with what `bare` lacks, so that a host without internet can install it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.commands import LabError, run

CACHE = Path("/var/cache/twinhull-tests/fleet")
SUITE = "bookworm"
RECIPE_VERSION = 5
BARE_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "mount",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
FULL_PACKAGES = (
    "e2fsprogs",
    "fuse3",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "python3-apt",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "xfsprogs",
)
EXTRA_PACKAGES = ("libfaketime", "psmisc")
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
REPOSITORY_INSIDE = "/var/cache/local-packages"
OPERATOR = "sysop"
LOOP_DEVICES = 96
MAKE_TIMEOUT_S = 1200.0

DEVICES_UNIT = f"""\
[Unit]
Description=Loop devices, which no udev makes in a container
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -ISc "import os, stat; \\
  [os.mknod(f'/dev/loop{{n}}', 0o660 | stat.S_IFBLK, os.makedev(7, n)) for n in range({LOOP_DEVICES}) \\
   if not os.path.exists(f'/dev/loop{{n}}')]"
RemainAfterExit=yes
[Install]
WantedBy=sysinit.target
"""
SOURCES = f"deb [trusted=yes] file:{REPOSITORY_INSIDE} ./\n"


@dataclass(frozen=True)
class Trees:
    """The made trees.

    Args:
        bare: systemd, sshd, python3.
        full: the same with libvirt and QEMU installed.
        packages: the apt repository.
    """

    bare: Path
    full: Path
    packages: Path

    @classmethod
    def below(cls, directory: Path) -> Trees:
        """The trees in a directory."""
        return cls(directory / "bare", directory / "full", directory / "packages")


def make(say: Callable[[str], None], cache: Path = CACHE) -> Trees:
    """The trees, from the cache or made now; whoever comes meanwhile waits.

    Args:
        say: gets a line when this will take long.
        cache: directory of the trees.

    Raises:
        LabError: a program is missing, or Debian's mirror cannot be reached.
    """
    with locked(cache):
        target = cache / recipe()
        if not target.exists():
            _remove_others(cache, target)
            say("Making the hosts' Debian trees: about a minute, once.")
            draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
            try:
                draft.chmod(0o755)
                _make(draft)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return Trees.below(target)


def clean(cache: Path = CACHE) -> None:
    """Remove every tree."""
    if cache.exists():
        with locked(cache):
            for entry in cache.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)


def recipe() -> str:
    """The name of what this module makes: another when it would make something else."""
    words = [
        str(RECIPE_VERSION),
        SUITE,
        *BARE_PACKAGES,
        *FULL_PACKAGES,
        *EXTRA_PACKAGES,
        *LEFT_OUT,
        DEVICES_UNIT,
    ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Hold the cache against other makers."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_others(cache: Path, target: Path) -> None:
    """Remove trees of older recipes that no running host stands on, and drafts of makers that died."""
    mounts = " ".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in Path("/proc").glob("[0-9]*/mountinfo")
        if _readable(path)
    )
    for entry in cache.iterdir():
        if entry.is_dir() and entry != target and str(entry) not in mounts:
            shutil.rmtree(entry)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _make(draft: Path) -> None:
    trees = Trees.below(draft)
    _bootstrap(trees.bare)
    _fetch_packages(trees.bare)
    _settle(trees.bare)
    run(["cp", "-a", trees.bare, trees.full], timeout_s=MAKE_TIMEOUT_S)
    _install(trees.full, FULL_PACKAGES)
    inside = REPOSITORY_INSIDE.lstrip("/")
    shutil.rmtree(trees.full / inside)
    (trees.full / inside).mkdir()
    (trees.bare / inside).rename(trees.packages)
    (trees.bare / inside).mkdir()


def _bootstrap(tree: Path) -> None:
    """Debian's minimal system, from the mirror that this machine uses itself."""
    if shutil.which("mmdebstrap") is None:
        raise LabError(
            "mmdebstrap is not installed: apt-get install mmdebstrap systemd-container (or `make test`)"
        )
    argv: list[str | Path] = [
        "mmdebstrap",
        "--variant=minbase",
        "--quiet",
        f"--include={','.join(BARE_PACKAGES)}",
    ]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    argv += ["--dpkgopt=force-unsafe-io", SUITE, tree, *_mirrors()]
    run(argv, timeout_s=MAKE_TIMEOUT_S)


def _mirrors() -> list[str]:
    """Lines for sources.list: this machine's own, where it is the same Debian; else none, which means Debian's."""
    form = "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
    told = run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"], check=False
    )
    lines = sorted(set(told.stdout.splitlines()))
    return lines if any(f" {SUITE} main" in line for line in lines) else []


def _fetch_packages(tree: Path) -> None:
    """Download into the tree what a fuller one has, as an apt repository."""
    wanted = [*FULL_PACKAGES, *EXTRA_PACKAGES]
    with _resolver(tree):
        _chroot(tree, "apt-get", "-q", "update")
        _chroot(tree, "apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install", *wanted)
    repository = tree / REPOSITORY_INSIDE.lstrip("/")
    repository.mkdir(parents=True)
    index = []
    for package in sorted((tree / "var/cache/apt/archives").glob("*.deb")):
        target = repository / package.name.replace("%3a", "_")
        package.rename(target)
        index.append(_index_entry(target))
    (repository / "Packages").write_text("\n".join(index), encoding="utf-8")
    for file in (tree / "var/lib/apt/lists").glob("*Packages*"):
        file.unlink()


def _index_entry(package: Path) -> str:
    """A package's paragraph of a repository's index (Debian policy, section 5.3; apt's Packages format)."""
    fields = run(["dpkg-deb", "-f", package]).stdout.rstrip("\n")
    raw = package.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    return f"{fields}\nFilename: ./{package.name}\nSize: {len(raw)}\nSHA256: {digest}\n"


def _settle(tree: Path) -> None:
    """What an installer would have set up: own package source, an operator with sudo, no identity yet."""
    for file in (tree / "etc/apt/sources.list.d").iterdir():
        file.unlink()
    (tree / "etc/apt/sources.list").write_text(SOURCES, encoding="utf-8")
    for file in (tree / "var/lib/apt/lists").iterdir():
        if file.is_file():
            file.unlink()
    _chroot(tree, "apt-get", "-q", "update")
    _chroot(tree, "useradd", "-m", "-s", "/bin/bash", OPERATOR)
    sudoers = tree / "etc/sudoers.d" / OPERATOR
    sudoers.write_text(f"{OPERATOR} ALL=(ALL) NOPASSWD: ALL\n", encoding="utf-8")
    sudoers.chmod(0o440)
    unit = tree / "etc/systemd/system/lab-devices.service"
    unit.write_text(DEVICES_UNIT, encoding="utf-8")
    wanted = tree / "etc/systemd/system/sysinit.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / unit.name).symlink_to(f"../{unit.name}")
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (tree / "etc/machine-id").write_text("", encoding="utf-8")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").write_text("", encoding="utf-8")


def _install(tree: Path, packages: Sequence[str]) -> None:
    """Install from the tree's own repository; nothing is started (policy-rc.d is Debian's way to say so)."""
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    _chroot(tree, "apt-get", "-q", "-y", "--no-install-recommends", "install", *packages)
    policy.unlink()
    _chroot(tree, "apt-get", "clean")


@contextlib.contextmanager
def _resolver(tree: Path) -> Iterator[None]:
    """This machine's name servers, for as long as the tree downloads."""
    file = tree / "etc/resolv.conf"
    file.unlink(missing_ok=True)
    shutil.copyfile("/etc/resolv.conf", file)
    try:
        yield
    finally:
        file.unlink()


def _chroot(tree: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    return run(["chroot", tree, *argv], timeout_s=MAKE_TIMEOUT_S, env=environment)
