"""What the disk says of itself: INQUIRY, VPD, mode and log pages (SPC-4 clauses 6 and 7, SBC-3 clause 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import pack
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 512
MAX_TRANSFER_BLOCKS: Final = 2048
MAX_COMPARE_BLOCKS: Final = 128
MAX_UNMAP_BLOCKS: Final = 1 << 20
MAX_UNMAP_DESCRIPTORS: Final = 256
MAX_WRITE_SAME_BLOCKS: Final = 0xFFF8
THRESHOLD_EXPONENT: Final = 11
"""Space is counted in sets of 2 to this power of blocks: in MiB."""

VENDOR: Final = b"TWINHULL"
PRODUCT: Final = b"VOLUME"
REVISION: Final = b"1"


class DiskIdentity(NamedTuple):
    """Who this disk is.

    Args:
        volume_id: the 16 bytes that are the volume's own, the same on both nodes.
        target_name: its iSCSI name.
        size_bytes: how large.
        physical_bytes: size of a physical block.
    """

    volume_id: bytes
    target_name: str
    size_bytes: int
    physical_bytes: int = 4096

    @property
    def physical_blocks(self) -> int:
        """Logical blocks of a physical one."""
        return self.physical_bytes // BLOCK_BYTES

    @property
    def serial(self) -> bytes:
        """The unit serial number: 32 hexadecimal digits."""
        return self.volume_id.hex().encode()

    @property
    def naa(self) -> bytes:
        """A locally assigned NAA identifier of 8 bytes (SPC-4 7.8.6.6), made of the volume's id."""
        digest = hashlib.sha256(b"twinhull naa" + self.volume_id).digest()[:8]
        return bytes((0x30 | digest[0] & 0x0F,)) + digest[1:]


def standard_inquiry() -> bytes:
    """Standard INQUIRY data (SPC-4 6.6.2): a disk of SPC-4 and SBC-3 that queues commands."""
    head = bytes((0x00, 0x00, 0x06, 0x12, 91, 0x00, 0x00, 0x02))
    names = VENDOR.ljust(8) + PRODUCT.ljust(16) + REVISION.ljust(4)
    # SAM-5, iSCSI, SPC-4, SBC-3, none with a version claimed
    descriptors = pack(">8H", 0x00A0, 0x0960, 0x0460, 0x04C0, 0, 0, 0, 0)
    return (head + names + bytes(22) + descriptors).ljust(96, b"\0")


def absent_inquiry() -> bytes:
    """Standard INQUIRY data of a logical unit that there is not (SPC-4 6.6.2, qualifier 011b)."""
    return bytes((0x7F,)) + standard_inquiry()[1:]


def _page(code: int, body: bytes) -> bytes:
    return pack(">BBH", 0x00, code, len(body)) + body


def _designator(code_set: int, association: int, kind: int, body: bytes) -> bytes:
    protocol = 0x50 if association else 0x00  # iSCSI
    piv = 0x80 if association else 0x00
    return bytes((protocol | code_set, piv | association << 4 | kind, 0, len(body))) + body


def _terminated(name: str) -> bytes:
    """A SCSI name string: null-terminated, padded to whole words (SPC-4 7.8.6.11)."""
    text = name.encode() + b"\0"
    return text + bytes(-len(text) % 4)


def supported_pages(_: DiskIdentity) -> bytes:
    """VPD page 00: nobody asks for a page that is not listed here."""
    return _page(0x00, bytes(sorted(VPD_PAGES)))


def serial_number(disk: DiskIdentity) -> bytes:
    """VPD page 80."""
    return _page(0x80, disk.serial)


def device_identification(disk: DiskIdentity) -> bytes:
    """VPD page 83 (SPC-4 7.8.6): the unit by NAA and by vendor and serial, its port, its target."""
    return _page(
        0x83,
        _designator(1, 0, 3, disk.naa)
        + _designator(2, 0, 1, VENDOR + disk.serial)
        + _designator(1, 1, 4, pack(">HH", 0, 1))
        + _designator(3, 1, 8, _terminated(f"{disk.target_name},t,0x0001"))
        + _designator(3, 2, 8, _terminated(disk.target_name)),
    )


def block_limits(disk: DiskIdentity) -> bytes:
    """VPD page B0 (SBC-3 6.6.4), 3Ch bytes long."""
    body = pack(
        ">BBHIIIIIIIQ",
        0x01,  # WRITE SAME of zero blocks is refused
        MAX_COMPARE_BLOCKS,
        disk.physical_blocks,
        MAX_TRANSFER_BLOCKS,
        MAX_TRANSFER_BLOCKS,
        0,
        MAX_UNMAP_BLOCKS,
        MAX_UNMAP_DESCRIPTORS,
        disk.physical_blocks,
        0x80000000,  # the alignment of 0 is valid
        MAX_WRITE_SAME_BLOCKS,
    )
    return _page(0xB0, body.ljust(0x3C, b"\0"))


