"""Speaks as powershell/host.ps1 does, over two inherited handles; what it is asked to do is not PowerShell's to do."""

from __future__ import annotations

import json
import msvcrt
import os
import struct
import subprocess
import sys
import time
from typing import IO, Any

HEAD = struct.Struct("<I")


def opened(option: str, mode: str) -> IO[bytes]:
    """The inherited handle that an option names."""
    handle = int(sys.argv[sys.argv.index(option) + 1])
    return os.fdopen(msvcrt.open_osfhandle(handle, 0), mode)  # type: ignore[attr-defined, unused-ignore]


def tell(replies: IO[bytes], message: dict[str, Any]) -> None:
    """One frame."""
    body = json.dumps(message).encode()
    replies.write(HEAD.pack(len(body)) + body)
    replies.flush()


def can_write(handle: int) -> bool:
    """Whether a number is a handle of this process that takes a byte."""
    try:
        os.write(msvcrt.open_osfhandle(handle, 0), b"!")  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False
    return True


def main() -> None:
    """Answer until the pipe ends."""
    requests, replies = opened("-RequestHandle", "rb"), opened("-ReplyHandle", "wb")
    tell(replies, {"version": "9.9"})
    while head := requests.read(HEAD.size):
        asked = json.loads(requests.read(HEAD.unpack(head)[0]))
        function, arguments = asked["function"].lstrip("="), asked["arguments"]
        value: Any = arguments
        if function == "Hang":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            with open(arguments["File"].lstrip("="), "w") as file:  # noqa: PTH123 - as little as can be is imported
                file.write(f"{os.getpid()} {child.pid}")
            time.sleep(1000)
        elif function == "Leave":
            sys.stdout.write("the last words\n")
            sys.stdout.flush()
            sys.exit(7)
        elif function == "Write":
            value = can_write(arguments["Handle"])
        tell(replies, {"id": asked["id"], "value": value})


main()
