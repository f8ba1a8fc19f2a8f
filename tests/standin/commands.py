"""Programs of a stand-in host, by name: each a small function on the model. An unknown one is a failure that tests see."""

from __future__ import annotations

import hashlib
import io
import ntpath
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinhull.agent import initiator

from . import agent_service, paths, twinhull_cli
from .files import FileSystemError
from .model import HostState, set_hibernation
from .registry import ModelRegistry
from .seam import Command, Ran, UnknownWorkError

if TYPE_CHECKING:
    from .machine import ModelMachine

Program = Callable[["ModelMachine", HostState, Command], Ran]
_WHEEL = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)-.*\.whl$")


def split(command_line: str) -> tuple[str, ...]:
    """Arguments of a command line, by the rules of the Microsoft C run time."""
    words: list[str] = []
    word, quoted, slashes, begun = "", False, 0, False
    for char in command_line:
        if char == "\\":
            slashes += 1
            begun = True
            continue
        if char == '"':
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                quoted = not quoted
            slashes, begun = 0, True
            continue
        word += "\\" * slashes
        slashes = 0
        if char in " \t" and not quoted:
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word += char
            begun = True
    word += "\\" * slashes
    return (*words, word) if begun else tuple(words)


def known(program: str) -> bool:
    """Whether a name without a path is a program of the table."""
    return program.casefold().removesuffix(".exe") in _PROGRAMS


