"""What the parser's tests read is what the module says: captured from the real engine with a stand-in host.

`TWINHULL_CAPTURE=1` writes the captured answers anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tests.standin.windows_host import needs_engine

from .hyperv_node import HOME, LONG_S, HyperVNode

pytestmark = needs_engine
CAPTURED = Path(__file__).parents[3] / "unit" / "resources" / "hyperv" / "captured"
NAME = '仮想 "web" O\'Brien'
_IDENTIFIER = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _plain(answer: object) -> Any:
    """The answer with identifiers that are the same in every run."""
    seen: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return seen.setdefault(match[0].lower(), f"{len(seen) + 1:08d}-0000-4000-8000-000000000000")

    return json.loads(_IDENTIFIER.sub(number, json.dumps(answer)))


def check(name: str, answer: object) -> None:
    """It is as it was captured."""
    path = CAPTURED / f"{name}.json"
    if os.environ.get("TWINHULL_CAPTURE"):
        path.write_text(json.dumps(_plain(answer), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert _plain(answer) == json.loads(path.read_text(encoding="utf-8")), "see TWINHULL_CAPTURE above"


def ask(node: HyperVNode, function: str, **arguments: str) -> Any:
    return node.shells.query(function, arguments, timeout_s=LONG_S)


def test_the_captured_answers_are_what_the_module_says(node: HyperVNode) -> None:
    identifier = node.make_vm("plain")
    node.type("New-VHD", Path=rf"{HOME}\base.vhdx", SizeBytes=1 << 30, Dynamic=True)
    node.type("New-VHD", Path=rf"{HOME}\data.vhdx", ParentPath=rf"{HOME}\base.vhdx", Differencing=True)
    node.type("Add-VMHardDiskDrive", VMName="plain", Path=rf"{HOME}\data.vhdx")
    node.type("Set-VMKeyProtector", VMName="plain", NewLocalKeyProtector=True)
    node.type("Enable-VMTPM", VMName="plain")
    node.type("Checkpoint-VM", Name="plain", SnapshotName="before")
    node.type("Rename-VM", Name="plain", NewName=NAME)
    check("machine", ask(node, "Get-TwinhullVm", Id=identifier))
    check("host", ask(node, "Get-TwinhullHypervisor"))
    check("list", ask(node, "Get-TwinhullVmList"))

    [file] = ask(node, "Get-TwinhullConfigurationFile", Folder=HOME)["files"]
    node.windows.path(rf"{HOME}\base.vhdx").unlink()
    node.windows.edit(lambda state: state.update(switches={}, supportedVersions=["8.0"]))
    node.windows.edit(lambda state: state["vms"].clear())
    check("comparison", ask(node, "Compare-TwinhullVm", Path=file["path"]))
