"""The disk that is offered: new at every attach, told in a private file, gone with the export, on either kind of loop."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from twinhull.attach.nothing import NoAttacher
from twinhull.errors import AttachError
from twinhull.worker.loop import Loop
from twinhull.worker.offer import Exporter, OfferFile

LOG = logging.LoggerAdapter(logging.getLogger("twinhull.test"), {})


def exporter(path: Path, volume_id: bytes | None = bytes(range(16)), *, own: bool = True) -> Exporter:
    """An exporter of a volume of 1 MiB on a free port."""
    file = OfferFile(path / "targets" / "VM1.json")
    return Exporter("c", "VM1", file, 0, 1 << 20, lambda: volume_id, lambda _: None, LOG, own_descriptor=own)


@pytest.mark.parametrize("own", [True, False])
def test_every_attach_has_a_name_and_a_secret_of_its_own(tmp_path: Path, own: bool) -> None:
    makes = exporter(tmp_path, own=own)
    loop = Loop(lambda: None, stall_s=5.0)
    seen = []
    for _ in range(2):
        export = makes.make(loop, lambda: None)
        offer = makes.file.read()
        assert offer is not None
        assert (offer.target, offer.port, offer.volume_id) == (
            export.name,
            export.port,
            bytes(range(16)).hex(),
        )
        assert (export.fileno() >= 0) is own
        seen.append(offer)
        export.close()
        assert makes.file.read() is None
    assert seen[0].target != seen[1].target
    assert seen[0].secret != seen[1].secret
    assert 12 <= len(seen[0].secret) <= 16


def test_what_is_offered_stands_in_a_private_file_and_in_no_log(tmp_path: Path) -> None:
    makes = exporter(tmp_path)
    export = makes.make(Loop(lambda: None, stall_s=5.0), lambda: None)
    offer = makes.file.read()
    export.close()
    assert offer is not None
    makes.file.write(offer)
    assert stat.S_IMODE(makes.file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(makes.file.path.parent.stat().st_mode) == 0o700
    assert offer.secret not in repr(offer)


def test_a_volume_without_an_identity_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="Protect the module first"):
        exporter(tmp_path, None).make(Loop(lambda: None, stall_s=5.0), lambda: None)


def test_an_unreadable_offer_says_what_to_do(tmp_path: Path) -> None:
    file = OfferFile(tmp_path / "VM1.json")
    file.path.write_text('{"target": 1}')
    with pytest.raises(AttachError, match="Remove it"):
        file.read()


def test_where_nothing_is_mounted_what_is_offered_is_attached(tmp_path: Path) -> None:
    makes = exporter(tmp_path)
    attacher = NoAttacher("VM1", lambda: makes.file.read() is not None, makes.file.remove)
    with pytest.raises(AttachError, match="not offered"):
        attacher.attach(make=False)
    export = makes.make(Loop(lambda: None, stall_s=5.0), lambda: None)
    attacher.attach(make=False)
    assert attacher.attached()
    assert attacher.clean_up() == ["the iSCSI disk of VM1 was offered until its worker died"]
    assert attacher.clean_up() == []
    export.close()
    assert not attacher.attached()
