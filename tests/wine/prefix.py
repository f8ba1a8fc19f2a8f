"""One host's Windows: a copy of a template, with drives, programs that run in it, and a clean end."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from . import template
from .session import Ran, Session, WineError

REPOSITORY_DRIVE = "r:"
REPOSITORY_PATHS = (r"R:\agent", "R:\\")


class Prefix:
    """A Windows of its own.

    Only drive C: and the repository (R:) are there; the machine's files are not (Wine's usual Z: is taken away).

    Args:
        directory: where the copy goes; it must not exist yet.
        source: a template, of `template.bare()` or `template.python()`.
        enter: a command that runs its arguments elsewhere, as `ip netns exec NAME`, `nsenter ...`.
        repository: whether R: is there.
    """

    def __init__(
        self, directory: Path, source: Path, *, enter: tuple[str, ...] = (), repository: bool = True
    ) -> None:
        self.directory = directory
        template.copy_tree(source, directory)
        if repository:
            (directory / "dosdevices" / REPOSITORY_DRIVE).symlink_to(template.ROOT)
        self.session = Session(directory, enter)

    def start(self) -> None:
        """Boot: the wineserver, the service manager, services that start by themselves.

        Raises:
            WineError: it did not come up.
        """
        self.session.stay()
        self.session.run("wineboot", timeout_s=template.BOOT_TIMEOUT_S).require("booting the prefix")

    def stop(self) -> None:
        """End everything that runs in it; returns when nothing does."""
        self.session.end()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        shutil.rmtree(self.directory)

    def run(self, *argv: str, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None) -> Ran:
        """Run a Windows program to its end.

        Raises:
            WineError: it did not end in time.
        """
        return self.session.run("wine", *argv, timeout_s=timeout_s, environment=environment)

    def python(
        self, *arguments: str, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run the template's Python, which imports the checkout's `twinhull` and `tests`.

        Raises:
            WineError: it did not end in time.
        """
        more = {"PYTHONPATH": ";".join(REPOSITORY_PATHS), "PYTHONDONTWRITEBYTECODE": "1"}
        program = rf"{template.PYTHON_DIRECTORY}\python.exe"
        return self.run(program, *arguments, timeout_s=timeout_s, environment={**more, **(environment or {})})

    def pytest(self, *arguments: str, timeout_s: float = 900.0) -> Ran:
        """Run pytest inside; paths are the repository's, as `R:\\tests\\windows_python`.

        Raises:
            WineError: it did not end in time.
        """
        base = ("-m", "pytest", "-p", "no:cacheprovider", "--rootdir", "R:\\", "-c", r"R:\pyproject.toml")
        return self.python(*base, "-o", "pythonpath=", *arguments, timeout_s=timeout_s)

    def path(self, windows: str) -> Path:
        """Where a file of drive C: lies on this machine; `windows` as `C:\\ProgramData\\x`, names as they are written.

        Raises:
            WineError: it is not on drive C:.
        """
        drive, separator, rest = windows.partition("\\")
        if drive.upper() != "C:" or not separator:
            raise WineError(f"{windows} is not on drive C:")
        return self.directory.joinpath("drive_c", *rest.split("\\"))
