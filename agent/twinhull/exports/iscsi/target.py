"""The target of one module: its name and secret, which session may be, and the connections that lead to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import AttachError
from ..base import Request
from . import sense
from .chap import CHALLENGE_BYTES, Chap
from .connection import Connection, Phase
from .disk import LogicalUnit, NextData
from .login import PORTAL_GROUP, Admission, Identity, Login
from .overlay import DEFAULT_LIMIT_BYTES
from .pages import DiskIdentity, Space
from .pdu import LoginStatus
from .session import Session
from .steps import Data
from .store import Store

NAME_PREFIX: Final = "iqn.2026-11.io.twinhull:"
MAX_NAME_BYTES: Final = 223
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.:")
Log = logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True)
class TargetSettings:
    """What a target is.

    Args:
        name: its iSCSI name, see `target_name`.
        size_bytes: size of the volume, a multiple of 512.
        volume_id: 16 bytes, the volume's own: serial number and NAA are made of them.
        chap: what an initiator must know; None lets everybody in (tests alone).
        unit_bytes: what the backing disk writes at once, 512 or 4096.
        physical_bytes: the size of a physical block that the host is told, 512 or 4096.
        overlay_limit_bytes: the most that discard mode holds.
    """

    name: str
    size_bytes: int
    volume_id: bytes
    chap: Chap | None
    unit_bytes: int = 512
    physical_bytes: int = 4096
    overlay_limit_bytes: int = DEFAULT_LIMIT_BYTES

    def checked(self) -> TargetSettings:
        """Itself. Raises AttachError for what cannot be exported."""
        if len(self.name) > MAX_NAME_BYTES or not set(self.name) <= _NAME_CHARACTERS:
            raise AttachError(
                f"{self.name} is no iSCSI name: lower case letters, digits, '-', '.' and ':' only."
            )
        if len(self.volume_id) != 16:
            raise AttachError("A volume's id has 16 bytes.")
        if self.unit_bytes not in (512, 4096) or self.size_bytes <= 0 or self.size_bytes % self.unit_bytes:
            raise AttachError(
                f"A volume of {self.size_bytes} bytes cannot be exported in units of {self.unit_bytes}."
            )
        if self.physical_bytes not in (512, 4096):
            raise AttachError(f"A physical block of {self.physical_bytes} bytes is not offered.")
        if self.chap is not None:
            self.chap.checked()
        return self


def target_name(cluster: str, module: str, attachment: str = "") -> str:
    """The iSCSI name of a module (RFC 7143 section 4.2.7); `attachment` tells this life from earlier ones."""
    name = f"{NAME_PREFIX}{cluster}.{module}" + (f".{attachment}" if attachment else "")
    return "".join(character if character in _NAME_CHARACTERS else "-" for character in name.lower())


class Target:
    """The protocol core of one export: connections in, requests to the volume and bytes out. No socket, no clock.

    Args:
        settings: what it is.
        random: gives so many unpredictable bytes.
        next_data: see `LogicalUnit`.
        log: for what people should know.
    """

    def __init__(
        self,
        settings: TargetSettings,
        *,
        random: Callable[[int], bytes],
        log: Log,
        next_data: NextData | None = None,
    ) -> None:
        self._settings = settings.checked()
        self._random = random
        self._log = log
        self.name = settings.name
        self.chap = settings.chap
        self.portal = ""
        """Address and port, as SendTargets tells it."""
        self.store = Store(settings.size_bytes, settings.unit_bytes)
        identity = DiskIdentity(
            settings.volume_id, settings.name, settings.size_bytes, settings.physical_bytes
        )
        self._unit = LogicalUnit(identity, self.store, next_data)
        self._connections: list[Connection] = []
        self._current: tuple[Identity, int, Connection] | None = None
        self._last_tsih = int.from_bytes(random(2), "big")

    # ---- for the shell -------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that the volume has not answered."""
        return len(self.store.pending)

    @property
    def session(self) -> Session | None:
        """The one normal session, if there is one."""
        return self._current[2].session if self._current is not None else None

    @property
    def initiator(self) -> str:
        """Who is logged in; empty when nobody is."""
        return self._current[0].initiator if self._current is not None else ""

    @property
    def overlay_bytes(self) -> int:
        """How much discard mode holds."""
        return self.store.overlay_bytes

    def connect(self) -> Connection:
        """A new connection came."""
        connection = Connection(Login(self), self._begin, self._ended)
        self._connections.append(connection)
        return connection

    def take_requests(self) -> Sequence[Request]:
        """What the volume must do, in order, since the last time."""
        requests = self.store.requests
        if requests:
            self.store.requests = []
        return requests

    def reply(self, tag: int, error: int, data: Data | None) -> None:
        """The volume's answer. Raises ValueError for a tag that is not under way."""
        self.store.reply(tag, error, data)

    def discard_writes(self) -> None:
        """Discard mode, until the end of this target."""
        self.store.discard_writes(self._settings.overlay_limit_bytes)
        self._log.info("writes to the disk are thrown away from here on")

    def tell_space(self, used_bytes: int, available_bytes: int) -> None:
        """What LOG SENSE tells of the room below."""
        self._unit.describer.space = Space(used_bytes, available_bytes)

    def warn_of_space(self) -> None:
        """Have the initiator know that the room below runs out: a unit attention 38/07."""
        if self.session is not None:
            self.session.attention(sense.SPACE_THRESHOLD)

    def close(self) -> None:
        """End every connection."""
        for connection in list(self._connections):
            connection.end("the export is taken away")

    # ---- for the login (`login.Doorkeeper`) ----------------------------------------------------------------

    def challenge(self) -> bytes:
        """Identifier and challenge of a CHAP question."""
        return self._random(1 + CHALLENGE_BYTES)

    def admit(self, identity: Identity) -> Admission:
        """Whether a session may begin: one at a time; the same initiator's takes the place of its own (6.3.5)."""
        if identity.discovery:
            return Admission(LoginStatus.SUCCESS if not identity.tsih else LoginStatus.NO_SESSION, 1)
        current = self._current
        if current is None:
            if identity.tsih:
                return Admission(LoginStatus.NO_SESSION)
            return self._new()
        other, tsih, connection = current
        same = (other.initiator, other.isid) == (identity.initiator, identity.isid)
        if identity.tsih and (not same or identity.tsih != tsih):
            return Admission(LoginStatus.NO_SESSION)
        if not same:
            self._log.warning(
                "a second session is refused: %s asks while %s is logged in",
                identity.initiator,
                other.initiator,
            )
            return Admission(LoginStatus.OUT_OF_RESOURCES)
        if identity.tsih and identity.connection_id != other.connection_id:
            return Admission(LoginStatus.TOO_MANY_CONNECTIONS)
        connection.end(f"{identity.initiator} has logged in anew")
        return self._new(identity.tsih)

    def _new(self, tsih: int = 0) -> Admission:
        if not tsih:
            self._last_tsih = tsih = self._last_tsih % 0xFFFF + 1
        return Admission(LoginStatus.SUCCESS, tsih)

    # ---- for connections -----------------------------------------------------------------------------------

    def _begin(self, connection: Connection, login: Login, identity: Identity, command_sn: int) -> Session:
        session = Session(
            connection,
            self._unit,
            login.operational,
            discovery=identity.discovery,
            command_sn=command_sn,
            status_sn=login.next_status_sn,
            connection_id=identity.connection_id,
            send_targets=lambda wanted: self._targets(wanted, discovery=identity.discovery),
        )
        if not identity.discovery:
            self._current = (identity, login.tsih, connection)
            self._log.info("%s has logged in", identity.initiator)
        return session

    def _targets(self, wanted: str, *, discovery: bool) -> list[tuple[str, str]] | None:
        """The answer to SendTargets (RFC 7143 appendix C); None: it may not be asked for."""
        if wanted == "All" and not discovery:
            return None
        if wanted not in ("All", "") and wanted.lower() != self.name:
            return []
        return [("TargetName", self.name), ("TargetAddress", f"{self.portal},{PORTAL_GROUP}")]

    def _ended(self, connection: Connection, why: str) -> None:
        self._connections.remove(connection)
        current = self._current
        if current is not None and current[2] is connection:
            self._current = None
            self._log.info("%s is gone: %s", current[0].initiator, why or "it has logged out")
        elif why and connection.phase is Phase.ENDING:
            self._log.info("a connection was ended: %s", why)
