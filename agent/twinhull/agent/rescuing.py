"""`twinhull rescue`: what a copy overwrote, seen, mounted, compared, taken out, put back."""

from __future__ import annotations

import bisect
import contextlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twinhull.attach import rescue_mount
from twinhull.attach.filemap import extents
from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import AttachError, StorageError, UsageError
from twinhull.exports.fuse import abort_stale
from twinhull.exports.fuse.mounts import mounted_at
from twinhull.storage.platform import platform_directory
from twinhull.storage.rescue import Rescue, Store
from twinhull.storage.rescue_format import VIEWABLE, About, Kind, Stage
from twinhull.storage.rollback import roll_back
from twinhull.storage.volume import DATA_FILE, Volume
from twinhull.worker.places import open_rescue_store, rescue_directory, volume_directory
from twinhull.worker.rescue_view import OldVolume

from .jobs import Job
from .rescue_image import vhd_footer, write_image

if TYPE_CHECKING:
    from .agent import Agent

READY_S = 60.0
GONE_S = 10.0
MAX_LISTED = 100_000
WORDS = {
    Stage.OPEN: "the copy is not complete; it can be seen and rolled back to",
    Stage.GIVEN_UP: "given up; the copy is not complete",
    Stage.FOLLOWING: "whole; the rest of the volume is being kept beside it",
    Stage.COMPLETE: "whole, stands on its own",
    Stage.PARTIAL: "what the copy overwrote; the rest has gone on",
    Stage.NOTHING: "given up, holds nothing",
    Stage.ROLLED_BACK: "rolled back",
    Stage.BLOCKS: "single blocks that a repair overwrote",
}
MIXED = (Stage.PARTIAL, Stage.BLOCKS)
"""Old blocks within a volume that has gone on."""


class Listed(NamedTuple):
    """A file, directory or other thing below a folder."""

    kind: str
    size_bytes: int
    mtime_ns: int


