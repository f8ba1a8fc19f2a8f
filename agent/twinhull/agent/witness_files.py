"""Looks at the certificates by which etcd is asked, so that they do not expire unseen: they are not ours to renew."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from twinhull.config import WitnessConfig
from twinhull.core.record import WitnessKind

log = logging.getLogger(__name__)

EXPIRING = dt.timedelta(days=30)
EXPIRING_SHARE = 4
"""A certificate that lives for days alone, because something renews it, is told of in the last quarter of its life."""
DAY = dt.timedelta(days=1)
WHAT = {"cert": "client certificate of the witness", "ca": "authority of the witness"}


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class WitnessFiles:
    """What is to be said of the files of an etcd witness on this node. One thread looks, any reads `warnings`.

    Args:
        node: this node's name.
        now: the time, with zone. It only warns: nothing is decided by it.
    """

    def __init__(self, node: str, now: Callable[[], dt.datetime] = _utc_now) -> None:
        self._node = node
        self._now = now
        self.warnings: tuple[str, ...] = ()

    def look(self, witness: WitnessConfig) -> None:
        """Read the files; what was not said before also goes to the log."""
        found: list[str] = []
        if witness.kind is WitnessKind.ETCD:
            for key, path in (("cert", witness.cert), ("ca", witness.ca)):
                found += self._told(WHAT[key], Path(str(path)))
        for words in found:
            if words not in self.warnings:
                log.warning("%s", words)
        self.warnings = tuple(found)

    def _told(self, what: str, path: Path) -> list[str]:
        try:
            certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            return [
                f"the {what} on {self._node} cannot be read ({path}: {error}): while it is so, the witness cannot be "
                "asked there"
            ]
        # Of a client's file the first one is its own; of several authorities one that is valid is enough.
        ends = certificates[:1] if what == WHAT["cert"] else certificates
        last = max(ends, key=lambda certificate: certificate.not_valid_after_utc)
        words = expiry(last.not_valid_before_utc, last.not_valid_after_utc, self._now())
        if not words:
            return []
        return [
            f"the {what} on {self._node} {words} ({path}): renew it, or neither node may go on alone by the witness"
        ]


def expiry(begins: dt.datetime, ends: dt.datetime, now: dt.datetime) -> str:
    """When a certificate expires or did, in words; empty while that is far off. Pure."""
    left = ends - now
    if left >= min(EXPIRING, (ends - begins) / EXPIRING_SHARE):
        return ""
    if left < dt.timedelta():
        return f"has expired on {ends:%Y-%m-%d}"
    return (
        f"expires in {left // DAY} days"
        if left >= DAY
        else f"expires within {left // dt.timedelta(hours=1) + 1} h"
    )
