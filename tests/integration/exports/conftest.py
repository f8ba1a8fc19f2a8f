"""A sparse file, a folder and names that nobody else on this machine uses."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from twinhull.attach import folder as bare
from twinhull.attach.linux import LinuxAttacher
from twinhull.attach.linux_cmd import FileSystem
from twinhull.exports.fuse.mounts import abort_stale

GIB = 1 << 30


@dataclass
class Place:
    """Where one test's volume lives."""

    directory: Path
    name: str = field(default_factory=lambda: f"disk-{uuid.uuid4().hex}")
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def backing(self) -> Path:
        """The file that stands for the volume."""
        return self.directory / "backing"

    @property
    def mount_dir(self) -> Path:
        """Where the export is mounted."""
        return self.directory / "export"

    @property
    def folder(self) -> Path:
        """The module's folder."""
        return self.directory / "folder"

    @property
    def file(self) -> Path:
        """The export's file."""
        return self.mount_dir / self.name

    def make_backing(self, size_bytes: int = GIB) -> Path:
        """A file of zeros that takes no space."""
        with self.backing.open("wb") as file:
            file.truncate(size_bytes)
        return self.backing

    def attacher(self, file_system: FileSystem = "ext4", folder: Path | None = None) -> LinuxAttacher:
        """A new attacher, as a new worker would make one."""
        return LinuxAttacher("m1", folder or self.folder, lambda: self.file, file_system)

    def serve_apart(self) -> subprocess.Popen[str]:
        """A server process; returns when it serves."""
        command = [sys.executable, str(Path(__file__).with_name("serve_file.py"))]
        arguments = [str(self.backing), str(self.mount_dir), self.name]
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def free(self) -> None:
        """Leave nothing behind, however the test ended."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        abort_stale(self.mount_dir)
        self.attacher().clean_up()
        bare.release_folder(self.folder)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of its own for each test, freed afterwards."""
    place = Place(tmp_path.resolve())
    yield place
    place.free()
