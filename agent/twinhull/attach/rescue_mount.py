"""Mounts the file that shows an old volume, read-only, and takes it away again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..errors import AttachError
from . import holders, linux_cmd, loop
from .commands import run, run_well

TIMEOUT_S = 120.0
# The device takes writes (into thin air), so that the journal is replayed; the mount itself takes none.
OPTIONS = {"ext4": "ro,nodev,nosuid,noatime", "xfs": "ro,nodev,nosuid,noatime,nouuid"}


def require_platform(module: str, number: int) -> None:
    """Refuse where this version cannot show an old file system. Raises AttachError, which says what can be done there."""
    if sys.platform == "win32":
        raise AttachError(
            f"Rescue {number} of {module} cannot be mounted on a Windows host by this version, only exported.",
            rf"Write `twinhull rescue export {module} {number} --image D:\{module}-{number}.vhd`, then open that file with "
            "`Mount-VHD -ReadOnly`.",
        )


def mount(file: Path, folder: Path) -> None:
    """Show the file system in `file` at `folder`, read-only. Raises AttachError."""
    device = run_well(
        linux_cmd.connect(file), TIMEOUT_S, f"No loop device can be put on {file}", "Load the loop module."
    ).strip()
    try:
        kind = _kind(device)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_well(
            ["mount", "-i", "-t", kind, "-o", OPTIONS[kind], device, str(folder)],
            TIMEOUT_S,
            f"The old file system cannot be mounted at {folder}",
            "Look at the kernel's log (dmesg); the old volume itself can be exported as an image.",
        )
    except AttachError:
        run(linux_cmd.disconnect(device), TIMEOUT_S)
        raise
    run(linux_cmd.disconnect(device), TIMEOUT_S)  # freed by the kernel when the mount goes (autoclear)


def _kind(device: str) -> str:
    output = run_well(
        linux_cmd.list_signatures(device), TIMEOUT_S, f"{device} cannot be examined", "See dmesg."
    )
    try:
        kinds = {signature.kind for signature in linux_cmd.parse_signatures(output)}
    except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise AttachError(f"{device} cannot be examined: wipefs said {output[:200]!r}.", "") from error
    for kind in OPTIONS:
        if kinds == {kind}:
            return kind
    raise AttachError(
        f"The old volume holds {', '.join(sorted(kinds)) or 'no file system'}, which cannot be mounted.",
        "Export it as an image.",
    )


def unmount(folder: Path) -> None:
    """Take the mount away; the loop device goes with it. Idempotent. Raises AttachError naming who holds it."""
    while linux_cmd.top_mount(holders.own_mounts(), folder) is not None:
        outcome = run(linux_cmd.unmount(folder, lazy=False), TIMEOUT_S)
        if outcome.exit_code != 0:
            raise AttachError(
                f"{folder} cannot be unmounted: {' '.join(outcome.errors.split())}.",
                f"End what uses it (fuser -vm {folder}), then try again.",
            )


def is_mounted(folder: Path) -> bool:
    """Whether anything is mounted there; never on Windows, see `require_platform`."""
    if sys.platform == "win32":
        return False
    return linux_cmd.top_mount(holders.own_mounts(), folder) is not None


def loops_on(name: str) -> list[str]:
    """Loop devices on a file of this name."""
    return [found.device for found in loop.all_loops() if found.backing.endswith(f"/{name}")]
