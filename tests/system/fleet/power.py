"""What keeps one host powered: run in a mount namespace of its own as `python -I power.py SPECIFICATION`.

Mounts the host's root file system, runs systemd-nspawn, and boots again when the host reboots itself, as a server
does. Ends when the host powers off. Uses nothing but the standard library: it is started once per host.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

REBOOT_STATUS = 133
CGROUPS = Path("/sys/fs/cgroup")


def enter_cgroup(name: str) -> None:
    """A control group of its own, so that the systemd of one host sees no other's processes."""
    roots = [CGROUPS / "systemd", CGROUPS / "unified", CGROUPS / "memory", CGROUPS / "pids"]
    for root in [root for root in roots if root.is_dir()] or [CGROUPS]:
        (root / name).mkdir(exist_ok=True)
        (root / name / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def mount_root(spec: dict[str, Any]) -> None:
    """The host's disk over the tree that it was installed from."""
    layers = f"lowerdir={spec['tree']},upperdir={spec['upper']},workdir={spec['work']}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, spec["root"]], check=True)


def command(spec: dict[str, Any]) -> list[str]:
    """The command line that boots the host."""
    words = ["systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--boot", "--console=pipe"]
    words += ["-D", spec["root"], "-M", spec["hostname"]]
    words += [f"--network-namespace-path=/run/netns/{spec['namespace']}"]
    # Nothing inside may set the machine's clock or load modules into its kernel.
    words += [
        "--capability=all",
        "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYSLOG,CAP_AUDIT_CONTROL",
    ]
    words += ["--bind=/dev/fuse", "--bind=/dev/loop-control"]
    words += [f"--bind={source}:{target}" for source, target in spec["binds"]]
    words += [f"--bind-ro={source}:{target}" for source, target in spec["binds_read_only"]]
    return [*words, "--resolv-conf=off", "--timezone=off", "--link-journal=no"]


def main() -> int:
    """Boot, and boot again, until the host powers off; nspawn's exit status."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    enter_cgroup(spec["cgroup"])
    mount_root(spec)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        with subprocess.Popen(command(spec), stdin=subprocess.DEVNULL) as process:
            Path(spec["pid_file"]).write_text(str(process.pid), encoding="ascii")
            status = process.wait()
        with contextlib.suppress(FileNotFoundError):
            Path(spec["pid_file"]).unlink()
        if status != REBOOT_STATUS:
            return status
        # A reboot forgets the packet filter, which lives in the namespace that the machine keeps.
        subprocess.run(["ip", "netns", "exec", spec["namespace"], "nft", "flush", "ruleset"], check=True)


if __name__ == "__main__":
    sys.exit(main())