class Rescues:
    """The rescues of this node, for people.

    Args:
        agent: whose node and modules.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    # ---- looking ----------------------------------------------------------------------------------------

    def all_of(self, module: str) -> list[dict[str, Any]]:
        """All rescues of a module on this node, the oldest first."""
        with self._store(module) as store:
            return [self._shown(module, store, number) for number in store.numbers()]

    def show(self, module: str, number: int) -> dict[str, Any]:
        """One of them, with how much of the volume it holds."""
        with self._store(module) as store, _opened(store, module, number) as rescue:
            holes = sum(entry.blocks for entry in rescue.entries() if entry.data_bytes < 0)
            return {
                **self._shown(module, store, number),
                "kept_bytes": rescue.kept_bytes,
                "kept_holes_bytes": holes * BLOCK_BYTES,
            }

    def _shown(self, module: str, store: Store, number: int) -> dict[str, Any]:
        try:
            rescue = store.open(number, scan=False)
        except StorageError as error:
            return {"rescue": number, "kind": "?", "state": "damaged", "says": error.what, "taken_bytes": 0}
        about, taken_bytes = rescue.about, rescue.allocated_bytes
        rescue.close()
        folder = self._folder(module, number)
        return {
            "rescue": number,
            "kind": about.kind.value,
            "state": about.stage.value,
            "says": WORDS[about.stage],
            "why": about.why,
            "note": about.note,
            "generation": about.generation,
            "began": about.began,
            "ended": about.ended,
            "volume_bytes": about.volume_bytes,
            "taken_bytes": taken_bytes,
            "mounted": str(folder) if rescue_mount.is_mounted(folder) else "",
        }

    # ---- mounting -----------------------------------------------------------------------------------------

    def mount(self, module: str, number: int, *, partial: bool, job: Job | None = None) -> Path:
        """Show the old file system read-only. Where it is. Raises TwinhullError."""
        rescue_mount.require_platform(module, number)
        folder = self._folder(module, number)
        if rescue_mount.is_mounted(folder):
            return folder
        with self._store(module) as store, _opened(store, module, number, scan=False) as rescue:
            _check_viewable(rescue.about, number, partial=partial)
        if job is not None:
            job.progress(f"mounting rescue {number} of {module}")
        name = self._file_name(module, number)
        disk = folder.with_name("disk")
        self._take_away(folder)
        child = self._show_disk(module, number, disk, name, partial=partial)
        try:
            rescue_mount.mount(disk / name, folder)
        except BaseException:
            self._take_away(folder)
            child.wait(GONE_S)
            raise
        return folder

    def _show_disk(
        self, module: str, number: int, disk: Path, name: str, *, partial: bool
    ) -> subprocess.Popen[bytes]:
        node = self._agent.node
        arguments = [
            "--volume", str(volume_directory(node, module)), "--store", str(rescue_directory(node, module)),
            "--number", str(number), "--mount-dir", str(disk), "--name", name,
            *(["--partial"] if partial else []),
        ]  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-m", "twinhull.worker.rescue_view", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        with child.stdout or contextlib.nullcontext() as output:
            said = output.readline().decode(errors="replace").strip() if output else ""
        if said != "ready":
            child.wait(GONE_S)
            raise AttachError(
                f"Rescue {number} of {module} cannot be shown: {said or 'its process ended'}.", ""
            )
        return child

    def unmount(self, module: str, number: int) -> bool:
        """Take the mount away. Whether there was one. Raises AttachError naming who holds it."""
        folder = self._folder(module, number)
        was = rescue_mount.is_mounted(folder)
        if was or sys.platform != "win32":  # there nothing is ever mounted, nor left half mounted
            self._take_away(folder)
        return was

    def _take_away(self, folder: Path) -> None:
        rescue_mount.unmount(folder)
        disk = folder.with_name("disk")
        try:
            abort_stale(disk)
        except AttachError:
            if mounted_at(disk):  # else its process, whose connection ended, was the faster one
                raise

    @contextmanager
    def _mounted(self, module: str, number: int, job: Job, *, partial: bool = False) -> Iterator[Path]:
        folder = self._folder(module, number)
        before = rescue_mount.is_mounted(folder)
        yield self.mount(module, number, partial=partial, job=job)
        if not before:
            self.unmount(module, number)

    # ---- comparing and taking out -----------------------------------------------------------------------------

    def diff(self, module: str, number: int, job: Job, *, partial: bool = False) -> str:
        """Files that differ between the rescue and the module as it is now."""
        with self._mounted(module, number, job, partial=partial) as folder:
            job.progress(f"looking at the files of {module} as they are now")
            now = self._now(module)
            job.progress(f"looking at the files in rescue {number} of {module}")
            old = listing(folder)
            with self._store(module) as store, _opened(store, module, number) as rescue:
                touched = _touched(folder, old, rescue)
        changes = compare(old, now, touched)
        job.result = {"rescue": number, "changes": changes, "all": max(len(old), len(now)) < MAX_LISTED}
        if not changes:
            return f"No file of {module} differs from rescue {number}."
        return f"{len(changes)} files and directories of {module} differ from rescue {number}."

    def now(self, module: str) -> dict[str, Any]:
        """What is in the folder of a module that runs on this node."""
        folder = Path(self._agent.cluster.module(module).folder)
        if not rescue_mount.is_mounted(folder):
            raise UsageError(f"{module} does not run on {self._agent.node.node}: its folder is not mounted.")
        return {"files": {path: list(entry) for path, entry in listing(folder).items()}}

    def _now(self, module: str) -> dict[str, Listed]:
        try:
            told = self.now(module)
        except UsageError:
            told = self._agent.peer.call("rescue_now", {"module": module}, timeout_s=READY_S)
        return {str(path): Listed(*entry) for path, entry in told["files"].items()}

    def export_files(
        self, module: str, number: int, target: Path, paths: list[str], job: Job, *, partial: bool = False
    ) -> str:
        """Copy files out of the old file system; nothing that is there is overwritten."""
        _check_target(target)
        with self._mounted(module, number, job, partial=partial) as folder:
            sources = [_inside(folder, path) for path in paths] or sorted(folder.iterdir())
            target.mkdir(mode=0o700, parents=True)
            for number_done, source in enumerate(sources, 1):
                job.progress(f"copying {source.name} ({number_done} of {len(sources)})")
                _copy(source, target / source.relative_to(folder))
        return f"The files are in {target} on {self._agent.node.node}."

    def export_image(self, module: str, number: int, target: Path, job: Job, *, partial: bool) -> str:
        """Write the whole old volume into a file; as a virtual disk where its name ends with `.vhd`."""
        _check_target(target)
        with self._store(module) as store, _opened(store, module, number) as rescue:
            _check_viewable(rescue.about, number, partial=partial)
            footer = (
                vhd_footer(rescue.about.volume_bytes, target.name) if target.suffix.lower() == ".vhd" else b""
            )
            with contextlib.closing(
                platform_directory(volume_directory(self._agent.node, module)).open(DATA_FILE)
            ) as data:
                old = OldVolume(rescue, data, partial=partial)
                write_image(
                    old, target, footer, lambda at: job.progress(f"writing {target}", at, old.size_bytes)
                )
        return f"The old volume of {module} is in {target} on {self._agent.node.node}."

    # ---- changing -----------------------------------------------------------------------------------------------

    def roll_back(self, module: str, number: int, job: Job) -> str:
        """Put the stopped, half-copied replica back to what it held when the rescue began."""
        if rescue_mount.is_mounted(self._folder(module, number)):
            raise UsageError(
                f"Rescue {number} of {module} is mounted.",
                f"Unmount it: twinhull rescue unmount {module} {number}",
            )

        def work() -> None:
            directory = platform_directory(volume_directory(self._agent.node, module))
            volume = Volume.open(directory)
            try:
                with self._store(module) as store, _opened(store, module, number) as rescue:
                    text = f"rolling {module} back to rescue {number}"
                    roll_back(volume, store, rescue, lambda done, total: job.progress(text, done, total))
            finally:
                volume.close()

        self._agent.replacing.while_ended(module, work)
        node = self._agent.node.node
        return (
            f"{module} on {node} is what it was when rescue {number} began. A person may start it now: "
            f"twinhull --node {node} start {module} --as-primary"
        )

    def drop(self, module: str, number: int) -> str:
        """Remove a rescue for good."""
        if rescue_mount.is_mounted(self._folder(module, number)):
            raise UsageError(
                f"Rescue {number} of {module} is mounted.",
                f"Unmount it: twinhull rescue unmount {module} {number}",
            )
        with self._store(module) as store:
            with _opened(store, module, number, scan=False) as rescue:
                follows = rescue.about.stage is Stage.FOLLOWING
            if follows:
                self._agent.supervisor(module).ask(
                    {"op": "command", "command": "rescue-forget", "arguments": {}}, READY_S
                )
            store.drop(number)
        return f"Rescue {number} of {module} is removed from {self._agent.node.node}."

    def override_lines(self, module: str) -> list[str]:
        """What a person must know before a half-copied replica is started as primary."""
        with self._store(module) as store:
            found = [each for each in map(self._about_of(store), store.numbers()) if each is not None]
        return [
            f"The replica of {module} on {self._agent.node.node} is half copied, a mixture of two states. Rescue {number} "
            f"holds its last consistent one: roll back first (twinhull rescue rollback {module} {number})."
            for number, about in found
            if about.stage is Stage.OPEN
        ]

    @staticmethod
    def _about_of(store: Store) -> Callable[[int], tuple[int, About] | None]:
        def look(number: int) -> tuple[int, About] | None:
            try:
                rescue = store.open(number, scan=False)
            except StorageError:
                return None
            rescue.close()
            return number, rescue.about

        return look

    def danger_lines(self, module: str, command: str, number: int) -> list[str]:
        """What a command would lose, one sentence each."""
        with self._store(module) as store, _opened(store, module, number, scan=False) as rescue:
            about, node = rescue.about, self._agent.node.node
        if command == "rollback":
            return [
                f"The replica of {module} on {node} is put back to what it held at {about.began}; what was copied to it "
                "since is lost on it.",
                "It is not uptodate then: whatever was written elsewhere after that time is not in it.",
            ]
        if about.kind is Kind.SPLIT and about.stage is not Stage.NOTHING:
            return [
                f"What {node} wrote in its own history (generation {about.generation}) before {about.began} exists "
                "nowhere else; it is removed for good."
            ]
        return [
            f"Rescue {number} of {module} on {node} ({about.kind.value}, {about.began}) is removed for good."
        ]

    # ---- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _store(self, module: str) -> Iterator[Store]:
        self._agent.cluster.module(module)
        store = open_rescue_store(self._agent.node, self._agent.cluster, module)
        try:
            yield store
        finally:
            store.close()

    def _folder(self, module: str, number: int) -> Path:
        return self._agent.node.run_dir / "rescue" / f"{module}-{number}" / "files"

    def _file_name(self, module: str, number: int) -> str:
        return f"rescue-{self._agent.cluster.cluster}-{self._agent.node.node}-{module}-{number}"


@contextmanager
def _opened(store: Store, module: str, number: int, *, scan: bool = True) -> Iterator[Rescue]:
    try:
        rescue = store.open(number, scan=scan)
    except FileNotFoundError:
        raise UsageError(
            f"There is no rescue {number} of {module} here.", f"Look with: twinhull rescue list {module}"
        ) from None
    try:
        yield rescue
    finally:
        rescue.close()


def _check_viewable(about: About, number: int, *, partial: bool) -> None:
    if about.stage in VIEWABLE or (partial and about.stage in MIXED):
        return
    hint = (
        "Its blocks can be seen mixed with the present content: add --partial."
        if about.stage in MIXED
        else ""
    )
    raise UsageError(
        f"Rescue {number} of {about.module} does not show the whole old volume: {WORDS[about.stage]}. {about.note}".strip(),
        hint,
    )


def _check_target(target: Path) -> None:
    if not target.is_absolute():
        raise UsageError(f"{target} is no absolute path.", "Nothing was copied.")
    if target.exists():
        raise UsageError(
            f"{target} is there already.", "Name a place that is not there yet; nothing was copied."
        )


def _inside(folder: Path, path: str) -> Path:
    """A path of the old file system. Raises UsageError for what leads out of it, or is not there."""
    found = folder / path.lstrip("/")
    if not found.resolve().is_relative_to(folder.resolve()) or not (found.exists() or found.is_symlink()):
        raise UsageError(f"There is no {path} in that rescue.", "Paths are those below the module's folder.")
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    elif source.is_symlink() or source.is_file():
        shutil.copy2(source, target, follow_symlinks=False)


def listing(folder: Path) -> dict[str, Listed]:
    """Everything below a folder, on its own file system, by its path from there on; `MAX_LISTED` at most."""
    found: dict[str, Listed] = {}
    waiting = [folder]
    device = folder.stat().st_dev
    while waiting and len(found) < MAX_LISTED:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen = entry.stat(follow_symlinks=False)
                if seen.st_dev != device:
                    continue
                path = str(Path(entry.path).relative_to(folder))
                if entry.is_dir(follow_symlinks=False):
                    found[path] = Listed("directory", 0, 0)
                    waiting.append(Path(entry.path))
                else:
                    kind = "file" if stat.S_ISREG(seen.st_mode) else "link" if entry.is_symlink() else "other"
                    found[path] = Listed(kind, seen.st_size, seen.st_mtime_ns)
    return found


def _touched(folder: Path, old: Mapping[str, Listed], rescue: Rescue) -> set[str]:
    """Files whose content the copy overwrote, wherever the file system can tell."""
    copied = sorted(
        (entry.first * BLOCK_BYTES, (entry.first + entry.blocks) * BLOCK_BYTES)
        for entry in rescue.entries()
        if entry.data_bytes >= 0 and (entry.data_bytes < (rescue.about.copied_end_bytes or rescue.used_bytes))
    )
    found = set()
    for path, entry in old.items():
        if entry.kind != "file":
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if any(_overlaps(copied, begin, begin + length) for begin, length in extents(descriptor)):
                    found.add(path)
            finally:
                os.close(descriptor)
    return found


def _overlaps(ranges: Sequence[tuple[int, int]], begin: int, end: int) -> bool:
    """Whether any of the ranges (begin, end; sorted, apart from each other) touches this one."""
    at = bisect.bisect_left(ranges, (end, 0)) - 1
    return at >= 0 and ranges[at][1] > begin


def compare(old: Mapping[str, Listed], now: Mapping[str, Listed], touched: set[str]) -> list[dict[str, Any]]:
    """What differs, by path. Pure.

    Args:
        touched: files of `old` whose content is known to have been overwritten.
    """
    changes = []
    for path in sorted({*old, *now}):
        before, after = old.get(path), now.get(path)
        if before == after and path not in touched:
            continue
        what = "only in the rescue" if after is None else "only now" if before is None else "differs"
        changes.append({"path": path, "what": what, "rescue": _told(before), "now": _told(after)})
    return changes


def _told(entry: Listed | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    shown = (
        time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(entry.mtime_ns / 1e9)) if entry.mtime_ns else ""
    )
    return {"kind": entry.kind, "size_bytes": entry.size_bytes, "time": shown}
