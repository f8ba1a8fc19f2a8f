"""`twinhull console password`: whoever knows it may log in to the console of this node."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console.password import FILE_NAME, PasswordHash, load, prepared, store
from ..errors import TwinhullError
from ..log import AuditLog, who
from .exit_codes import DONE, FAILED
from .shell import Shell


def run_password(shell: Shell, args: argparse.Namespace) -> int:
    """Set the password to what comes on standard input, or check it (--check). It is shown and logged nowhere."""
    node = shell.node()
    path = shell.node_config.parent / FILE_NAME
    password = shell.secret()
    kept = load(path)
    matches = kept is not None and kept.matches(password)
    if args.check:
        return _tell_check(shell, node.node, is_set=kept is not None, matches=matches)
    prepared(password)
    if matches:
        message = f"Nothing changes: the console of node {node.node} has this password already."
    else:
        _store(path, PasswordHash.of(password))
        AuditLog(node.log_dir, node.node).write(who=who(), what="console password")
        message = f"The password of the console of node {node.node} is set."
    shell.result({"ok": True, "changed": not matches, "message": message}, message)
    return DONE


def _store(path: Path, kept: PasswordHash) -> None:
    try:
        store(path, kept)
    except OSError as error:
        raise TwinhullError(
            f"{path} cannot be written: {error.strerror}.", "The former password, if any, still holds."
        ) from error


def _tell_check(shell: Shell, node: str, *, is_set: bool, matches: bool) -> int:
    if matches:
        message = f"It is the password of the console of node {node}."
    elif is_set:
        message = f"It is not the password of the console of node {node}."
    else:
        message = f"No password is set for the console of node {node}."
    shell.result({"ok": matches, "is_set": is_set, "matches": matches, "message": message}, message)
    return DONE if matches else FAILED
