"""Every error of Twinhull.

TwinhullError                  something went wrong; the message says what, where and what to do
  ConfigError                  a configuration is invalid (file, line, key)
  UsageError                   a command was given what it cannot take
  StorageError                 the volume's own files
    VolumeFormatError          foreign, newer, torn or short files: nothing was changed
    VolumeLockedError          another process has the volume
    DiskError                  the disk failed; final for this replica
      DiskFullError            no space left, or the file system's limit
  TransportError               the network
    ProtocolError              the peer sent what the protocol forbids
    AuthenticationError        the peer is not who it must be
    PeerUnreachableError       nothing answers
  AttachError                  export, device, file system or mount
    FolderBusyError            somebody holds the folder; names who
    FolderNotOursError         the folder or device holds something that is not ours
  ResourceError                the resource cannot be started, stopped or described
  PowerShellError              a function of the host's PowerShell failed; callers tell it in their own words
    PowerShellGoneError        its process ended in the middle
    PowerShellTimeoutError     it did not answer in time and was killed
  WitnessError                 the witness cannot be asked
  AgentDownError               no agent answers on this node
  PkiError                     certificates and keys
"""

from __future__ import annotations


class TwinhullError(Exception):
    """Root of the tree.

    Args:
        what: one sentence that says what happened, to which module and node.
        remedy: one sentence that says what to do; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".rstrip()


class ConfigError(TwinhullError):
    """A configuration is invalid; nothing was applied."""

    exit_code = 3


class UsageError(TwinhullError):
    """A command was given what it cannot take; nothing was changed."""

    exit_code = 2


class StorageError(TwinhullError):
    """The volume's own files."""

    exit_code = 5


class VolumeFormatError(StorageError):
    """The files are foreign, newer, torn or too short; nothing was changed."""


class VolumeLockedError(StorageError):
    """Another process has the volume."""


class DiskError(StorageError):
    """The disk failed. Final for this replica: never retried, never swallowed."""


class DiskFullError(DiskError):
    """No space left on the disk, or a limit of the file system was met."""


class TransportError(TwinhullError):
    """The network between the nodes."""

    exit_code = 4


class ProtocolError(TransportError):
    """The peer sent what the protocol forbids; its connection is closed."""


class AuthenticationError(TransportError):
    """The peer has no certificate, one of another authority, or another name."""


class PeerUnreachableError(TransportError):
    """Nothing answers at the peer's addresses."""


class AttachError(TwinhullError):
    """Export, device, file system or mount."""

    exit_code = 6


class FolderBusyError(AttachError):
    """Processes hold the folder; the message names them."""


class FolderNotOursError(AttachError):
    """The folder or the device holds something that is not ours; nothing was changed."""


class ResourceError(TwinhullError):
    """The resource cannot be started, stopped or described."""

    exit_code = 7


class PowerShellError(TwinhullError):
    """A function of the host's PowerShell failed.

    Args:
        category: one of missing, denied, busy, full, exists, incompatible, state, absent, unsupported, timeout, failed.
        identifier: the error's FullyQualifiedErrorId.
        number: the number of the Windows error, eight hexadecimal digits, or empty.
        place: where in the module, for developers.
        begun: whether the function was called at all.
    """

    exit_code = 7

    def __init__(
        self,
        what: str,
        remedy: str = "",
        *,
        category: str = "failed",
        identifier: str = "",
        number: str = "",
        place: str = "",
        begun: bool = True,
    ) -> None:
        super().__init__(what, remedy)
        self.category = category
        self.identifier = identifier
        self.number = number
        self.place = place
        self.begun = begun


class PowerShellGoneError(PowerShellError):
    """The process ended in the middle: what it did is not known."""


class PowerShellTimeoutError(PowerShellError):
    """No answer in time; the process was killed. What it did is not known unless it was not `begun`."""


class WitnessError(TwinhullError):
    """The witness cannot be asked."""

    exit_code = 8


class AgentDownError(TwinhullError):
    """No agent answers on this node."""

    exit_code = 9


class PkiError(TwinhullError):
    """Certificates and keys."""

    exit_code = 10
