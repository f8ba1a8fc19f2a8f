"""Frames between us and a PowerShell host: pure functions, nothing here reads or writes.

A frame is a length (4 bytes, little-endian) and that many bytes of UTF-8 JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from twinhull.errors import PowerShellError

HEAD = struct.Struct("<I")
LIMIT_BYTES = 16 * 1024 * 1024
DEFAULT_CATEGORY = "failed"

Value = Any
"""What JSON can hold."""


class Reply(NamedTuple):
    """One answer. `error` is None when the function returned `value`."""

    number: int
    value: Value
    error: PowerShellError | None


def encode(message: Mapping[str, Value]) -> bytes:
    """The frame of a message. Raises PowerShellError when it is too long."""
    body = json.dumps(message).encode("ascii")
    if len(body) > LIMIT_BYTES:
        raise PowerShellError(f"A request of {len(body)} bytes is too long for a PowerShell host.")
    return HEAD.pack(len(body)) + body


def encode_request(number: int, function: str, arguments: Mapping[str, Value]) -> bytes:
    """The frame that calls a function.

    Args:
        number: comes back in the reply.
        function: its name, such as `Get-TwinhullVm`.
        arguments: by parameter name, plain values. They travel as JSON, never as text of a script.

    Raises PowerShellError when it is too long, TypeError for what is no plain value.
    """
    return encode({"id": number, "function": mark(function), "arguments": mark(dict(arguments))})


def mark(value: Value) -> Value:
    """The value with `=` before each string: ConvertFrom-Json makes dates of strings that look like one."""
    if isinstance(value, str):
        return "=" + value
    if isinstance(value, Mapping):
        return {str(key): mark(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mark(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be told to a PowerShell host")


def decode(body: bytes) -> dict[str, Value]:
    """A message out of a frame's body. Raises PowerShellError for what is none."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise PowerShellError(f"A PowerShell host sent what is not JSON: {error}.") from error
    if not isinstance(message, dict):
        raise PowerShellError("A PowerShell host sent something else than an object.")
    return message


def parse_reply(message: Mapping[str, Value]) -> Reply:
    """The answer in a message. Raises PowerShellError for what is none."""
    number = message.get("id")
    if not isinstance(number, int):
        raise PowerShellError("A PowerShell host sent an answer without its number.")
    error = message.get("error")
    return Reply(number, message.get("value"), parse_error(error) if isinstance(error, Mapping) else None)


def parse_error(error: Mapping[str, Value]) -> PowerShellError:
    """An error of a host as one of ours, with its category, number and remedy."""
    message = str(error.get("message") or "The command failed and does not say why").rstrip(". ")
    return PowerShellError(
        f"{message}.",
        str(error.get("remedy") or ""),
        category=str(error.get("category") or DEFAULT_CATEGORY),
        identifier=str(error.get("id") or ""),
        number=str(error.get("number") or ""),
        place=" / ".join(str(error.get("place") or "").split("\n")),
    )
