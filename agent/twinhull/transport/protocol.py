"""The stream between two workers as a protocol without socket, thread or clock: bytes in, events out; frames
in, buffers out.

    protocol = StreamProtocol(cluster=..., module=..., node=..., peer=name in the peer's certificate)
    stream.send(protocol.data_to_send())             # OPEN
    for event in protocol.receive_data(stream.receive()):
        ...                                          # Opened first, Closed last
    stream.send(protocol.data_to_send())

Sessions. Data frames travel within a session. A frame of a session that this side has ended is dropped and
counted (promise 4); a frame of the present session with another generation, or of no session, is an
error; a frame of a session that this side has not begun YET (its record is still on the way to the disk) is
held back, and handed over by `set_session`. Messages and keep-alives belong to no session and are never held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ..core import frames as core
from ..core.frames import Buffer, DataFrame
from ..core.identity import Id
from ..errors import ProtocolError
from . import frames
from .frames import Close, Envelope, FrameType, Header, Keepalive, Open

MAX_HELD_BYTES = 64 << 20
# Members of an enum are looked up slowly by their class (Python 3.11): these are asked for with every frame.
_FIRST_DATA = int(frames.FIRST_DATA_TYPE)
_OPENING_OR_CLOSING = frozenset({FrameType.OPEN, FrameType.CLOSE})
_REMEMBERED_SESSIONS = 64


class Opened(NamedTuple):
    """The peer was found to be who it must be; frames and messages may travel."""

    version: int
    node: str


class MessageReceived(NamedTuple):
    """The bytes of a control message (`core.messages`)."""

    data: bytes


class FrameReceived(NamedTuple):
    """A data frame of the present session."""

    frame: DataFrame


class KeepaliveReceived(NamedTuple):
    """A sign of life of the peer's worker."""

    keepalive: Keepalive


class Closed(NamedTuple):
    """The peer said that it closes, and why; nothing follows. `refused`: it will not have us as we are."""

    reason: str
    refused: bool


Event = Opened | MessageReceived | FrameReceived | KeepaliveReceived | Closed


