"""`twinhull.ha.support_snapshot`: one archive for support, fetched to the control node."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_arguments import SUPPORT_SNAPSHOT
from ..plugin_utils.twinhull_command import posix_command
from ..plugin_utils.twinhull_host import Host
from ..plugin_utils.twinhull_status import Status


class ActionModule(TwinhullAction):
    """Has the agent collect the archive, fetches it, and removes it from the host."""

    ARGUMENTS = SUPPORT_SNAPSHOT
    PREVIEWS = False
    TRANSFERS_FILES = True

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError, or TaskError when the file cannot be written here."""
        target = self._target(options, None if self.check_mode else host.status())
        if self.check_mode:
            host.status()
            return {
                "changed": True,
                "message": f"The archive would be written to {target}.",
                "dest": str(target),
            }
        _make_directory(target.parent)
        made, part = self._fetched(host, options, target)
        try:
            size_bytes, checksum = _measure(part)
            if size_bytes != made.get("size_bytes"):
                raise TaskError(
                    f"The archive has {made.get('size_bytes')} bytes on the host, but {size_bytes} came over. "
                    "Nothing was written; run this again."
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return {
            "changed": True,
            "message": f"The archive is in {target}.",
            "dest": str(target),
            "size_bytes": size_bytes,
            "checksum": checksum,
            "anonymised": bool(made.get("anonymised")),
        }

    def _target(self, options: Mapping[str, Any], status: Status | None) -> Path:
        """The file to write: named by site, node and time when `dest` is a directory."""
        dest = options["dest"]
        path = Path(self._loader.path_dwim(dest))
        if not dest.endswith(("/", os.sep)) and not path.is_dir():
            return path
        site = self._site.site or (status.cluster if status else "")
        node = self._site.node or (status.node if status else self._site.name)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return path / ("-".join(part for part in (site, node, stamp) if part) + ".tar.gz")

    def _fetched(
        self, host: Host, options: Mapping[str, Any], target: Path
    ) -> tuple[Mapping[str, Any], Path]:
        """Make the archive in a directory of its own on the host, which is removed whatever happens."""
        part = target.with_name(f".{target.name}.part")
        directory = self._make_tmp_path()
        try:
            remote = self._connection._shell.join_path(directory, "snapshot.tar.gz")
            anonymise = ("--anonymise",) if options["anonymise"] else ()
            made = host.ask(
                "snapshot", f"--output={remote}", f"--timeout={options['timeout_s']:g}", *anonymise
            )
            if not isinstance(made, Mapping):
                raise TaskError("The answer to `twinhull snapshot` is not understood.")
            if not host.windows:
                self._give_to_user(remote, directory)
            _reserve(part)
            self._connection.fetch_file(remote, str(part))
        finally:
            self._remove_tmp_path(directory, force=True)
        return made, part

    def _give_to_user(self, remote: str, directory: str) -> None:
        """Let the user of the connection read what root wrote: it is the owner of the directory."""
        line = posix_command(["chown", f"--reference={directory}", remote], with_input=False)
        ran = self._low_level_execute_command(line)
        if ran["rc"]:
            raise TaskError(
                f"The archive cannot be handed to the user of the connection: {ran['stderr'] or ran['stdout']}"
            )


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(
            f"The directory {path} cannot be made on the control node: {error.strerror}."
        ) from error


def _reserve(part: Path) -> None:
    """Make the file with a mode that lets nobody else read it before anything is in it."""
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise TaskError(
            f"The file {part} cannot be written on the control node: {error.strerror}."
        ) from error


def _measure(path: Path) -> tuple[int, str]:
    """Size in bytes, and SHA-256."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size_bytes += len(piece)
    return size_bytes, digest.hexdigest()