def characteristics(_: DiskIdentity) -> bytes:
    """VPD page B1 (SBC-3 6.6.2), 3Ch bytes long: Windows takes no other length. It does not rotate."""
    return _page(0xB1, pack(">H", 0x0001).ljust(0x3C, b"\0"))


def provisioning(_: DiskIdentity) -> bytes:
    """VPD page B2 (SBC-3 6.6.5): thin, takes UNMAP and both WRITE SAME, unmapped blocks read as zeros."""
    return _page(0xB2, bytes((THRESHOLD_EXPONENT, 0x80 | 0x40 | 0x20 | 0x04, 0x02, 0x00)))


VPD_PAGES: Final[dict[int, Callable[[DiskIdentity], bytes]]] = {
    0x00: supported_pages,
    0x80: serial_number,
    0x83: device_identification,
    0xB0: block_limits,
    0xB1: characteristics,
    0xB2: provisioning,
}


def read_capacity_10(disk: DiskIdentity) -> bytes:
    """SBC-3 5.16.2; all ones in a disk that is too large for it."""
    return pack(">II", min(disk.size_bytes // BLOCK_BYTES - 1, 0xFFFFFFFF), BLOCK_BYTES)


def read_capacity_16(disk: DiskIdentity) -> bytes:
    """SBC-3 5.17.2: with physical blocks, provisioning managed, unmapped blocks read as zeros."""
    last = disk.size_bytes // BLOCK_BYTES - 1
    exponent = disk.physical_blocks.bit_length() - 1
    return pack(">QIBBH", last, BLOCK_BYTES, 0, exponent, 0xC000).ljust(32, b"\0")


class ModePage(NamedTuple):
    """One mode page: its values after a reset, and which of its bits may be changed."""

    code: int
    subpage: int
    default: bytes
    changeable: bytes


CACHING: Final = 0x08
WRITE_CACHE_BYTE: Final = 0
WRITE_CACHE_BIT: Final = 0x04

MODE_PAGES: Final = (
    # Error recovery: nothing to reallocate or retry here, the volume does what can be done.
    ModePage(0x01, 0, bytes(10), bytes(10)),
    # Caching: the write cache is on, and may be turned off.
    ModePage(
        CACHING, 0, bytes((WRITE_CACHE_BIT,)).ljust(18, b"\0"), bytes((WRITE_CACHE_BIT,)).ljust(18, b"\0")
    ),
    # Control: commands may be reordered, sense is of fixed format.
    ModePage(0x0A, 0, bytes((0x02, 0x10, 0, 0, 0, 0, 0, 0, 0, 0)), bytes(10)),
    # Informational exceptions, and of these the one on space: an attention at each threshold.
    ModePage(0x1C, 0, bytes((0x08, 0x00)).ljust(10, b"\0"), bytes(10)),
    ModePage(0x1C, 0x02, bytes(12) + bytes((0x82, 0x01, 0, 0)) + pack(">I", 0), bytes(20)),
)
ALL_PAGES: Final = 0x3F
ALL_SUBPAGES: Final = 0xFF
DPO_FUA: Final = 0x10


def mode_page(page: ModePage, body: bytes) -> bytes:
    """A page with its header (SPC-4 7.5.7)."""
    if page.subpage:
        return pack(">BBH", 0x40 | page.code, page.subpage, len(body)) + body
    return bytes((page.code, len(body))) + body


def wanted_pages(code: int, subpage: int) -> list[ModePage]:
    """What a MODE SENSE asks for; empty when there is no such page."""
    found = []
    for page in MODE_PAGES:
        if code not in (ALL_PAGES, page.code):
            continue
        if subpage == page.subpage or subpage == ALL_SUBPAGES:
            found.append(page)
    return found


def block_descriptor(size_bytes: int) -> bytes:
    """The short LBA mode parameter block descriptor (SBC-3 6.4.2)."""
    return pack(">II", min(size_bytes // BLOCK_BYTES, 0xFFFFFFFF), BLOCK_BYTES)


class Space(NamedTuple):
    """Room on the disk below, in bytes, as far as the volume is concerned."""

    used_bytes: int
    available_bytes: int


LOG_PAGES: Final = (0x00, 0x0C)


def log_page(code: int, space: Space) -> bytes:
    """The supported log pages, and the one on provisioning (SBC-3 6.3.4): what is left and what is used, in MiB."""
    if code == 0x00:
        return pack(">BBH", 0x00, 0, len(LOG_PAGES)) + bytes(LOG_PAGES)
    unit = BLOCK_BYTES << THRESHOLD_EXPONENT
    body = b""
    for parameter, count in ((0x0001, space.available_bytes // unit), (0x0002, space.used_bytes // unit)):
        body += pack(">HBBIBxxx", parameter, 0x03, 8, min(count, 0xFFFFFFFF), 0x01)
    return pack(">BBH", 0x0C, 0, len(body)) + body