class StreamProtocol:
    """One end of one connection.

    Args:
        cluster, module, node: who this side is.
        peer: the node's name in the peer's certificate, already verified; it must open with that name.
        versions: lowest and highest protocol version that this side speaks.
    """

    def __init__(
        self,
        *,
        cluster: str,
        module: str,
        node: str,
        peer: str,
        versions: tuple[int, int] = (frames.MIN_VERSION, frames.MAX_VERSION),
    ) -> None:
        self._cluster, self._module, self._node, self._peer = cluster, module, node, peer
        self._versions = versions
        self._tag = frames.tag_of_module(module)
        self._bare = Envelope(frames.BASE_VERSION, self._tag, frames.NO_TAG, frames.NO_TAG)
        self._outside = self._bare
        self._inside: Envelope | None = None
        self._ended: deque[bytes] = deque(maxlen=_REMEMBERED_SESSIONS)
        self._held: list[tuple[Header, DataFrame]] = []
        self._held_bytes = 0
        self._carry = bytearray()
        self._out: list[Buffer] = []
        self._receiving = False
        self.version: int | None = None
        """The negotiated version; None before the peer's OPEN."""
        self.closing_reason: str | None = None
        """Why this connection ends, on whichever side the reason arose; None while it lives."""
        self.dropped_frames = 0
        """Data frames of ended sessions that were dropped."""
        opening = Open(versions[0], versions[1], cluster, module, node)
        self._out.append(frames.pack_open(self._bare, opening))

    # ---- sending ---------------------------------------------------------------------------------------

    def data_to_send(self) -> list[Buffer]:
        """The buffers that wait to be sent, in order; they are the caller's from here on."""
        out, self._out = self._out, []
        return out

    def send_message(self, data: bytes) -> None:
        """Queue a control message. Raises ValueError before `Opened` or if it is too long."""
        self._need_open()
        self._out.append(frames.pack(self._outside, FrameType.MESSAGE, data))

    def send_frame(self, frame: DataFrame) -> None:
        """Queue a data frame of the present session. Raises ValueError outside of one, or if it does not fit."""
        if self._inside is None or self.closing_reason is not None:
            raise ValueError(f"module {self._module}: {type(frame).__name__} outside of a session")
        self._out.extend(frames.encode(self._inside, frame))

    def send_keepalive(self, keepalive: Keepalive) -> None:
        """Queue a sign of life. Raises ValueError before `Opened`."""
        self._need_open()
        self._out.append(frames.pack_keepalive(self._outside, keepalive))

    def close(self, reason: str) -> None:
        """Queue the last frame, which tells the peer why. Nothing is received or sent after it."""
        self._end(reason, refused=False)

    @property
    def in_session(self) -> bool:
        """Whether `send_frame` takes frames now."""
        return self._inside is not None and self.closing_reason is None

    def _need_open(self) -> None:
        if self.version is None or self.closing_reason is not None:
            raise ValueError(f"module {self._module}: the stream to node {self._peer} is not open")

    # ---- sessions --------------------------------------------------------------------------------------

    def set_session(self, session: Id | None, generation: Id | None) -> list[FrameReceived]:
        """From here on frames carry, and must carry, this session and generation; None: no session.

        Returns:
            the frames of this session that had arrived already; to be handled now, before anything else.

        Raises:
            ValueError: only one of the two is given, the stream is not open, or the session was ended before.
            ProtocolError: a frame that was held back carries another generation.
        """
        if (session is None) != (generation is None):
            raise ValueError("a session has a generation")
        previous = self._inside
        if session is None or generation is None:
            self._inside = None
        else:
            self._need_open()
            tag = frames.tag_of_id(session)
            if tag in self._ended or tag == frames.NO_TAG:
                raise ValueError(f"module {self._module}: session {session.hex()[:8]} is over")
            self._inside = self._outside._replace(session=tag, generation=frames.tag_of_id(generation))
        if previous is not None and (self._inside is None or previous.session != self._inside.session):
            self._ended.append(previous.session)
        return self._release()

    def _release(self) -> list[FrameReceived]:
        """Hand over what was held back for the present session; drop what belongs to an ended one."""
        held, self._held, self._held_bytes = self._held, [], 0
        released: list[FrameReceived] = []
        for header, frame in held:
            if self._admit(header):
                released.append(FrameReceived(frame))
            elif header.session in self._ended:
                self.dropped_frames += 1
            else:
                self._held.append((header, frame))
                self._held_bytes += header.length_bytes + frames.HEADER_BYTES
        return released

    def _admit(self, header: Header) -> bool:
        """Whether a data frame belongs to the present session. Raises ProtocolError for nonsense."""
        inside = self._inside
        if inside is not None and header.session == inside.session:
            if header.generation != inside.generation:
                raise self._fail("a frame of another generation than its session's")
            return True
        return False

    # ---- receiving -------------------------------------------------------------------------------------

    def receive_data(self, data: Buffer) -> Iterator[Event]:
        """The events in these bytes, made one by one, so that what one event changes holds for the next.

        The iterator must be consumed before the next call. Frames hold views into `data` (see `TlsStream.receive`
        for how long it stays as it is).

        Raises:
            ProtocolError: the peer broke the protocol. Send `data_to_send()` (it tells the peer why), then close.
        """
        if self.closing_reason is not None:
            return
        if self._receiving:
            raise ValueError("the events of the bytes before were not taken")
        self._receiving = True
        view = memoryview(data)
        position = 0
        while self.closing_reason is None:
            if self._carry:
                position = self._fill_carry(view, position)
                complete = self._take_carry()
                if complete is None:
                    break
                header, payload = complete
            else:
                start = position + frames.HEADER_BYTES
                if len(view) < start:
                    break
                header = self._header(view, position)
                if len(view) < start + header.length_bytes:
                    break
                position = start + header.length_bytes
                payload = view[start:position]
            event = self._handle(header, payload)
            if event is not None:
                yield event
        else:
            position = len(view)
        if position < len(view):
            self._carry += view[position:]
        self._receiving = False

    def _fill_carry(self, view: memoryview, position: int) -> int:
        """Complete the frame that began in earlier bytes, as far as these go; the new position."""
        missing = frames.HEADER_BYTES - len(self._carry)
        if missing > 0:
            self._carry += view[position : position + missing]
            position += missing
        if len(self._carry) >= frames.HEADER_BYTES:
            total = frames.HEADER_BYTES + self._header(self._carry, 0).length_bytes
            missing = total - len(self._carry)
            self._carry += view[position : position + missing]
            position += missing
        return min(position, len(view))

    def _take_carry(self) -> tuple[Header, memoryview] | None:
        if len(self._carry) < frames.HEADER_BYTES:
            return None
        header = self._header(self._carry, 0)
        if len(self._carry) < frames.HEADER_BYTES + header.length_bytes:
            return None
        whole, self._carry = self._carry, bytearray()
        return header, memoryview(whole)[frames.HEADER_BYTES :]

    def _header(self, buffer: Buffer, position: int) -> Header:
        """The header, checked against what this connection has agreed on."""
        try:
            header = frames.decode_header(buffer, position)
        except ProtocolError as error:
            raise self._fail(error.what) from error
        if header.type in _OPENING_OR_CLOSING:
            return header
        if self.version is None:
            raise self._fail(f"a {header.type.name} frame before its opening")
        if header.module != self._tag:
            raise self._fail("a frame of another module")
        outside = header.type < _FIRST_DATA
        if frames.SINCE_VERSION.get(header.type, 1) > self.version:
            raise self._fail(f"a {header.type.name} frame, which version {self.version} does not have")
        if header.version != self.version:
            raise self._fail(f"a frame of version {header.version}, agreed was {self.version}")
        if outside != (header.session == frames.NO_TAG) or outside != (header.generation == frames.NO_TAG):
            raise self._fail(f"a {header.type.name} frame {'inside' if outside else 'outside'} of a session")
        return header

    def _handle(self, header: Header, payload: memoryview) -> Event | None:
        try:
            if header.type < _FIRST_DATA:
                return self._handle_outside(header, payload)
            if self._admit(header):
                return FrameReceived(frames.decode(header, payload))
            if header.session in self._ended:
                self.dropped_frames += 1
            else:
                self._hold(header, frames.decode(header, memoryview(bytes(payload))))
        except ProtocolError as error:
            if self.closing_reason is not None:
                raise
            raise self._fail(error.what) from error
        return None

    def _handle_outside(self, header: Header, payload: memoryview) -> Event:
        """A frame that belongs to no session."""
        match header.type:
            case FrameType.MESSAGE:
                return MessageReceived(bytes(payload))
            case FrameType.KEEPALIVE:
                return KeepaliveReceived(frames.decode_keepalive(header, payload))
            case FrameType.OPEN:
                return self._opened(frames.decode_open(payload))
            case _:
                return self._closed(frames.decode_close(header, payload))

    def _hold(self, header: Header, frame: DataFrame) -> None:
        self._held.append((header, frame))
        self._held_bytes += header.length_bytes + frames.HEADER_BYTES
        if self._held_bytes > MAX_HELD_BYTES:
            raise ProtocolError(f"{MAX_HELD_BYTES >> 20} MiB for a session that did not begin here")

    def _opened(self, opening: Open) -> Opened:
        if self.version is not None:
            raise ProtocolError("a second opening")
        version = min(self._versions[1], opening.max_version)
        if version < max(self._versions[0], opening.min_version):
            raise self._refuse(
                f"it speaks protocol versions {opening.min_version} to {opening.max_version}, "
                f"node {self._node} speaks {self._versions[0]} to {self._versions[1]}"
            )
        if opening.cluster != self._cluster:
            raise self._refuse(f"it belongs to cluster {opening.cluster!r}, not to {self._cluster!r}")
        if opening.module != self._module:
            raise self._refuse(f"it asked for module {opening.module!r}, this is {self._module!r}")
        if opening.node != self._peer or opening.node == self._node:
            raise self._refuse(f"it calls itself {opening.node!r}, its certificate says {self._peer!r}")
        self.version = version
        self._outside = self._bare._replace(version=version)
        return Opened(version, opening.node)

    def _closed(self, close: Close) -> Closed:
        self.closing_reason = close.reason
        self._out.clear()
        return Closed(close.reason, close.refused)

    def _refuse(self, why: str) -> ProtocolError:
        return self._fail(f"an opening that node {self._node} refuses: {why}", refused=True)

    def _fail(self, sent: str, *, refused: bool = False) -> ProtocolError:
        """Close with the reason; the error to raise."""
        what = f"Module {self._module}: node {self._peer} sent {sent}."
        self._end(what, refused=refused)
        return ProtocolError(
            what, "Check that both nodes run compatible versions and the same configuration."
        )

    def _end(self, reason: str, *, refused: bool) -> None:
        if self.closing_reason is None:
            self.closing_reason = reason
            self._out.append(frames.pack_close(self._bare, Close(reason, refused)))
            self._held.clear()
            self._carry = bytearray()


def copy_of(frame: DataFrame) -> DataFrame:
    """The frame with its own copy of its data, for whoever keeps it longer than the buffer lives."""
    if isinstance(frame, core.Write | core.Copy | core.Fetched) and not isinstance(frame.data, bytes):
        return frame._replace(data=bytes(frame.data))
    return frame
