"""Who sits at this process."""

from __future__ import annotations

import os

try:
    import pwd
except ImportError:  # Windows
    pwd = None  # type: ignore[assignment]


def who(default: str = "unknown") -> str:
    """The person at this process for the audit log: the login name, and who became root by sudo."""
    name = _login_name() or default
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {behind})" if behind and behind != name else name


def _login_name() -> str:
    if pwd is None:
        return os.environ.get("USERNAME", "")
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
