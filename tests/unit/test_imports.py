"""Packages import only what the architecture allows, and core has no I/O, clock, thread or randomness."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "twinhull"
ROOT = Path(__file__).parents[2] / "agent" / PACKAGE

LEAF = ("core", "errors", "clock", "secrets_file", "spare", "windows")
ALLOWED: dict[str, tuple[str, ...] | None] = {
    "core": (),
    "errors": (),
    "spare": (),
    "clock": ("windows",),
    "installation": (),
    "secrets_file": ("windows",),
    "windows": ("errors",),
    "storage": LEAF,
    "transport": LEAF,
    "exports": LEAF,
    "powershell": ("errors",),
    "attach": (*LEAF, "powershell"),
    "resources": (*LEAF, "powershell"),
    "checkers": (*LEAF, "powershell"),
    "config": LEAF,
    "log": LEAF,
    "cli": ("core", "errors", "config", "log", "transport", "installation"),
    "console": ("core", "errors", "config", "log", "transport", "agent"),
    "worker": None,
    "agent": None,
}
"""What a part may import besides itself; None: everything."""

SHELL_ENTRIES = {("cli", "agent.main"), ("cli", "worker.main"), ("cli", "console.password")}
"""The command becomes the agent or a worker by importing its entry, and sets the console's password."""

PURE = "core"
NOT_PURE = frozenset(
    """asyncio concurrent ctypes datetime fcntl http io logging mmap multiprocessing os pathlib platform queue
    random sched secrets select selectors shutil signal socket socketserver ssl subprocess sys tempfile threading
    time urllib uuid""".split()  # noqa: SIM905
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})


def violations(root: Path) -> list[str]:
    """Every import that is not allowed in the tree of the package at `root`, as one sentence each."""
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        where = "/".join(parts)
        for module in sorted(set(imports(tree, parts))):
            found += judge(where, parts[0], module)
        if parts[0] == PURE:
            found += [f"{where} calls {name}()" for name in impure_calls(tree)]
    return found


def judge(where: str, part: str, module: str) -> Iterator[str]:
    top, _, rest = module.partition(".")
    if top != PACKAGE:
        if part == PURE and top in NOT_PURE:
            yield f"{where} imports {module}, but {PURE} has no I/O, clock, thread or randomness"
        return
    target = rest.partition(".")[0]
    if not target or target == part or part == "__init__":
        return
    if part not in ALLOWED:
        yield f"{where} belongs to no part that the architecture knows"
        return
    allowed = ALLOWED[part]
    entry = any(
        part == shell and (rest == name or rest.startswith(f"{name}.")) for shell, name in SHELL_ENTRIES
    )
    if allowed is not None and target not in allowed and target in ALLOWED and not entry:
        yield f"{where} imports {module}, but {part} may import only {', '.join((part, *allowed))}"


def imports(tree: ast.Module, parts: tuple[str, ...]) -> Iterator[str]:
    """Absolute names of what a module imports, also inside functions and by importlib."""
    package = (PACKAGE, *(parts[:-1]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *([node.module] if node.module else [])))
            yield prefix
            yield from (f"{prefix}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and dotted_name(node.value):
            yield node.value


def dotted_name(text: str) -> bool:
    """Whether it could be a module of ours handed to importlib."""
    return text.startswith(f"{PACKAGE}.") and all(name.isidentifier() for name in text.split("."))


def impure_calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.func.id


def test_the_packages_import_only_what_the_architecture_allows() -> None:
    assert len(list(ROOT.rglob("*.py"))) > 20
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("core/a.py", "from ..storage import base", "core/a imports twinhull.storage"),
        ("core/a.py", "from ..errors import ConfigError", "core/a imports twinhull.errors"),
        ("core/a.py", "import time", "core/a imports time"),
        ("core/a.py", "def f():\n    from os import path", "core/a imports os"),
        ("core/a.py", "open('/x')", "core/a calls open()"),
        ("storage/a.py", "import twinhull.transport.frames", "storage/a imports twinhull.transport.frames"),
        (
            "storage/deep/a.py",
            "from ...exports.base import Export",
            "storage/deep/a imports twinhull.exports.base",
        ),
        (
            "exports/fuse/__init__.py",
            "from ... import attach",
            "exports/fuse/__init__ imports twinhull.attach",
        ),
        ("attach/a.py", "from twinhull import worker", "attach/a imports twinhull.worker"),
        ("resources/a.py", "from ..config import load_node", "resources/a imports twinhull.config"),
        (
            "checkers/a.py",
            "import importlib\nimportlib.import_module('twinhull.resources')",
            "checkers/a imports twinhull.resources",
        ),
        ("cli/a.py", "from ..worker import loop", "cli/a imports twinhull.worker"),
        ("errors.py", "from .core import record", "errors imports twinhull.core"),
        ("strange/a.py", "from ..core import record", "strange/a belongs to no part"),
    ],
)
def test_a_violating_import_is_found(tmp_path: Path, path: str, text: str, expected: str) -> None:
    file = tmp_path / PACKAGE / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    found = violations(tmp_path / PACKAGE)
    assert found, "nothing was found"
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/a.py", "from . import record\nfrom .record import Record\nimport enum"),
        ("storage/a.py", "from ..core.record import Record\nfrom ..errors import DiskError\nimport os"),
        ("worker/a.py", "from ..storage import base\nfrom ..transport import frames"),
        ("cli/a.py", "import importlib\nimportlib.import_module('twinhull.agent.main')"),
        ("cli/a.py", "from .. import __version__"),
    ],
)
def test_an_allowed_import_is_not_blamed(tmp_path: Path, path: str, text: str) -> None:
    file = tmp_path / PACKAGE / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert violations(tmp_path / PACKAGE) == []
