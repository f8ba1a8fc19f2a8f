"""The files of one host: directories, contents, junctions, room on the volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from . import paths


class FileSystemError(Exception):
    """What Windows would say; the message is shown to the user of the module."""


class DiskFullError(FileSystemError):
    """There is not enough space on the disk."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file (content), a directory (neither), or a junction or symbolic link (target)."""

    path: str
    content: bytes | None = None
    target: str | None = None
    link: str = ""
    modified_s: float = 0.0
    owner: str = "BUILTIN\\Administrators"
    attributes: frozenset[str] = frozenset()
    rules: tuple[tuple[str, str, str], ...] = ()
    inherits: bool = True

    @property
    def is_directory(self) -> bool:
        """A directory, or a link to one."""
        return self.content is None

    @property
    def size_bytes(self) -> int:
        """Of a file; 0 for what is none."""
        return len(self.content or b"")

    def checksum(self, algorithm: str = "sha1") -> str:
        """Of the content, in hexadecimal."""
        return hashlib.new(algorithm, self.content or b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Volume:
    """One drive letter."""

    letter: str
    size_bytes: int
    free_bytes: int
    file_system: str = "NTFS"
    label: str = ""
    cluster_size_bytes: int = 4096


class FileStore(Protocol):
    """What the handlers ask of a host's files; the model keeps them in memory, another host kind may not."""

    def find(self, path: str) -> Entry | None:
        """The entry at a path, links in its directories followed; None when there is none."""

    def read(self, path: str) -> bytes:
        """The content. Raises FileSystemError."""

    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file in an existing directory. Raises FileSystemError."""

    def make_directory(self, path: str) -> bool:
        """With its parents; False when it was there. Raises FileSystemError."""

    def remove(self, path: str) -> bool:
        """A file, a link, or a directory with all below it; False when there was none."""

    def children(self, path: str) -> list[Entry]:
        """Of a directory, in order of name."""


@dataclass(slots=True)
class MemoryFiles:
    """Files in memory. Copies share what is the same."""

    entries: dict[str, Entry] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    now_s: float = 0.0

    def copy(self) -> MemoryFiles:
        """A copy to try changes on."""
        return MemoryFiles(dict(self.entries), dict(self.volumes), self.now_s)

    def known(self) -> list[Entry]:
        """Every entry that there is, as it is now."""
        return list(self.entries.values())

    def real_path(self, path: str) -> str:
        """A path with the links in its directories (not the last part) followed."""
        path = paths.normal(path)
        if paths.is_root(path):
            return path
        directory = self._followed(paths.parent(path))
        return paths.join(directory, paths.name(path))

    def _followed(self, path: str, depth: int = 0) -> str:
        real = self.real_path(path)
        entry = self.entries.get(real.casefold())
        if entry is None or entry.target is None:
            return real
        if depth > 30:
            raise FileSystemError(f"The name of the file cannot be resolved by the system: '{path}'")
        return self._followed(entry.target, depth + 1)

    def find(self, path: str) -> Entry | None:
        real = self.real_path(path)
        if paths.is_root(real):
            return Entry(real) if real[0] in self.volumes else None
        return self.entries.get(real.casefold())

    def follow(self, path: str) -> Entry | None:
        """The entry at a path; of a link, what it leads to."""
        return self.find(self._followed(path))

    def read(self, path: str) -> bytes:
        entry = self.follow(path)
        if entry is None:
            raise FileSystemError(f"Could not find file '{path}'.")
        if entry.content is None:
            raise FileSystemError(f"Access to the path '{path}' is denied.")
        return entry.content

    def text(self, path: str) -> str:
        """A file's text, without a byte order mark."""
        return self.read(path).decode("utf-8-sig")

    def write(self, path: str, content: bytes) -> None:
        real = self._followed(path)
        directory = self.find(paths.parent(real))
        if directory is None or not directory.is_directory:
            raise FileSystemError(f"Could not find a part of the path '{path}'.")
        before = self.entries.get(real.casefold())
        if before is not None and before.is_directory:
            raise FileSystemError(f"Access to the path '{path}' is denied.")
        self._take(real, len(content) - (before.size_bytes if before else 0))
        kept = before or Entry(real)
        self.entries[real.casefold()] = replace(kept, content=content, modified_s=self.now_s)

    def _take(self, path: str, size_bytes: int) -> None:
        volume = self.volumes.get(path[0])
        if volume is None:
            raise FileSystemError(f"Could not find the drive '{path[:3]}'. The drive might not be ready.")
        if size_bytes > volume.free_bytes:
            raise DiskFullError(f"There is not enough space on the disk. : '{path}'")
        self.volumes[path[0]] = replace(volume, free_bytes=volume.free_bytes - size_bytes)

    def make_directory(self, path: str) -> bool:
        real = self._followed(path)
        present = self.find(real)
        if present is not None:
            if not present.is_directory:
                raise FileSystemError(f"An item with the specified name {path} already exists.")
            return False
        if paths.is_root(real):
            raise FileSystemError(f"Cannot find drive. A drive with the name '{real[0]}' does not exist.")
        self.make_directory(paths.parent(real))
        self.entries[real.casefold()] = Entry(real, modified_s=self.now_s)
        return True

    def link(self, path: str, target: str, kind: str = "JunctionPoint") -> None:
        """Make a junction (or `SymbolicLink`) to a directory; an entry there is an error."""
        real = self.real_path(path)
        if real.casefold() in self.entries:
            raise FileSystemError("Cannot create a file when that file already exists.")
        if self.find(paths.parent(real)) is None:
            raise FileSystemError("The system cannot find the path specified.")
        self.entries[real.casefold()] = Entry(
            real, target=paths.normal(target), link=kind, modified_s=self.now_s
        )

    def remove(self, path: str) -> bool:
        real = self.real_path(path)
        entry = self.entries.get(real.casefold())
        if entry is None:
            return False
        below = real.casefold() + "\\"
        gone = [real.casefold()]
        if entry.target is None:
            gone += [name for name in self.entries if name.startswith(below)]
        freed_bytes = sum(self.entries.pop(name).size_bytes for name in gone)
        self._take(real, -freed_bytes)
        return True

    def change(self, path: str, **values: object) -> None:
        """Other attributes of an entry that is there."""
        entry = self.find(path)
        if entry is None:
            raise FileSystemError(f"Could not find a part of the path '{path}'.")
        self.entries[self.real_path(path).casefold()] = replace(entry, **values)  # type: ignore[arg-type]

    def move(self, source: str, target: str) -> None:
        """Rename a file or a directory. Raises FileSystemError when the target is there."""
        old, new = self.real_path(source), self.real_path(target)
        if self.find(new) is not None:
            raise FileSystemError("Cannot create a file when that file already exists.")
        if self.find(old) is None:
            raise FileSystemError(f"Cannot find path '{source}' because it does not exist.")
        for name in [
            name for name in self.entries if name == old.casefold() or name.startswith(old.casefold() + "\\")
        ]:
            entry = self.entries.pop(name)
            moved = new + entry.path[len(old) :]
            self.entries[moved.casefold()] = replace(entry, path=moved)

    def children(self, path: str) -> list[Entry]:
        real = self._followed(path)
        below = real.casefold().rstrip("\\") + "\\"
        found = (
            entry
            for name, entry in self.entries.items()
            if name.startswith(below) and "\\" not in name[len(below) :]
        )
        return sorted(found, key=lambda entry: entry.path.casefold())

    def walk(self, path: str) -> Iterator[Entry]:
        """All below a directory; links are not followed."""
        below = self._followed(path).casefold().rstrip("\\") + "\\"
        yield from (self.entries[name] for name in sorted(self.entries) if name.startswith(below))

    def tree(self) -> Mapping[str, str]:
        """Path and checksum of everything, to compare before and after."""
        return {
            entry.path: f"-> {entry.target}"
            if entry.target
            else ("dir" if entry.is_directory else entry.checksum())
            for entry in self.entries.values()
        }

    def tree_bytes(self, path: str) -> int:
        """How much the files below a directory hold; links are not followed."""
        return sum(entry.size_bytes for entry in self.walk(path))
