"""The module's disk as this host's initiator finds it: name, port and secret, new for every attach.

They stand in a private file of the node's runtime directory as long as the export does, for whoever logs in: the
attacher, a script of the operator, and the agent that cleans up after a dead worker.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinhull.errors import AttachError
from twinhull.exports.iscsi import Chap, IscsiExport, LoopPoller, TargetSettings, new_secret, target_name
from twinhull.exports.iscsi.disk import NextData
from twinhull.exports.iscsi.export import LOOPBACK
from twinhull.exports.iscsi.poll import EpollPoller, Poller, Watcher
from twinhull.exports.iscsi.target import Log
from twinhull.secrets_file import make_private_directory, write_private

USER = "twinhull"
ATTACHMENT_BYTES = 4


@dataclass(frozen=True)
class Offer:
    """What an initiator needs to log in.

    Args:
        target: the iSCSI name.
        address, port: where it listens.
        user, secret: of one-way CHAP.
        volume_id: hexadecimal; the disk's serial number is made of it.
    """

    target: str
    address: str
    port: int
    user: str
    secret: str
    volume_id: str

    def __repr__(self) -> str:
        return f"Offer({self.target} at {self.address}:{self.port})"


class OfferFile:
    """Where the offer of one module stands on this node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, offer: Offer) -> None:
        """Tell it. Raises OSError."""
        make_private_directory(self.path.parent)
        write_private(self.path, (json.dumps(asdict(offer), indent=2) + "\n").encode())

    def read(self) -> Offer | None:
        """What is offered now, or was when the worker died; None: nothing. Raises AttachError."""
        try:
            words: Mapping[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            return Offer(**{**words, "port": int(words["port"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise AttachError(
                f"{self.path}, which tells where the module's disk is, cannot be read: {error}.",
                "Remove it; the next start writes it anew.",
            ) from error

    def remove(self) -> None:
        """Nothing is offered any more. Idempotent."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class OfferedExport(IscsiExport):
    """An iSCSI export whose offer stands in a file while it is open."""

    def __init__(self, file: OfferFile, settings: TargetSettings, **more: Any) -> None:
        super().__init__(settings, **more)
        self._file = file
        chap = settings.chap
        try:
            if chap is not None:
                file.write(
                    Offer(self.name, LOOPBACK, self.port, chap.user, chap.secret, settings.volume_id.hex())
                )
        except OSError:
            super().close()
            raise

    def close(self) -> None:
        """Take disk and offer away."""
        self._file.remove()
        super().close()


@dataclass(frozen=True)
class Exporter:
    """Makes the iSCSI export of one module, each time with a name and a secret of its own.

    Args:
        port: on loopback; 0 for one that is free.
        volume_id: asked at each attach; None while the volume has none.
        unit_bytes: what the backing file writes at once.
        own_descriptor: the export waits with a descriptor of its own (epoll); False: the loop watches its sockets.
    """

    cluster: str
    module: str
    file: OfferFile
    port: int
    size_bytes: int
    volume_id: Callable[[], bytes | None]
    next_data: NextData
    log: Log
    unit_bytes: int = 512
    own_descriptor: bool = True

    def make(self, loop: Watcher, serve: Callable[[], None]) -> IscsiExport:
        """See `worker.host.HostParts.make_export`. Raises AttachError, OSError."""
        volume_id = self.volume_id()
        if volume_id is None:
            raise AttachError(
                f"The volume of {self.module} has no identity yet, so no disk can be made of it.",
                "Protect the module first.",
            )
        attachment = secrets.token_hex(ATTACHMENT_BYTES)
        settings = TargetSettings(
            target_name(self.cluster, self.module, attachment),
            self.size_bytes,
            volume_id,
            Chap(USER, new_secret(secrets.token_bytes)),
            unit_bytes=self.unit_bytes,
        )
        poller: Poller = EpollPoller() if self.own_descriptor else LoopPoller(loop, serve)
        return OfferedExport(
            self.file, settings, port=self.port, log=self.log, next_data=self.next_data, poller=poller
        )
