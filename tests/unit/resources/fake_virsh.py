"""A libvirt in memory behind virsh's command line, with the answers that virsh 9.0 gives."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinhull.resources.run import CommandTimeoutError, Completed, run_command

UUID = "6a1f5d52-0f3b-4a0f-9d43-3f2f6cdb9a01"


@dataclass
class Domain:
    definition: str
    state: str = "shut off (unknown)"
    autostart: bool = False
    managed_save: bool = False
    emulator: subprocess.Popen[bytes] | None = None


@dataclass
class FakeVirsh:
    """Implements `Run`. Every running domain has a real process with the emulator's command line.

    Attributes:
        silent: libvirt answers nothing.
        deaf_guest: guests do not shut down.
        agent: the guest agent is connected.
        fail: virsh commands that fail.
        refuse_kill: `destroy` leaves the process.
    """

    domains: dict[str, Domain] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    silent: bool = False
    deaf_guest: bool = False
    agent: bool = False
    fail: set[str] = field(default_factory=set)
    networks: dict[str, str] = field(default_factory=dict)
    capabilities: str = "<domainCapabilities/>"
    on_call: Callable[[list[str]], None] = lambda _words: None

    def __call__(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        if argv[0] != "virsh":
            return run_command(argv, timeout_s=timeout_s)
        assert list(argv[1:4]) == ["-q", "-c", "qemu:///system"]
        words = list(argv[4:])
        self.calls.append(words)
        self.on_call(words)
        if self.silent:
            raise CommandTimeoutError(f"The command {' '.join(argv[:6])} did not end within {timeout_s:g} s.")
        if words[0] in self.fail:
            return Completed(1, "", f"error: Failed to {words[0]}\nerror: internal error: told to fail\n\n")
        answer: Completed = getattr(self, "_" + words[0].replace("-", "_"))(*words[1:])
        return answer

    def named(self, command: str) -> list[list[str]]:
        return [words for words in self.calls if words[0] == command]

    def close(self) -> None:
        for domain in self.domains.values():
            self.end(domain)

    def end(self, domain: Domain, state: str = "shut off (destroyed)") -> None:
        if domain.emulator is not None:
            domain.emulator.kill()
            domain.emulator.wait()
            domain.emulator = None
            domain.state = state

    def boot(self, name: str, reason: str = "booted") -> None:
        domain = self.domains[name]
        definition = ET.fromstring(domain.definition)
        uuid = definition.findtext("uuid") or ""
        disks = [f'{{"filename":"{disk.get("file")}"}}' for disk in definition.iterfind(".//disk/source")]
        # the words after sleep's own stand for the emulator's command line
        program = ["-c", "read line", "-name", f"guest={name},debug-threads=on", "-uuid", uuid]
        program += ["-blockdev", *disks]
        domain.emulator = subprocess.Popen(["bash", *program], stdin=subprocess.PIPE)
        domain.state = f"running ({reason})"

    def _domain(self, name: str) -> Domain | None:
        domain = self.domains.get(name)
        if domain is not None and domain.emulator is not None and domain.emulator.poll() is not None:
            domain.emulator = None
            domain.state = "shut off (crashed)"
        return domain

    def _missing(self, name: str) -> Completed:
        return Completed(1, "", f"error: failed to get domain '{name}'\n\n")

    def _list(self, *_words: str) -> Completed:
        return Completed(0, "".join(f"{name}\n" for name in self.domains) + "\n", "")

    def _nodeinfo(self) -> Completed:
        return Completed(0, "CPU model:           x86_64\nCPU(s):              2\n", "")

    def _domuuid(self, name: str) -> Completed:
        return Completed(0, f"{ET.fromstring(self.domains[name].definition).findtext('uuid')}\n\n", "")

    def _domstate(self, name: str, *_words: str) -> Completed:
        domain = self._domain(name)
        return self._missing(name) if domain is None else Completed(0, f"{domain.state}\n\n", "")

    def _dominfo(self, name: str) -> Completed:
        domain = self.domains[name]
        enabled = "enable" if domain.autostart else "disable"
        saved = "yes" if domain.managed_save else "no"
        return Completed(
            0, f"Name:           {name}\nAutostart:      {enabled}\nManaged save:   {saved}\n", ""
        )

    def _dumpxml(self, name: str, *_words: str) -> Completed:
        domain = self._domain(name)
        if domain is None:
            return self._missing(name)
        text = domain.definition
        if "--inactive" not in _words and self.agent:
            text = text.replace("org.qemu.guest_agent.0'", "org.qemu.guest_agent.0' state='connected'")
        return Completed(0, text, "")

    def _define(self, path: str) -> Completed:
        text = Path(path).read_text()
        name = ET.fromstring(text).findtext("name") or ""
        if name in self.domains:
            self.domains[name].definition = text
        else:
            self.domains[name] = Domain(text)
        return Completed(0, f"Domain '{name}' defined from {path}\n\n", "")

    def _undefine(self, name: str, *_words: str) -> Completed:
        del self.domains[name]
        return Completed(0, "", "")

    def _autostart(self, name: str, *words: str) -> Completed:
        self.domains[name].autostart = "--disable" not in words
        return Completed(0, "", "")

    def _start(self, name: str, *words: str) -> Completed:
        assert words == ("--force-boot",)
        self.boot(name)
        return Completed(0, "", "")

    def _restore(self, path: str, *_words: str) -> Completed:
        self.boot(next(iter(self.domains)), "restored")
        return Completed(0, "", "")

    def _save(self, name: str, path: str) -> Completed:
        Path(path).write_bytes(b"LibvirtQemudSave and the memory")
        self.end(self.domains[name], "shut off (saved)")
        return Completed(0, "", "")

    def _shutdown(self, name: str, *_words: str) -> Completed:
        if not self.deaf_guest:
            self.end(self.domains[name], "shut off (shutdown)")
        return Completed(0, "", "")

    def _destroy(self, name: str) -> Completed:
        domain = self._domain(name)
        if domain is None or domain.emulator is None:
            return Completed(1, "", "error: Requested operation is not valid: domain is not running\n\n")
        self.end(domain)
        return Completed(0, "", "")

    def _suspend(self, name: str) -> Completed:
        self.domains[name].state = "paused (user)"
        return Completed(0, "", "")

    def _resume(self, name: str) -> Completed:
        self.domains[name].state = "running (unpaused)"
        return Completed(0, "", "")

    def _domjobabort(self, _name: str) -> Completed:
        return Completed(1, "", "error: Requested operation is not valid: no job is active on the domain\n\n")

    def _snapshot_list(self, *_words: str) -> Completed:
        return Completed(0, "", "")

    def _secret_list(self) -> Completed:
        return Completed(0, " UUID   Usage\n---------------\n\n", "")

    def _net_info(self, name: str) -> Completed:
        if name not in self.networks:
            return Completed(1, "", f"error: failed to get network '{name}'\n\n")
        return Completed(0, self.networks[name], "")

    def _domcapabilities(self, *_words: str) -> Completed:
        return Completed(0, self.capabilities, "")
