"""The files of a host in its prefix: the same questions as the model's, answered by the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .. import paths
from ..files import Entry, FileSystemError, MemoryFiles, Volume

Marks = dict[str, Entry]
LARGEST_READ_BYTES = 256 << 20
"""A volume's data is larger; no play asks for what is in it."""


class PrefixFiles(MemoryFiles):
    """Drives are directories; a junction is a symbolic link; access rules and owners are only noted.

    Args:
        drives: letter -> directory of this machine.
        volumes: sizes that the host tells of its drives.
        in_use: programs that run, which Windows does not let go.
    """

    __slots__ = ("_drives", "_in_use", "_marks")

    def __init__(
        self,
        drives: Mapping[str, Path],
        volumes: Mapping[str, Volume],
        in_use: Callable[[], list[str]] = list,
    ) -> None:
        super().__init__({}, dict(volumes), 0.0)
        self._drives = {letter.upper(): directory for letter, directory in drives.items()}
        self._marks: Marks = {}
        self._in_use = in_use

    def copy(self) -> MemoryFiles:
        """What check mode works on: all but Windows' own files, in memory."""
        made = MemoryFiles({}, dict(self.volumes), self.now_s)
        for entry in self.known():
            made.entries[entry.path.casefold()] = entry
        return made

    def known(self) -> list[Entry]:
        """Every entry but those below C:\\Windows, Wine's own programs and temporary directories."""
        found: list[Entry] = []
        for letter in self._drives:
            for entry in self.children(f"{letter}:\\"):
                found.append(entry)
                if entry.path.casefold() not in _NOT_OURS and entry.is_directory and entry.target is None:
                    found += self.walk(entry.path)
        return found

    # ---- where it lies ---------------------------------------------------------------------------

    def place(self, path: str) -> Path:
        """Where a path lies on this machine; links in its directories are followed, the last part is not.

        Raises FileSystemError for a drive that is not there.
        """
        real = paths.normal(path)
        directory = self._drives.get(real[0])
        if directory is None:
            raise FileSystemError(f"Could not find the drive '{real[:3]}'. The drive might not be ready.")
        for part in real[3:].split("\\") if len(real) > 3 else ():
            directory = directory / _spelled(directory, part)
        return directory

    def real_path(self, path: str) -> str:
        path = paths.normal(path)
        if paths.is_root(path):
            return path
        return paths.join(self._followed(paths.parent(path)), paths.name(path))

    def _followed(self, path: str, depth: int = 0) -> str:
        real = self.real_path(path)
        place = self.place(real)
        if not place.is_symlink():
            return real
        if depth > 30:
            raise FileSystemError(f"The name of the file cannot be resolved by the system: '{path}'")
        return self._followed(self._target(place), depth + 1)

    def _target(self, place: Path) -> str:
        """What a link leads to, as Windows writes it."""
        there = (place.parent / place.readlink()).resolve()
        for letter, directory in self._drives.items():
            with contextlib.suppress(ValueError):
                return rf"{letter}:\{there.relative_to(directory.resolve())}".replace("/", "\\")
        raise FileSystemError(f"{place} leads out of the prefix")

    def _entry(self, real: str, place: Path, *, content: bool = True) -> Entry:
        base = self._marks.get(real.casefold(), Entry(real))
        status = place.lstat()
        name = real if paths.is_root(real) else paths.join(paths.parent(real), place.name)
        base = replace(base, path=name, modified_s=status.st_mtime, content=None, target=None, link="")
        if place.is_symlink():
            return replace(base, target=self._target(place), link="JunctionPoint")
        if place.is_dir():
            return base
        readable = content and status.st_size <= LARGEST_READ_BYTES
        return replace(base, content=place.read_bytes() if readable else b"")

    # ---- the model's questions -------------------------------------------------------------------

    def find(self, path: str) -> Entry | None:
        real = self.real_path(path)
        if real[0] not in self._drives:
            return None
        place = self.place(real)
        return self._entry(real, place) if os.path.lexists(place) else None

    def write(self, path: str, content: bytes) -> None:
        real = self._followed(path)
        place = self.place(real)
        if not place.parent.is_dir():
            raise FileSystemError(f"Could not find a part of the path '{path}'.")
        if place.is_dir():
            raise FileSystemError(f"Access to the path '{path}' is denied.")
        before = place.stat().st_size if place.exists() else 0
        self._take(real, len(content) - before)
        self._refuse_running(real)
        place.write_bytes(content)

    def make_directory(self, path: str) -> bool:
        real = self._followed(path)
        place = self.place(real)
        if place.is_dir():
            return False
        if os.path.lexists(place):
            raise FileSystemError(f"An item with the specified name {path} already exists.")
        place.mkdir(parents=True)
        return True

    def link(self, path: str, target: str, kind: str = "JunctionPoint") -> None:
        real = self.real_path(path)
        place, there = self.place(real), self.place(self._followed(target))
        if os.path.lexists(place):
            raise FileSystemError("Cannot create a file when that file already exists.")
        if not place.parent.is_dir():
            raise FileSystemError("The system cannot find the path specified.")
        place.symlink_to(os.path.relpath(there, place.parent))

    def remove(self, path: str) -> bool:
        real = self.real_path(path)
        place = self.place(real)
        if not os.path.lexists(place):
            return False
        if place.is_symlink() or not place.is_dir():
            self._refuse_running(real)
            place.unlink()
        else:
            self._refuse_running(real)
            shutil.rmtree(place)
        below = real.casefold() + "\\"
        self._marks = {
            key: entry
            for key, entry in self._marks.items()
            if key != real.casefold() and not key.startswith(below)
        }
        return True

    def _refuse_running(self, real: str) -> None:
        for program in self._in_use():
            running = paths.normal(program).casefold()
            if running == real.casefold() or running.startswith(real.casefold() + "\\"):
                raise FileSystemError(f"Access to the path '{program}' is denied.")

    def change(self, path: str, **values: object) -> None:
        entry = self.find(path)
        if entry is None:
            raise FileSystemError(f"Could not find a part of the path '{path}'.")
        kept = replace(entry, content=None, **values)  # type: ignore[arg-type]
        self._marks[self.real_path(path).casefold()] = kept

    def move(self, source: str, target: str) -> None:
        old, new = self.place(self.real_path(source)), self.place(self.real_path(target))
        if os.path.lexists(new):
            raise FileSystemError("Cannot create a file when that file already exists.")
        if not os.path.lexists(old):
            raise FileSystemError(f"Cannot find path '{source}' because it does not exist.")
        old.rename(new)

    def children(self, path: str) -> list[Entry]:
        real = self._followed(path)
        place = self.place(real)
        if not place.is_dir():
            return []
        found = [self._entry(paths.join(real, item.name), item) for item in place.iterdir()]
        return sorted(found, key=lambda entry: entry.path.casefold())

    def walk(self, path: str) -> Iterator[Entry]:
        for entry in self.children(path):
            yield entry
            if entry.is_directory and entry.target is None:
                yield from self.walk(entry.path)

    def tree_bytes(self, path: str) -> int:
        place = self.place(self._followed(path))
        found = (Path(directory) / name for directory, _, names in os.walk(place) for name in names)
        return sum(file.lstat().st_size for file in found if not file.is_symlink())

    def tree(self) -> Mapping[str, str]:
        return {
            entry.path: f"-> {entry.target}"
            if entry.target
            else ("dir" if entry.is_directory else entry.checksum())
            for entry in self.known()
        }


_NOT_OURS = frozenset({r"c:\windows", r"c:\users", r"c:\program files (x86)"})


def _spelled(directory: Path, part: str) -> str:
    """A name as the disk spells it; Windows takes any case."""
    if not directory.is_dir() or os.path.lexists(directory / part):
        return part
    folded = part.casefold()
    return next((item.name for item in directory.iterdir() if item.name.casefold() == folded), part)
