"""`twinhull snapshot`: one archive for support."""

from __future__ import annotations

import argparse
import base64
import os
from pathlib import Path

from ..errors import TwinhullError, UsageError
from .exit_codes import DONE
from .jobs import wait_for_job
from .shell import Agent, Shell
from .text import size_text


def run(shell: Shell, args: argparse.Namespace) -> int:
    """Have the agent collect the archive, then fetch it into a file."""
    target: Path = args.output or Path(f"twinhull-snapshot-{shell.now():%Y%m%d-%H%M%S}.tar.gz")
    if target.exists():
        raise UsageError(f"The file {target} is there already.", "Name another one with --output.")
    agent = shell.agent()
    try:
        job = str(agent.call("snapshot", {"anonymise": args.anonymise})["job"])
        code, _ = wait_for_job(shell, job, quiet=True, timeout_s=args.timeout)
        if code != DONE:
            return code
        size_bytes = _fetch(agent, job, target)
    finally:
        agent.close()
    plain = {"ok": True, "file": str(target), "size_bytes": size_bytes, "anonymised": args.anonymise}
    names = "names and addresses were replaced" if args.anonymise else "it names hosts and addresses"
    shell.result(plain, f"{target}: {size_text(size_bytes)}; no keys are in it, {names}.")
    return DONE


def _fetch(agent: Agent, job: str, target: Path) -> int:
    part = target.with_name(target.name + ".part")
    try:
        offset_bytes = _copy(agent, job, part)
        part.replace(target)
    except OSError as error:
        raise TwinhullError(
            f"The snapshot cannot be written to {target}: {error.strerror}.",
            "Name another place with --output.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return offset_bytes


def _copy(agent: Agent, job: str, part: Path) -> int:
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    offset_bytes = 0
    with os.fdopen(file, "wb") as stream:
        while True:
            answer = agent.call("snapshot_read", {"job": job, "offset": offset_bytes})
            data = base64.b64decode(answer["data_base64"], validate=True)
            stream.write(data)
            offset_bytes += len(data)
            if offset_bytes >= int(answer["size"]):
                return offset_bytes
            if not data:
                raise TwinhullError("The agent's snapshot ended early.", "Make it again.")
