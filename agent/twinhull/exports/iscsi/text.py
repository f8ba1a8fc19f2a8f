"""Keys of login and text negotiation: their table and how two values become one (RFC 7143 sections 6 and 13)."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

MAX_TEXT_BYTES: Final = 65536
"""Of one negotiation step's text, all its PDUs together: a limit of ours, far beyond any initiator's needs."""
MAX_KEYS: Final = 128
RECEIVE_SEGMENT_BYTES: Final = 256 << 10
BURST_BYTES: Final = 1 << 20
FIRST_BURST_BYTES: Final = 256 << 10

NOT_UNDERSTOOD: Final = "NotUnderstood"
REJECT: Final = "Reject"
IRRELEVANT: Final = "Irrelevant"


class TextError(Exception):
    """Text that the other side may not send; the login or the connection ends."""


class Kind(enum.Enum):
    """How the value of a key is found."""

    SMALLER = "the smaller number"
    LARGER = "the larger number"
    EITHER = "Yes when either side says so"
    BOTH = "Yes when both sides say so"
    FIRST = "the first of the offered list that we have"
    DECLARED = "each side says its own"
    REFUSED = "known, and always answered with a constant"


class KeyRule(NamedTuple):
    """One key.

    Args:
        name: as it travels.
        kind: how the value is found.
        ours: what we bring; for REFUSED the answer.
        default: what counts when the key is not negotiated.
        lowest, highest: the bounds of a number.
        normal_only: whether it is irrelevant in a discovery session.
    """

    name: str
    kind: Kind
    ours: str
    default: str
    lowest: int = 0
    highest: int = 0
    normal_only: bool = True


def _number(name: str, kind: Kind, ours: int, default: int, lowest: int, highest: int) -> KeyRule:
    return KeyRule(name, kind, str(ours), str(default), lowest, highest)


MAX_24_BITS: Final = (1 << 24) - 1
RULES: Final[dict[str, KeyRule]] = {
    rule.name: rule
    for rule in (
        KeyRule("HeaderDigest", Kind.FIRST, "None,CRC32C", "None", normal_only=False),
        KeyRule("DataDigest", Kind.FIRST, "None,CRC32C", "None", normal_only=False),
        _number("MaxConnections", Kind.SMALLER, 1, 1, 1, 65535),
        KeyRule("InitialR2T", Kind.EITHER, "No", "Yes"),
        KeyRule("ImmediateData", Kind.BOTH, "Yes", "Yes"),
        KeyRule(
            "MaxRecvDataSegmentLength",
            Kind.DECLARED,
            str(RECEIVE_SEGMENT_BYTES),
            "8192",
            512,
            MAX_24_BITS,
            False,
        ),
        _number("MaxBurstLength", Kind.SMALLER, BURST_BYTES, 262144, 512, MAX_24_BITS),
        _number("FirstBurstLength", Kind.SMALLER, FIRST_BURST_BYTES, 65536, 512, MAX_24_BITS),
        KeyRule("DefaultTime2Wait", Kind.LARGER, "0", "2", 0, 3600, False),
        KeyRule("DefaultTime2Retain", Kind.SMALLER, "0", "20", 0, 3600, False),
        _number("MaxOutstandingR2T", Kind.SMALLER, 1, 1, 1, 65535),
        KeyRule("DataPDUInOrder", Kind.EITHER, "Yes", "Yes"),
        KeyRule("DataSequenceInOrder", Kind.EITHER, "Yes", "Yes"),
        KeyRule("ErrorRecoveryLevel", Kind.SMALLER, "0", "0", 0, 2, False),
        KeyRule("iSCSIProtocolLevel", Kind.SMALLER, "1", "1", 0, 31, False),
        KeyRule("TaskReporting", Kind.FIRST, "RFC3720", "RFC3720"),
        KeyRule("IFMarker", Kind.REFUSED, "No", "No", normal_only=False),
        KeyRule("OFMarker", Kind.REFUSED, "No", "No", normal_only=False),
        KeyRule("IFMarkInt", Kind.REFUSED, IRRELEVANT, "", normal_only=False),
        KeyRule("OFMarkInt", Kind.REFUSED, IRRELEVANT, "", normal_only=False),
    )
}
"""Sections 13.1 to 13.22; the markers are those of RFC 3720, which older initiators still offer."""

FULL_FEATURE_KEYS: Final = frozenset({"MaxRecvDataSegmentLength"})
"""What may be negotiated anew in the full-feature phase."""


class Operational(NamedTuple):
    """What was agreed upon, in bytes.

    Args:
        send_segment_bytes: the largest data segment that the initiator takes.
        burst_bytes: the most data of one R2T or one sequence of Data-In.
        first_burst_bytes: the most unsolicited data of one command, immediate data included.
        initial_r2t: whether every Data-Out must be asked for.
        immediate_data: whether a command may carry data.
        header_digest, data_digest: whether CRC-32C guards the segments.
    """

    send_segment_bytes: int = 8192
    burst_bytes: int = 262144
    first_burst_bytes: int = 65536
    initial_r2t: bool = True
    immediate_data: bool = True
    header_digest: bool = False
    data_digest: bool = False


def parse(data: bytes) -> list[tuple[str, str]]:
    """Pairs of keys and values of a whole text (section 6.1). Raises TextError."""
    pairs = []
    for item in data.split(b"\0"):
        if not item:
            continue
        name, mark, value = item.partition(b"=")
        try:
            key, text = name.decode("ascii"), value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TextError("a key or its value is not text") from error
        if not mark or not 0 < len(key) <= 63 or len(value) > 8192:
            raise TextError("an item is not of the form key=value")
        pairs.append((key, text))
    if len(pairs) > MAX_KEYS:
        raise TextError(f"{len(pairs)} keys in one text")
    names = [key for key, _ in pairs]
    if len(set(names)) != len(names):
        raise TextError("a key is there twice")
    return pairs


def build(pairs: list[tuple[str, str]]) -> bytes:
    """The text of pairs."""
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)


class Negotiation:
    """One session's values, as they are agreed upon.

    Args:
        discovery: whether it is a discovery session.
    """

    def __init__(self, *, discovery: bool = False) -> None:
        self.discovery = discovery
        self.values = {rule.name: rule.default for rule in RULES.values()}
        self._settled: set[str] = set()
        self._declared = False

    def answer(self, key: str, offered: str) -> tuple[str, str] | None:
        """Take one offer; the pair that answers it, or None where nothing is to be said. Raises TextError."""
        rule = RULES.get(key)
        if rule is None:
            return key, NOT_UNDERSTOOD
        if key in self._settled:
            raise TextError(f"{key} is negotiated twice")
        self._settled.add(key)
        if rule.normal_only and self.discovery:
            return key, IRRELEVANT
        if rule.kind is Kind.REFUSED:
            return key, rule.ours
        chosen = _choose(rule, offered)
        if chosen is None:
            return key, REJECT
        self.values[key] = chosen
        if rule.kind is not Kind.DECLARED:
            return key, chosen
        return self.declaration()

    def declaration(self) -> tuple[str, str] | None:
        """What we say of our own accord, once."""
        if self._declared:
            return None
        self._declared = True
        rule = RULES["MaxRecvDataSegmentLength"]
        return rule.name, rule.ours

    def outcome(self) -> Operational:
        """What was agreed upon."""
        values = self.values
        burst = int(values["MaxBurstLength"])
        return Operational(
            int(values["MaxRecvDataSegmentLength"]),
            burst,
            min(int(values["FirstBurstLength"]), burst),
            values["InitialR2T"] == "Yes",
            values["ImmediateData"] == "Yes",
            values["HeaderDigest"] == "CRC32C",
            values["DataDigest"] == "CRC32C",
        )


def _choose(rule: KeyRule, offered: str) -> str | None:
    """The value that both sides then have; None: the offer cannot be taken."""
    if rule.kind is Kind.FIRST:
        have = rule.ours.split(",")
        return next((value for value in offered.split(",") if value in have), None)
    if rule.kind in (Kind.EITHER, Kind.BOTH):
        if offered not in ("Yes", "No"):
            return None
        decisive = "Yes" if rule.kind is Kind.EITHER else "No"
        return decisive if decisive in (offered, rule.ours) else offered
    number = parse_number(offered)
    if number is None or not rule.lowest <= number <= rule.highest:
        return None
    if rule.kind is Kind.DECLARED:
        return str(number)
    return str((max if rule.kind is Kind.LARGER else min)(number, int(rule.ours)))


def parse_number(text: str) -> int | None:
    """A decimal or hexadecimal constant (section 6.1), or None."""
    if len(text) > 12:
        return None
    digits, base = (text[2:], 16) if text[:2] in ("0x", "0X") else (text, 10)
    valid = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    if not digits or any(digit not in valid for digit in digits):
        return None
    return int(digits, base)
