"""The volume as an iSCSI disk on this host's loopback, served by the worker's own loop.

The protocol core has no socket, clock or randomness: bytes in, bytes and volume requests out.

    pdu, text, chap, login    RFC 7143 and 7146 as tables and decisions
    connection, session       one connection's bytes; the full-feature phase of the one session
    cdb, sense, pages, disk   the SCSI commands of a disk (SPC-4, SBC-3)
    store, overlay            what becomes of them: requests to the volume, or writes that are thrown away
    target                    names, secrets, which session may be; builds connections
    export                    the shell: sockets, and the interface of `exports.base`
"""

from .chap import Chap, new_secret
from .export import IscsiExport
from .poll import LoopPoller
from .target import TargetSettings, target_name

__all__ = ["Chap", "IscsiExport", "LoopPoller", "TargetSettings", "new_secret", "target_name"]
