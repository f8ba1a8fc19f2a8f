"""Calls of our PowerShell functions for machines of Hyper-V: arguments in, typed answers out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from twinhull.errors import PowerShellError, PowerShellGoneError, PowerShellTimeoutError, ResourceError
from twinhull.powershell import PowerShell, Value

from . import hyperv_parse as parse
from .hyperv_parse import HostFacts, Incompatibility, Machine, MachineState

T = TypeVar("T")


class HyperVError(ResourceError):
    """Hyper-V did not do it.

    Args:
        category: see PowerShellError.
        unknown: whether it may have been done nevertheless: the state has to be read again.
    """

    def __init__(
        self, what: str, remedy: str = "", *, category: str = "failed", unknown: bool = False
    ) -> None:
        super().__init__(what, remedy)
        self.category = category
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Registration:
    """How an import went.

    Args:
        registered: whether the machine is registered now.
        identifier: the machine's.
        repaired: what was changed for it, in words.
        incompatible: what speaks against it.
    """

    registered: bool
    identifier: str
    repaired: tuple[str, ...]
    incompatible: tuple[Incompatibility, ...]


class HyperVHost:
    """The Hyper-V of this host.

    Args:
        shell: runs our PowerShell functions.
        query_s: seconds of a question.
        change_s: seconds of a change that has no deadline of its own.
    """

    def __init__(self, shell: PowerShell, *, query_s: float = 20.0, change_s: float = 120.0) -> None:
        self._shell = shell
        self._query_s = query_s
        self._change_s = change_s

    # ---- questions -----------------------------------------------------------------------------------

    def state(self, identifier: str) -> MachineState:
        """What a machine does. Raises HyperVError."""
        return self._ask(parse.parse_state, "Get-TwinhullVmState", {"Id": identifier})

    def machines(self, folder: str = "") -> tuple[MachineState, ...]:
        """All machines, or those whose configuration lies below a folder. Raises HyperVError."""
        return self._ask(parse.parse_states, "Get-TwinhullVmList", {"Folder": folder})

    def machine(self, *, identifier: str = "", name: str = "") -> Machine:
        """Everything of one machine, by identifier or by a name that is unique. Raises HyperVError."""
        return self._ask(parse.parse_machine, "Get-TwinhullVm", {"Id": identifier, "Name": name})

    def description(self, *, identifier: str = "", name: str = "") -> tuple[Machine, str]:
        """The machine, and the JSON of it that another node can judge. Raises HyperVError."""

        def parsed(value: Value) -> tuple[Machine, str]:
            return parse.parse_machine(value), json.dumps(value)

        return self._ask(parsed, "Get-TwinhullVm", {"Id": identifier, "Name": name})

    def facts(self) -> HostFacts:
        """What the host offers. Raises HyperVError."""
        return self._ask(parse.parse_host, "Get-TwinhullHypervisor", {})

    def management_runs(self) -> bool:
        """Whether vmms runs; asked of the service manager, not of it. Raises HyperVError."""
        return self._ask(lambda value: str(value["status"]) == "Running", "Get-TwinhullManagement", {})

    def configurations(self, folder: str) -> tuple[tuple[str, str], ...]:
        """Path and identifier of each machine's configuration below a folder. Raises HyperVError."""
        return self._ask(parse.parse_files, "Get-TwinhullConfigurationFile", {"Folder": folder})

    def processes(self, identifier: str) -> tuple[int, ...]:
        """The machine's worker processes. Raises HyperVError."""
        return self._ask(
            lambda v: parse.numbers_of(v, "processes"), "Get-TwinhullVmProcess", {"Id": identifier}
        )

    def ending(self, identifier: str) -> str:
        """How the machine ended, in words. Raises HyperVError."""
        events = self._ask(
            lambda v: parse.numbers_of(v, "events"), "Get-TwinhullVmEnding", {"Id": identifier}
        )
        return parse.ending_of(events)

    def folder_bytes(self, folder: str) -> int:
        """Bytes of all files below a folder. Raises HyperVError."""
        return self._ask(lambda v: parse.number_of(v, "bytes"), "Get-TwinhullFolderSize", {"Folder": folder})

    # ---- changes of what runs ------------------------------------------------------------------------

    def start(self, identifier: str, timeout_s: float) -> MachineState:
        """Boot it, or let it go on from its saved state. Raises HyperVError."""
        return self._do(parse.parse_state, "Start-TwinhullVm", {"Id": identifier}, timeout_s)

    def save(self, identifier: str, timeout_s: float) -> MachineState:
        """Save its memory into its folder. Raises HyperVError."""
        return self._do(parse.parse_state, "Save-TwinhullVm", {"Id": identifier}, timeout_s)

    def suspend(self, identifier: str) -> None:
        """Pause it. Raises HyperVError."""
        self._do(parse.parse_state, "Suspend-TwinhullVm", {"Id": identifier})

    def resume(self, identifier: str) -> None:
        """Let it go on. Raises HyperVError."""
        self._do(parse.parse_state, "Resume-TwinhullVm", {"Id": identifier})

    def request_shutdown(self, identifier: str) -> int:
        """Ask the guest to shut down; 0 when it was asked, else the code of InitiateShutdown. Raises HyperVError."""
        answer = self._do(lambda value: value, "Request-TwinhullVmShutdown", {"Id": identifier})
        return 0 if answer.get("asked") else parse.number_of(answer, "code")

    def turn_off(self, identifier: str, timeout_s: float) -> MachineState:
        """Pull the plug; waits for no other change. Raises HyperVError."""
        return self._do(parse.parse_state, "Stop-TwinhullVm", {"Id": identifier}, timeout_s, urgent=True)

    def kill(self, identifier: str, timeout_s: float) -> tuple[int, ...]:
        """Kill its worker processes; asks nothing of Hyper-V. Raises HyperVError."""
        return self._do(
            lambda v: parse.numbers_of(v, "killed"),
            "Stop-TwinhullVmProcess",
            {"Id": identifier},
            timeout_s,
            urgent=True,
        )

    # ---- changes of what is registered ---------------------------------------------------------------

    def register(self, path: str) -> Registration:
        """Register the machine of a configuration where it lies. Raises HyperVError."""

        def parsed(value: Value) -> Registration:
            return Registration(
                bool(value.get("registered")),
                str(value.get("id", "")).lower(),
                parse.texts_of(value, "repaired"),
                parse.parse_incompatibilities(value),
            )

        return self._do(parsed, "Register-TwinhullVm", {"Path": path})

    def remove(self, identifier: str) -> MachineState:
        """Remove the registration; deletes what Hyper-V can reach of its configuration. Raises HyperVError."""
        return self._do(parse.parse_state, "Remove-TwinhullVm", {"Id": identifier})

    def restart_management(self) -> None:
        """Restart vmms. Raises HyperVError."""
        self._do(lambda value: value, "Restart-TwinhullManagement", {})

    def grant(self, identifier: str, folder: str) -> None:
        """Give the machine's own account access to its files. Raises HyperVError."""
        self._do(lambda value: value, "Grant-TwinhullVmAccess", {"Id": identifier, "Folder": folder})

    def set_policy(
        self,
        identifier: str,
        *,
        start_action: str = "Nothing",
        stop_action: str = "ShutDown",
        automatic_checkpoints: bool = False,
        addresses: Mapping[str, str] | None = None,
        migration_processor: bool | None = None,
    ) -> tuple[str, ...]:
        """Set what Hyper-V does by itself; tells what was not so before. Raises HyperVError."""
        arguments = {
            "Id": identifier,
            "StartAction": start_action,
            "StopAction": stop_action,
            "AutomaticCheckpoints": automatic_checkpoints,
            "Addresses": dict(addresses or {}),
            "MigrationProcessor": migration_processor,
        }
        return self._do(lambda value: parse.texts_of(value, "changed"), "Set-TwinhullVmPolicy", arguments)

    def discard_saved_state(self, identifier: str) -> MachineState:
        """Throw its saved memory away. Raises HyperVError."""
        return self._do(parse.parse_state, "Remove-TwinhullVmSavedState", {"Id": identifier})

    def eject(self, identifier: str, folder: str = "") -> tuple[str, ...]:
        """Eject images that do not lie below the folder; tells which. Raises HyperVError."""
        arguments = {"Id": identifier, "Folder": folder}
        return self._do(lambda value: parse.texts_of(value, "ejected"), "Clear-TwinhullVmDrive", arguments)

    def keep_copies(self, folder: str, target: str) -> tuple[str, ...]:
        """Copy configurations and guest state to another folder; tells what was too large. Raises HyperVError."""
        arguments = {"Folder": folder, "Target": target}
        return self._do(
            lambda value: parse.texts_of(value, "skipped"), "Copy-TwinhullConfiguration", arguments
        )

    def limit_copies(self, target: str, count: int) -> None:
        """Keep the newest copies alone. Raises HyperVError."""
        self._do(lambda value: value, "Limit-TwinhullKeptCopy", {"Target": target, "Count": count})

    # ---- changes of where it lies --------------------------------------------------------------------

    def move(self, identifier: str, target: str, timeout_s: float) -> MachineState:
        """Move all its files below `target`. Raises HyperVError."""
        return self._do(parse.parse_state, "Move-TwinhullVm", {"Id": identifier, "Target": target}, timeout_s)

    def export(self, identifier: str, target: str, timeout_s: float) -> tuple[tuple[str, str], ...]:
        """Write a copy below `target`; path and identifier of its configuration. Raises HyperVError."""
        return self._do(
            parse.parse_files, "Export-TwinhullVm", {"Id": identifier, "Target": target}, timeout_s
        )

    def restore_copies(self, source: str, folder: str) -> tuple[str, ...]:
        """Put kept copies back where nothing is in their place; tells which. Raises HyperVError."""
        arguments = {"Source": source, "Folder": folder}
        return self._do(
            lambda value: parse.texts_of(value, "restored"), "Restore-TwinhullConfiguration", arguments
        )

    def clear_target(self, target: str) -> None:
        """Remove what a move that was cut off left, unless a machine uses it. Raises HyperVError."""
        self._do(lambda value: value, "Clear-TwinhullMoveTarget", {"Target": target})

    def stamps(self, paths: tuple[str, ...]) -> dict[str, str]:
        """What tells of each file whether it was changed; empty for what is not there. Raises HyperVError."""

        def parsed(value: Value) -> dict[str, str]:
            files = value.get("files") or []
            return {str(f["path"]): "" if f["bytes"] < 0 else f"{f['bytes']} {f['changed']}" for f in files}

        return self._ask(parsed, "Get-TwinhullFileStamp", {"Paths": list(paths)})

    def remove_files(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Remove files; tells which were there. Raises HyperVError."""
        return self._do(
            lambda value: parse.texts_of(value, "removed"), "Remove-TwinhullFile", {"Paths": list(paths)}
        )

    # ---- inside --------------------------------------------------------------------------------------

    def _ask(self, parsed: Callable[[Value], T], function: str, arguments: Mapping[str, Value]) -> T:
        return self._call(
            parsed,
            function,
            lambda: self._shell.query(function, arguments, timeout_s=self._query_s),
            change=False,
        )

    def _do(
        self,
        parsed: Callable[[Value], T],
        function: str,
        arguments: Mapping[str, Value],
        timeout_s: float | None = None,
        *,
        urgent: bool = False,
    ) -> T:
        limit_s = self._change_s if timeout_s is None else timeout_s
        return self._call(
            parsed,
            function,
            lambda: self._shell.change(function, arguments, timeout_s=limit_s, urgent=urgent),
            change=True,
        )

    @staticmethod
    def _call(parsed: Callable[[Value], T], function: str, call: Callable[[], Value], *, change: bool) -> T:
        try:
            return parsed(call())
        except (PowerShellTimeoutError, PowerShellGoneError) as error:
            raise HyperVError(
                error.what, error.remedy, category="timeout", unknown=change and error.begun
            ) from error
        except PowerShellError as error:
            raise HyperVError(error.what, error.remedy, category=error.category) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HyperVError(f"The answer of {function} cannot be read: {error!r}.") from error
