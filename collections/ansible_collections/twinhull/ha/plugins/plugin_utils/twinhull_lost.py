"""What the connection plugins raise when the network to a host is gone, not only Ansible's own error."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase

_LIBRARIES = (
    ("requests.exceptions", "RequestException"),
    ("winrm.exceptions", "WinRMError"),
    ("winrm.exceptions", "WinRMTransportError"),
    ("pypsrp.exceptions", "WinRMError"),
    ("pypsrp.exceptions", "WinRMTransportError"),
)


def _library_errors() -> Iterator[type[Exception]]:
    for module, name in _LIBRARIES:
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            continue
        if isinstance(found, type) and issubclass(found, Exception):
            yield found


def lost_errors() -> tuple[type[Exception], ...]:
    """The errors that mean "no connection", of the libraries that are installed here."""
    return (AnsibleConnectionFailure, OSError, *_library_errors())


def drop(connection: ConnectionBase) -> str:
    """Give a broken connection up, so that the next command makes a new one.

    Returns what went wrong with that; empty when nothing did.
    """
    try:
        if connection.transport.rpartition(".")[2] == "ssh":
            connection.reset()
        else:
            connection.close()
    except (*lost_errors(), AnsibleError) as error:
        return str(error)
    finally:
        connection._connected = False
    return ""
