"""One archive for support: configuration, logs, states, versions and facts of the system. Never a key."""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twinhull
from twinhull.config import ScriptsConfig

from .anonymise import Anonymiser

if TYPE_CHECKING:
    from .agent import Agent

NEWEST_LOG_BYTES = 8 << 20
_KEYS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
FACT_TIMEOUT_S = 20.0
LINUX_FACTS: Mapping[str, tuple[str, ...]] = {
    "uname.txt": ("uname", "-a"),
    "memory.txt": ("cat", "/proc/meminfo"),
    "disks.txt": ("df", "-hT"),
    "mounts.txt": ("cat", "/proc/self/mountinfo"),
    "loops.txt": ("losetup", "--list"),
    "addresses.txt": ("ip", "-br", "address"),
    "routes.txt": ("ip", "route"),
    "sockets.txt": ("ss", "-tlnp"),
    "processes.txt": ("ps", "axo", "pid,ppid,stat,etimes,rss,comm"),
    "domains.txt": ("virsh", "list", "--all"),
    "kernel.txt": ("dmesg", "--level=err,warn"),
}
_POWERSHELL = ("powershell.exe", "-NoProfile", "-NonInteractive", "-Command")
_EVENTS = ("wevtutil.exe", "query-events", "/reversedirection:true", "/format:text", "/count:300")
WINDOWS_FACTS: Mapping[str, tuple[str, ...]] = {
    "system.txt": ("systeminfo.exe",),
    "addresses.txt": ("ipconfig.exe", "/all"),
    "routes.txt": ("route.exe", "print"),
    "sockets.txt": ("netstat.exe", "-ano"),
    "processes.txt": ("tasklist.exe",),
    "service.txt": ("sc.exe", "queryex", "twinhull-agent"),
    "service-settings.txt": ("sc.exe", "qc", "twinhull-agent"),
    "service-recovery.txt": ("sc.exe", "qfailure", "twinhull-agent"),
    "disks.txt": (*_POWERSHELL, "Get-Disk | Format-List"),
    "volumes.txt": (*_POWERSHELL, "Get-Volume | Format-List"),
    "iscsi.txt": (*_POWERSHELL, "Get-IscsiSession | Format-List"),
    "vms.txt": (*_POWERSHELL, "Get-VM | Format-List"),
    "hyperv.txt": (*_POWERSHELL, "Get-VMHost | Format-List"),
    "switches.txt": (*_POWERSHELL, "Get-VMSwitch | Format-List"),
    "events.txt": (*_EVENTS, "Application", "/query:*[System[Provider[@Name='Twinhull']]]"),
    "events-system.txt": (*_EVENTS, "System", "/query:*[System[Level=1 or Level=2 or Level=3]]"),
    "events-hyperv.txt": (*_EVENTS, "Microsoft-Windows-Hyper-V-VMMS-Admin"),
    "events-vms.txt": (*_EVENTS, "Microsoft-Windows-Hyper-V-Worker-Admin"),
}
FACTS = WINDOWS_FACTS if sys.platform == "win32" else LINUX_FACTS


def make(
    agent: Agent,
    status: Mapping[str, Any],
    *,
    anonymise: bool,
    progress: Callable[[str, int, int], None],
) -> Path:
    """Write the archive into the runtime directory and return its path; older ones are removed.

    Args:
        status: of the cluster, as plain data.
        anonymise: replace names and addresses, the same ones by the same replacements everywhere.
        progress: told a sentence, the pieces done and all pieces.
    """
    directory = agent.node.run_dir / "snapshots"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in directory.glob("*.tar.gz"):
        old.unlink(missing_ok=True)
    path = directory / f"twinhull-{agent.node.node}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    hide = Anonymiser(_names(agent)) if anonymise else None
    with tarfile.open(path, "w:gz") as archive:
        pieces = list(_pieces(agent, status))
        for done, (name, read) in enumerate(pieces, 1):
            progress(f"collecting {name}", done, len(pieces))
            text = clean_of_keys(read())
            _add(archive, hide.text(name) if hide else name, hide.text(text) if hide else text)
    path.chmod(0o600)
    return path


def clean_of_keys(text: str) -> str:
    """The text without private keys, wherever one may have got into a log or a configuration."""
    return _KEYS.sub("[a private key was here]", text)


def _names(agent: Agent) -> dict[str, list[str]]:
    """What an archive could be attributed by."""
    cluster = agent.cluster
    domains = [
        m.resource.domain for m in cluster.modules.values() if not isinstance(m.resource, ScriptsConfig)
    ]
    return {
        "cluster": [cluster.cluster],
        "node": list(cluster.nodes),
        "module": list(cluster.modules),
        "network": list(cluster.networks),
        "domain": domains,
        "host": [platform.node()],
    }


def _pieces(agent: Agent, status: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "status.json", lambda: json.dumps(status, indent=2)
    yield "versions.json", _versions
    yield "cluster.yml", lambda: _tail(agent.node.cluster_config)
    yield "node.yml", lambda: _tail(agent.node_file)
    for file in sorted(agent.node.log_dir.glob("*")):
        if file.is_file():
            yield f"logs/{file.name}", lambda file=file: _tail(file)  # type: ignore[misc]
    for name, argv in FACTS.items():
        yield f"facts/{name}", lambda argv=argv: _fact(argv)  # type: ignore[misc]


def _versions() -> str:
    return json.dumps(
        {
            "twinhull": twinhull.__version__,
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        indent=2,
    )


def _tail(file: Path) -> str:
    """The newest part of a text file; says so when it cannot be read."""
    try:
        with file.open("rb") as opened:
            opened.seek(0, io.SEEK_END)
            opened.seek(max(0, opened.tell() - NEWEST_LOG_BYTES))
            return opened.read().decode(errors="replace")
    except OSError as error:
        return f"(not readable: {error})\n"


def _fact(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=FACT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"(not available: {error})\n"
    return done.stdout + done.stderr


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(f"twinhull-snapshot/{name}")
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(data))