def run(machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """Run one program. Raises UnknownWorkError for one that is not in the table."""
    program = command.argv[0]
    name = ntpath.basename(program.replace("/", "\\")).casefold().removesuffix(".exe")
    if ":" in program:
        entry = host.files.follow(program)
        if entry is None and name not in _SYSTEM:
            return Ran(2, stderr="The system cannot find the file specified", found=False)
    found = _PROGRAMS.get(name)
    if found is None:
        raise UnknownWorkError(f"unknown program: {' '.join(command.argv)}")
    return found(machine, host, command)


# ---- Python --------------------------------------------------------------------------------------


def python(machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """`-m twinhull.cli`, `-m pip` (or a pip wheel), `--version`, `-m compileall`."""
    program, words = command.argv[0], list(command.argv[1:])
    if ":" not in program:
        return Ran(9009, stderr="Python was not found", found=False)
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c", "-V", "--version"):
        words = words[2:] if words[0] in ("-X", "-W") else words[1:]
    if not words or words[0] in ("-V", "--version"):
        return Ran(0, "Python 3.11.9\r\n")
    if words[0] == "-m":
        return _python_module(machine, host, command, words[1], words[2:])
    wheel = re.match(r"(?i)^(.*\\pip-[^\\]+\.whl)[\\/]pip$", words[0])
    if wheel:
        if host.files.follow(wheel[1]) is None:
            return Ran(2, stderr=f"can't open file '{words[0]}': [Errno 2] No such file or directory")
        return pip(machine, host, program, words[1:])
    raise UnknownWorkError(f"Python is to run {words!r}")


def _python_module(
    machine: ModelMachine, host: HostState, command: Command, module: str, words: list[str]
) -> Ran:
    program = command.argv[0]
    if module == "pip":
        if not _package(host, program, "pip"):
            return Ran(1, stderr=f"{program}: No module named pip")
        return pip(machine, host, program, words)
    if module in ("twinhull.cli", "twinhull"):
        if agent_service.installed_version(host, program) is None:
            return Ran(
                1,
                stderr=f"{program}: Error while finding module specification for 'twinhull.cli'",
            )
        if words == ["--version"]:
            return Ran(0, f"twinhull {agent_service.installed_version(host, program)}\r\n")
        if machine.cluster is None:
            raise UnknownWorkError("twinhull is asked on a host that is of no site")
        told = twinhull_cli.run(host, machine.cluster, words, command.stdin)
        return Ran(told.exit_code, told.stdout, told.stderr)
    if module == "twinhull.agent.initiator":
        return _initiator(host, words)
    if module == "compileall":
        return Ran(0)
    raise UnknownWorkError(f"Python is to run the module {module} {words!r}")


def _initiator(host: HostState, words: list[str]) -> Ran:
    """The real program, over the registry and the configuration of the stand-in."""
    code, text = initiator.answer(words, ModelRegistry(host), lambda: twinhull_cli.configuration_of(host))
    return Ran(code, stderr=text) if code else Ran(0, text)


def _package(host: HostState, program: str, name: str) -> bool:
    directory = paths.join(paths.parent(program), r"Lib\site-packages", name)
    return host.files.follow(directory) is not None


def pip(_machine: ModelMachine, host: HostState, program: str, words: list[str]) -> Ran:
    """install (from files alone), uninstall, list, freeze, check, --version."""
    words = [word for word in words if word not in _PIP_GLOBAL]
    if not words or words[0] in ("--version", "-V"):
        return Ran(0, "pip 25.0 from site-packages (python 3.11)\r\n")
    if words[0] in ("list", "freeze"):
        lines = [f"{name}=={version}" for name, version in sorted(_installed(host, program).items())]
        return Ran(0, "\r\n".join(lines) + "\r\n")
    if words[0] == "check":
        return Ran(0, "No broken requirements found.\r\n")
    if words[0] != "install":
        raise UnknownWorkError(f"pip {words!r}")
    return _pip_install(host, program, words[1:])


_PIP_GLOBAL = frozenset({"--isolated", "--disable-pip-version-check", "--no-input", "--quiet", "-q"})


def _installed(host: HostState, program: str) -> dict[str, str]:
    found = {}
    site = paths.join(paths.parent(program), r"Lib\site-packages")
    if host.files.follow(site) is None:
        return {}
    for entry in host.files.children(site):
        match = re.match(r"^(.+)-([^-]+)\.dist-info$", paths.name(entry.path))
        if match:
            found[match[1].replace("_", "-").lower()] = match[2]
    return found


_VALUED = frozenset(
    {
        "--find-links",
        "-f",
        "--requirement",
        "-r",
        "--target",
        "-t",
        "--prefix",
        "--cache-dir",
        "--python",
        "--progress-bar",
    }
)


def _pip_install(host: HostState, program: str, words: list[str]) -> Ran:
    if "--no-index" not in words:
        return Ran(
            1,
            stderr="ERROR: Could not find a version: the host has no internet (use --no-index --find-links)",
        )
    links, requirements, wanted, index = [], [], [], 0
    while index < len(words):
        word = words[index]
        option, _, value = word.partition("=")
        if option in _VALUED:
            if not value:
                index += 1
                value = words[index]
            if option in ("--find-links", "-f"):
                links.append(value)
            elif option in ("--requirement", "-r"):
                requirements.append(value)
        elif not word.startswith("-"):
            wanted.append(word)
        index += 1
    try:
        needed = [_Requirement(name) for name in wanted]
        for path in requirements:
            needed += _read_requirements(host.files.text(path))
        if "--require-hashes" in words and any(not requirement.hashes for requirement in needed):
            return Ran(1, stderr="ERROR: Hashes are required in --require-hashes mode, but they are missing")
        return _install(host, program, links, needed)
    except FileSystemError as error:
        return Ran(1, stderr=f"ERROR: {error}")


@dataclass(frozen=True, slots=True)
class _Requirement:
    name: str
    version: str = ""
    hashes: frozenset[str] = frozenset()


def _read_requirements(text: str) -> list[_Requirement]:
    """The lines of a requirements file, joined where they go on."""
    found = []
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        match = re.match(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:==([^\s;]+))?", line)
        if match:
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
            found.append(_Requirement(match[1], match[2] or "", hashes))
    return found


def _install(host: HostState, program: str, links: list[str], needed: list[_Requirement]) -> Ran:
    wheels: dict[tuple[str, str], str] = {}
    for directory in links:
        if host.files.follow(directory) is None:
            return Ran(1, stderr=f"ERROR: Location '{directory}' does not exist")
        for entry in host.files.children(directory):
            match = _WHEEL.match(paths.name(entry.path))
            if match:
                wheels[_normal(match["name"]), match["version"]] = entry.path
    site = paths.join(paths.parent(program), r"Lib\site-packages")
    done = []
    for requirement in needed:
        fitting = [
            path
            for (name, version), path in wheels.items()
            if name == _normal(requirement.name) and requirement.version in ("", version)
        ]
        if not fitting:
            return Ran(
                1,
                stderr=f"ERROR: No matching distribution found for {requirement.name}=={requirement.version}",
            )
        told = hashlib.sha256(host.files.read(fitting[0])).hexdigest()
        if requirement.hashes and told not in requirement.hashes:
            return Ran(
                1,
                stderr=f"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE: {requirement.name}",
            )
        done.append(_unpack(host, fitting[0], site))
    return Ran(0, f"Successfully installed {' '.join(done)}\r\n")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()


def _unpack(host: HostState, wheel: str, site: str) -> str:
    """Put a wheel's package markers in place: `__init__.py` files and metadata, which is all that the model asks for."""
    name = paths.name(wheel)
    with zipfile.ZipFile(io.BytesIO(host.files.read(wheel))) as archive:
        for item in archive.namelist():
            if item.count("/") == 1 and item.endswith(("/__init__.py", "/METADATA")):
                target = paths.join(site, item)
                host.files.make_directory(paths.parent(target))
                host.files.write(target, archive.read(item))
    return "-".join(name.split("-")[:2])


# ---- Windows' own --------------------------------------------------------------------------------

_TIMEOUTS = {"standby-timeout-ac": "standby_ac_min", "hibernate-timeout-ac": "hibernate_ac_min"}
_IGNORED = frozenset(
    {
        "standby-timeout-dc",
        "hibernate-timeout-dc",
        "monitor-timeout-ac",
        "monitor-timeout-dc",
        "disk-timeout-ac",
    }
)


def powercfg(_machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """/change, /hibernate, /getactivescheme, /a."""
    words = [word.casefold().replace("/", "-").lstrip("-") for word in command.argv[1:]]
    if words[:1] in (["hibernate"], ["h"]):
        set_hibernation(host, on=words[1] == "on")
        return Ran(0)
    if words[:1] in (["change"], ["x"]) and len(words) == 3:
        if words[1] in _TIMEOUTS:
            setattr(host.power, _TIMEOUTS[words[1]], int(words[2]))
        elif words[1] not in _IGNORED:
            return Ran(1, stderr='Invalid Parameters -- try "/?" for help')
        return Ran(0)
    if words == ["getactivescheme"]:
        return Ran(
            0, f"Power Scheme GUID: 381b4222-f694-41f0-9685-ff5bb260df2e  ({host.power.plan.title()})\r\n"
        )
    if words[:1] == ["q"] or words[:1] == ["query"]:
        minutes = host.power.hibernate_ac_min if "hibernateidle" in words else host.power.standby_ac_min
        seconds = f"0x{minutes * 60:08x}"
        lines = (
            "  Minimum Possible Setting: 0x00000000",
            "  Maximum Possible Setting: 0xffffffff",
            "  Possible Settings increment: 0x00000001",
            f"  Current AC Power Setting Index: {seconds}",
            f"  Current DC Power Setting Index: {seconds}",
        )
        return Ran(0, "\r\n".join(lines) + "\r\n")
    if words in (["a"], ["availablesleepstates"]):
        state = "Hibernate\r\n" if host.power.hibernation else ""
        return Ran(
            0, f"The following sleep states are available on this system:\r\n    Standby (S3)\r\n    {state}"
        )
    raise UnknownWorkError(f"powercfg {words!r}")


def shutdown(machine: ModelMachine, _host: HostState, command: Command) -> Ran:
    """/r reboots after the answer, /a finds nothing to abort."""
    words = {word.casefold().replace("-", "/") for word in command.argv[1:]}
    if "/a" in words:
        return Ran(
            1116, stderr="Unable to abort the system shutdown because no shutdown was in progress.(1116)"
        )
    if "/r" in words:
        machine.reboot()
    elif "/s" in words:
        machine.lose_power()
    return Ran(0)


def cmd(machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """`cmd /c`: mklink, rmdir and rd, echo, or another program."""
    words = [word for word in command.argv[1:] if word.casefold() not in ("/c", "/s", "/q", "/d")]
    if len(words) == 1:
        words = list(split(words[0]))
    if not words:
        return Ran(0)
    verb = words[0].casefold()
    if verb == "mklink":
        return _mklink(host, words[1:])
    if verb in ("rmdir", "rd"):
        gone = host.files.remove(words[-1])
        return Ran(0) if gone else Ran(2, stderr="The system cannot find the file specified.")
    if verb == "echo":
        return Ran(0, " ".join(words[1:]) + "\r\n")
    return run(machine, host, Command(tuple(words), command.stdin, command.directory, command.environment))


def _mklink(host: HostState, words: list[str]) -> Ran:
    options = [word.casefold() for word in words if word.startswith("/")]
    names = [word for word in words if not word.startswith("/")]
    if not {"/j", "/d"} & set(options) or len(names) != 2:
        raise UnknownWorkError(f"mklink {words!r}")
    try:
        host.files.link(names[0], names[1], "JunctionPoint" if "/j" in options else "SymbolicLink")
    except FileSystemError as error:
        return Ran(1, stderr=str(error))
    return Ran(0, f"Junction created for {names[0]} <<===>> {names[1]}\r\n")


def hostname(_machine: ModelMachine, host: HostState, _command: Command) -> Ran:
    """The computer's name."""
    return Ran(0, f"{host.hostname}\r\n")


def whoami(_machine: ModelMachine, host: HostState, _command: Command) -> Ran:
    """The administrator."""
    return Ran(0, f"{host.hostname.lower()}\\administrator\r\n")


def icacls(_machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """Access rules of a path: /inheritance:r, /grant[:r], /remove."""
    words = list(command.argv[1:])
    entry = host.files.find(words[0])
    if entry is None:
        return Ran(2, stderr=f"{words[0]}: The system cannot find the file specified.")
    rules, inherits = list(entry.rules), entry.inherits
    for word in words[1:]:
        if word.casefold().startswith("/inheritance:"):
            inherits = word.casefold().endswith(":e")
        elif not word.startswith("/"):
            user, _, rights = word.rpartition(":")
            rules = [rule for rule in rules if rule[0] != user.casefold()] + [
                (user.casefold(), "allow", rights)
            ]
    host.files.change(words[0], rules=tuple(rules), inherits=inherits)
    return Ran(
        0, f"processed file: {words[0]}\r\nSuccessfully processed 1 files; Failed processing 0 files\r\n"
    )


def sc(machine: ModelMachine, host: HostState, command: Command) -> Ran:
    """query, failureflag, sidtype: what the service modules do not do."""
    words = [word.casefold() for word in command.argv[1:]]
    service = host.services.get(words[1]) if len(words) > 1 else None
    if service is None:
        return Ran(1060, stderr="The specified service does not exist as an installed service.")
    if words[0] in ("failureflag", "sidtype", "preferrednode", "triggerinfo"):
        return Ran(0, "[SC] SUCCESS\r\n")
    if words[0] == "query":
        number = "4  RUNNING" if service.state == "started" else "1  STOPPED"
        return Ran(0, f"SERVICE_NAME: {service.name}\r\n        STATE              : {number}\r\n")
    raise UnknownWorkError(f"sc {words!r}")


def taskkill(machine: ModelMachine, _host: HostState, command: Command) -> Ran:
    """`/F /PID NUMBER` of a worker."""
    words = [word.casefold() for word in command.argv[1:]]
    if words[:2] != ["/f", "/pid"] or len(words) != 3:
        raise UnknownWorkError(f"taskkill {words!r}")
    if machine.cluster is None or not machine.cluster.worker_killed(machine.node, int(words[2])):
        return Ran(128, stderr=f'ERROR: The process "{words[2]}" not found.')
    return Ran(0, f"SUCCESS: The process with PID {words[2]} has been terminated.\r\n")


_PROGRAMS: dict[str, Program] = {
    "cmd": cmd,
    "hostname": hostname,
    "icacls": icacls,
    "powercfg": powercfg,
    "python": python,
    "sc": sc,
    "shutdown": shutdown,
    "taskkill": taskkill,
    "whoami": whoami,
}
_SYSTEM = frozenset(_PROGRAMS) - {"python"}
