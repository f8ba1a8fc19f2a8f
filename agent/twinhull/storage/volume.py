"""The volume: a thin, fixed-size virtual disk in a directory of the node's own disk.

Four files: the data (sparse), the metadata, the activity log and the bitmap, the last three allocated in full
at creation, so that a full disk cannot keep a node from recording its state (promise 6). docs/formats.md has
them byte by byte.

Threads: `write`, `discard`, `read`, `read_cached`, `next_data` and `flush` touch the data file only and may
be called from any thread, also at once. `write_record`, `log_commit` and `store_bits` belong to one thread
(the log lane). `record` may be read from anywhere. `close` only when no other call is under way.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

from ..core.identity import NO_ID, Id
from ..core.marks import EXTENT_BYTES, PagedBitmap
from ..core.record import Record
from ..errors import DiskError, StorageError, UsageError, VolumeFormatError
from . import actlog, bitmap, metadata
from .actlog import ActivityLog
from .base import Directory, File, Fragmented
from .bitmap import BitmapFile
from .metadata import Geometry, Metadata

DATA_FILE = "data.img"
METADATA_FILE = "meta.bin"
LOG_FILE = "log.bin"
BITMAP_FILE = "bits.bin"
CREATING_FILE = "creating"
"""Stands while a volume is being created; whoever finds it finds nothing of value beside it."""
UNCONFIRMED_FILE = "unconfirmed"
DOUBTFUL_FILE = "doubtful"
DOUBT = "its disk had failed, and no record of that could be made"
NOTE_BYTES = 4096

MINIMUM_BYTES = 1 << 30
MAXIMUM_BYTES = 64 << 40
SIZE_UNIT_BYTES = 1 << 20
DISCARD_UNIT_BYTES = 4096
WARN_PERCENT = (85, 95)
PIECES_WARNING = 400_000
PIECES_EVERY = 360
"""Room is looked at every ten seconds, pieces are counted every hour."""

_VOLUME_FILES = (METADATA_FILE, DATA_FILE, LOG_FILE, BITMAP_FILE)


class Space(NamedTuple):
    """How much room a volume takes and has.

    Args:
        size_bytes: its fixed size.
        allocated_bytes: what its data takes of the disk.
        disk_free_bytes: what is left on the disk below.
        disk_total_bytes: size of the disk below.
        warnings: sentences for people; empty when all is well.
    """

    size_bytes: int
    allocated_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    warnings: tuple[str, ...]


class Volume:
    """An open volume. Made by `create` or `open`, which take the lock; `close` gives it back."""

    log_capacity = actlog.CAPACITY
    """The most extents that the activity log holds at once."""

    def __init__(self, directory: Directory, files: ExitStack) -> None:
        self._directory = directory
        self._files = files
        where = directory.name
        metadata = self._open_file(METADATA_FILE)
        self._space_looks = 0
        self._pieces: int | None = None
        self._metadata = self._load_metadata(metadata, where)
        self.size_bytes, self.thick = self._metadata.geometry
        replica_id = self._metadata.record.replica_id
        self._data = self._open_data()
        log, bitmap = self._open_file(LOG_FILE), self._open_file(BITMAP_FILE)
        self._log = ActivityLog.load(log, replica_id, -(-self.size_bytes // EXTENT_BYTES), where)
        self._bitmap = BitmapFile(bitmap, replica_id, self.size_bytes)
        self._bits, damaged = self._bitmap.load(where)
        for file in (metadata, log, bitmap):
            file.sync()  # what was found may be of a process that was killed before its sync; it is believed from now on
        self.notes = self._metadata.notes
        """Sentences about what was found damaged at open and is harmless; for the log."""
        if damaged:
            self.notes += (
                f"{damaged} sectors of the bitmap in {where} were damaged; "
                "what they stood for counts as different and will be compared.",
            )

    def _load_metadata(self, file: File, where: str) -> Metadata:
        """The record that counts: never one whose durability was not confirmed, nor one that was taken back, where noted."""
        confirmed = self._confirmed_metadata(file, where)
        directory, record = self._directory, confirmed.record
        if directory.exists(DOUBTFUL_FILE):
            if record.uptodate:
                confirmed.write(dataclasses.replace(record, uptodate=False, outdated_reason=DOUBT))
                confirmed.notes += (f"The replica in {where} is not uptodate: {DOUBT}.",)
            directory.remove(DOUBTFUL_FILE)
        return confirmed

    def _confirmed_metadata(self, file: File, where: str) -> Metadata:
        directory = self._directory
        found = Metadata.load(file, where)
        if not directory.exists(UNCONFIRMED_FILE):
            return found
        confirmed = Metadata.load(file, where, _noted(directory))
        if confirmed.sequence < found.sequence:
            confirmed.write(confirmed.record)  # over the slot that does not count
            confirmed.notes += (
                f"A record of the volume in {where} had failed and was on the disk all the same; it does not count.",
            )
        directory.remove(UNCONFIRMED_FILE)
        return confirmed

    # ---- creation and opening ------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        directory: Directory,
        *,
        size_bytes: int,
        replica_id: Id,
        volume_id: Id | None = None,
        thick: bool = False,
        minimum_bytes: int = MINIMUM_BYTES,
    ) -> Volume:
        """Make a blank volume and open it. A creation that was interrupted before is done anew.

        Args:
            directory: where; closed with the volume, and when this raises.
            size_bytes: its size for life, a multiple of 1 MiB.
            replica_id: the new random id of this replica.
            volume_id: the volume that this is a replica of, if that is known already.
            thick: reserve all space now, and keep it when ranges are discarded.
            minimum_bytes: the smallest size accepted (tests lower it).

        Raises:
            UsageError: a size that no volume can have.
            VolumeFormatError: the directory holds a volume already; nothing was changed.
            VolumeLockedError: another process uses it.
            DiskError: the disk failed or is full; what had been made was removed.
        """
        with ExitStack() as undo:
            undo.callback(directory.close)
            _check_size(size_bytes, minimum_bytes)
            if replica_id == NO_ID:
                raise ValueError("a replica id of zeros")
            directory.lock()
            _make_way(directory)
            record = Record(volume_id=volume_id, replica_id=replica_id)
            try:
                directory.create(CREATING_FILE, 0, sparse=True).close()
                _make_files(directory, Geometry(size_bytes, thick), record)
                directory.remove(CREATING_FILE)
            except StorageError:
                # Best effort: what cannot be removed now stays beside the marker, for the next attempt.
                with contextlib.suppress(StorageError):
                    _remove_files(directory)
                raise
            return cls._opened(directory, undo)

    @classmethod
    def open(cls, directory: Directory) -> Volume:
        """Take the lock and open the volume.

        Args:
            directory: where it is; closed with the volume, and when this raises.

        Raises:
            VolumeFormatError: files are missing, foreign, newer, damaged or of a wrong size; nothing was
                changed.
            VolumeLockedError: another process uses it.
            DiskError: the disk failed.
        """
        with ExitStack() as undo:
            undo.callback(directory.close)
            directory.lock()
            if directory.exists(CREATING_FILE):
                raise VolumeFormatError(
                    f"The creation of the volume in {directory.name} was interrupted.",
                    "Create it again: it holds nothing yet.",
                )
            return cls._opened(directory, undo)

    @classmethod
    def _opened(cls, directory: Directory, undo: ExitStack) -> Volume:
        volume = cls(directory, undo)
        volume._files = undo.pop_all()
        return volume

    def _open_file(self, name: str) -> File:
        where = self._directory.name
        try:
            file = self._directory.open(name)
        except FileNotFoundError as error:
            raise VolumeFormatError(
                f"{where} holds no whole volume: the file {name} is missing.",
                "Nothing was changed. Put it back; or create the replica anew, "
                "which copies it from the other node.",
            ) from error
        self._files.callback(file.close)
        return file

    def _open_data(self) -> File:
        data = self._open_file(DATA_FILE)
        actual_bytes = data.size()
        if actual_bytes != self.size_bytes:
            kind = "shorter" if actual_bytes < self.size_bytes else "longer"
            raise VolumeFormatError(
                f"The data of the volume in {self._directory.name} is {kind} than it must be: "
                f"{actual_bytes} bytes instead of {self.size_bytes}.",
                "Nothing was changed. Put the volume's own file back; or create the replica anew, "
                "which copies it from the other node.",
            )
        return data

    # ---- data ----------------------------------------------------------------------------------------

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """Hold `data` (promise 1): accepted by the backing file, durable after the next `flush`.

        Raises DiskError; DiskFullError when the thin file cannot grow; ValueError outside the volume.
        """
        if offset_bytes < 0 or offset_bytes + len(data) > self.size_bytes:
            raise self._outside(offset_bytes, len(data))
        self._data.write(offset_bytes, data)

    def discard(self, offset_bytes: int, length_bytes: int) -> None:
        """Make a range read as zeros and free its whole 4 KiB units (not if thick). Raises as `write`."""
        end = offset_bytes + length_bytes
        if offset_bytes < 0 or length_bytes < 0 or end > self.size_bytes:
            raise self._outside(offset_bytes, length_bytes)
        first = min(-(-offset_bytes // DISCARD_UNIT_BYTES) * DISCARD_UNIT_BYTES, end)
        last = max(end // DISCARD_UNIT_BYTES * DISCARD_UNIT_BYTES, first)
        if offset_bytes < first:
            self._data.write(offset_bytes, bytes(first - offset_bytes))
        if first < last:
            clear = self._data.zero if self.thick else self._data.punch
            clear(first, last - first)
        if last < end:
            self._data.write(last, bytes(end - last))

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The content of a range; what was never written is zeros. Raises DiskError, ValueError outside."""
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise self._outside(offset_bytes, length_bytes)
        return self._data.read(offset_bytes, length_bytes)

    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | memoryview | None:
        """Like `read`, but None when the disk would have to be waited for."""
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise self._outside(offset_bytes, length_bytes)
        return self._data.read_cached(offset_bytes, length_bytes)

    def flush(self) -> None:
        """Make every write that returned before durable (promise 2). An error is final: told ever after."""
        self._data.sync()

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """The next range (offset, length) from `offset_bytes` on that may hold more than zeros, or None."""
        if not 0 <= offset_bytes <= self.size_bytes:
            raise self._outside(offset_bytes, 0)
        return self._data.next_data(offset_bytes)

    def _outside(self, offset_bytes: int, length_bytes: int) -> ValueError:
        return ValueError(
            f"bytes {offset_bytes} to {offset_bytes + length_bytes} of a volume of {self.size_bytes}"
        )

    # ---- what is known of the data -------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The record that is durable."""
        return self._metadata.record

    def write_record(self, record: Record) -> None:
        """Replace the record, durably, all or nothing.

        Raises DiskError: the one of before counts, and no other is taken until the volume was opened anew. A later
        open may find either of the two, unless it can be noted now that the new one does not count. Where the new one
        takes back that the replica is uptodate, that is noted instead, and counts.
        """
        try:
            self._metadata.write(record)
        except DiskError:
            if record.takes_back(self.record):
                self._note_doubt()
            else:
                self._note_unconfirmed()
            raise

    def _note_doubt(self) -> None:
        """Best effort: have the next open know that this replica is not uptodate."""
        with contextlib.suppress(StorageError, FileExistsError):
            self._directory.create(DOUBTFUL_FILE, 0, sparse=True).close()

    def _note_unconfirmed(self) -> None:
        """Best effort: have the next open know which slot was never relied upon, should it be there all the same."""
        digest = self._metadata.unconfirmed
        if digest is None or self._directory.exists(UNCONFIRMED_FILE):
            return
        with contextlib.suppress(StorageError, FileExistsError):
            file = self._directory.create(UNCONFIRMED_FILE, len(_note(digest)), sparse=False)
            try:
                file.write(0, _note(digest))
                file.sync()
            finally:
                file.close()

    def log_extents(self) -> frozenset[int]:
        """The 4 MiB extents that the activity log durably marks; at open, those of the life before."""
        return self._log.extents

    def log_commit(self, add: Iterable[int] = (), remove: Iterable[int] = ()) -> None:
        """Durably mark and unmark extents, all or nothing (promise 3); what is in both stays marked.

        Bits that stand for removed extents must have been stored before. Raises DiskError: the set of before
        counts, though a later open may find either of the two. ValueError: an extent outside the volume, or
        more than `log_capacity` at once.
        """
        self._log.commit(add, remove)

    def bits(self) -> PagedBitmap:
        """The bitmap as it was at open: always the same object, which is the caller's to change."""
        return self._bits

    def store_bits(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """Durably replace pages (number, content) of the bitmap. DiskError: any may be old, new or mixed."""
        self._bitmap.store(pages)

    def space(self) -> Space:
        """Room taken and left. Warns at 85 and 95 % of it, when the volume could outgrow it, or lies in too many pieces."""
        where, allocated_bytes = self._directory.name, self._data.allocated()
        free_bytes, total_bytes = self._directory.free()
        warnings = space_warnings(where, self.size_bytes - allocated_bytes, free_bytes, total_bytes)
        pieces = pieces_warnings(where, self._count_pieces())
        return Space(self.size_bytes, allocated_bytes, free_bytes, total_bytes, warnings + pieces)

    def _count_pieces(self) -> int | None:
        """In how many pieces the data lies, as it was counted now or lately: counting reads a lot."""
        if self._space_looks % PIECES_EVERY == 0 and isinstance(self._data, Fragmented):
            self._pieces = self._data.extents(PIECES_WARNING)
        self._space_looks += 1
        return self._pieces

    def close(self) -> None:
        """Close the files and give the lock back, without flushing. Idempotent."""
        self._files.close()


def space_warnings(where: str, growth_bytes: int, free_bytes: int, total_bytes: int) -> tuple[str, ...]:
    """What people must know of a disk below a volume that may still grow by `growth_bytes`."""
    warnings = []
    used_percent = 100 * (total_bytes - free_bytes) // max(total_bytes, 1)
    passed = [percent for percent in WARN_PERCENT if used_percent >= percent]
    if passed:
        warnings.append(
            f"The disk below {where} is {used_percent} % full (warning from {passed[-1]} %). "
            "Free space on it: when it is full, this replica fails."
        )
    if growth_bytes > free_bytes:
        warnings.append(
            f"The volume in {where} can still grow by {_gib(growth_bytes)}, but its disk has only "
            f"{_gib(free_bytes)} left. Enlarge the disk, or keep the guest from filling the volume."
        )
    return tuple(warnings)


def pieces_warnings(where: str, pieces: int | None) -> tuple[str, ...]:
    """What people must know of a volume in so many pieces (None: that cannot be told)."""
    if pieces is None or pieces < PIECES_WARNING:
        return ()
    return (
        f"The volume in {where} lies in {PIECES_WARNING} pieces or more on its disk, and NTFS bounds their number: beyond "
        "it writes fail (error 665), and with them this replica. Have it copied anew onto a disk that was formatted with 64 "
        "KiB clusters and large file records (Format-Volume -AllocationUnitSize 65536 -UseLargeFRS).",
    )


def _note(digest: bytes) -> bytes:
    """The content of the note: the slot's digest, twice, so that a torn one is seen; one unit long."""
    return (digest + digest).ljust(NOTE_BYTES, b"\0")


def _noted(directory: Directory) -> bytes | None:
    """The digest that stands in the note; None if it is not whole."""
    file = directory.open(UNCONFIRMED_FILE)
    try:
        content = file.read(0, NOTE_BYTES) if file.size() == NOTE_BYTES else b""
    finally:
        file.close()
    digest = content[: metadata.DIGEST_BYTES]
    return digest if content == _note(digest) and any(digest) else None


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"


def _check_size(size_bytes: int, minimum_bytes: int) -> None:
    if size_bytes % SIZE_UNIT_BYTES or not minimum_bytes <= size_bytes <= MAXIMUM_BYTES:
        raise UsageError(
            f"A volume cannot have {size_bytes} bytes.",
            f"Choose a multiple of 1 MiB between {minimum_bytes >> 20} MiB and {MAXIMUM_BYTES >> 40} TiB.",
        )


def _make_way(directory: Directory) -> None:
    """Remove what an interrupted creation left; refuse anything else that is there."""
    if directory.exists(CREATING_FILE):
        _refuse_used(directory)
        _remove_files(directory)
        return
    for name in _VOLUME_FILES:
        if directory.exists(name):
            raise VolumeFormatError(
                f"{directory.name} already holds a file {name} of a volume.",
                "Nothing was changed. Open that volume, or choose an empty directory.",
            )


def _refuse_used(directory: Directory) -> None:
    """An interrupted creation never wrote a record beyond its first: anything else was in use."""
    try:
        file = directory.open(METADATA_FILE)
    except FileNotFoundError:
        return
    try:
        sequence = Metadata.load(file, directory.name).sequence
    except VolumeFormatError:
        return
    finally:
        file.close()
    if sequence > metadata.FORMATTED_SEQUENCE:
        raise VolumeFormatError(
            f"{directory.name} holds a volume that was in use beside a file {CREATING_FILE} of a new one.",
            f"Nothing was changed. If the volume is wanted, remove {CREATING_FILE}; "
            "otherwise choose another place.",
        )


def _make_files(directory: Directory, geometry: Geometry, record: Record) -> None:
    """All files, the metadata last."""
    extent_count = -(-geometry.size_bytes // EXTENT_BYTES)
    with ExitStack() as files:

        def make(name: str, size_bytes: int, *, sparse: bool = False) -> File:
            file = directory.create(name, size_bytes, sparse=sparse)
            files.callback(file.close)
            return file

        make(DATA_FILE, geometry.size_bytes, sparse=not geometry.thick)
        ActivityLog.format(make(LOG_FILE, actlog.FILE_BYTES), record.replica_id, extent_count)
        bits = make(BITMAP_FILE, bitmap.file_bytes(geometry.size_bytes))
        BitmapFile(bits, record.replica_id, geometry.size_bytes).format()
        Metadata.format(make(METADATA_FILE, metadata.FILE_BYTES), geometry, record)


def _remove_files(directory: Directory) -> None:
    """Take everything of a half-made volume away, the marker last."""
    for name in (*_VOLUME_FILES, UNCONFIRMED_FILE, DOUBTFUL_FILE, CREATING_FILE):
        with contextlib.suppress(FileNotFoundError):
            directory.remove(name)
