"""Windows paths as the model keys them. Pure."""

from __future__ import annotations

import ntpath
import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"%([^%]+)%")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`%NAME%` replaced, names in any case; an unknown name stays as it is written."""
    folded = {name.casefold(): value for name, value in environment.items()}
    return _VARIABLE.sub(lambda match: folded.get(match[1].casefold(), match[0]), text)


def normal(path: str) -> str:
    """An absolute path with backslashes, without a trailing one (but for `C:\\`).

    Raises ValueError when it is not absolute with a drive letter.
    """
    text = ntpath.normpath(path.strip().replace("/", "\\"))
    text = text.removeprefix("\\\\?\\")
    if len(text) < 2 or text[1] != ":":
        raise ValueError(f"'{path}' is no absolute Windows path")
    if len(text) == 2:
        text += "\\"
    return text[0].upper() + text[1:]


def key(path: str) -> str:
    """What two spellings of one path have in common."""
    return normal(path).casefold()


def parent(path: str) -> str:
    """The directory of a path; of a drive's root, the root itself."""
    return ntpath.dirname(normal(path))


def name(path: str) -> str:
    """The last part of a path."""
    return ntpath.basename(normal(path))


def join(directory: str, *parts: str) -> str:
    """Parts below a directory."""
    return normal(ntpath.join(directory, *parts))


def is_root(path: str) -> bool:
    """Whether a path is that of a drive."""
    return len(normal(path)) == 3
