"""The small interface behind which all file access of a volume stands; a fake disk can implement it too."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class File(Protocol):
    """One open file. Every method raises DiskError (DiskFullError) when the disk fails.

    Methods may be called from several threads at once; `close` only when no other call is under way.
    """

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly `length_bytes`; holes read as zeros. DiskError on a short read."""

    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | memoryview | None:
        """Like `read`, but None when it would have to wait for the disk. From one thread at a time."""

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """All of it, or DiskError. Durable only after `sync`."""

    def punch(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros; space is freed where the file system can."""

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros and keeps its space, so that a later write to it finds room."""

    def sync(self) -> None:
        """Everything written is durable. An error is final: every later call raises it again."""

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """The next range that may hold anything but zeros: its offset and length in bytes, or None.

        A range that begins before `offset_bytes` is answered from `offset_bytes` on.
        """

    def size(self) -> int:
        """Length of the file in bytes, holes included."""

    def allocated(self) -> int:
        """Bytes of disk that the file takes."""

    def close(self) -> None:
        """Give the file back, without making anything durable. Idempotent."""


@runtime_checkable
class Fragmented(Protocol):
    """A file whose file system bounds the number of its pieces."""

    def extents(self, at_most: int) -> int | None:
        """In how many pieces it lies on its disk, counted up to `at_most`; None where that cannot be told."""


class Directory(Protocol):
    """Where a volume's files live. Every method raises DiskError (DiskFullError) when the disk fails."""

    @property
    def name(self) -> str:
        """What people call the place, for messages: its path."""

    def open(self, name: str) -> File:
        """An existing file. FileNotFoundError if there is none."""

    def create(self, name: str, size_bytes: int, *, sparse: bool) -> File:
        """A new file of zeros (fully allocated unless sparse), durable with its name. FileExistsError."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    def remove(self, name: str) -> None:
        """Take the file away; durable on return. FileNotFoundError if there is none."""

    def lock(self) -> None:
        """Take the volume's lock for this process, or VolumeLockedError. Dies with the process."""

    def free(self) -> tuple[int, int]:
        """(free bytes, total bytes) of the disk below."""

    def close(self) -> None:
        """Give the lock and the directory back. Idempotent."""
