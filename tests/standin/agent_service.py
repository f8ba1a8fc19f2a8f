"""Services of the model, and what the service `twinhull-agent` needs to come up."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from twinhull.errors import ConfigError

from . import paths, twinhull_cli
from .model import HostState

if TYPE_CHECKING:
    from .machine import ModelMachine

SERVICE = "twinhull-agent"
_PROGRAM = re.compile(r'^\s*(?:"([^"]+)"|(\S+))\s*(.*)$')
_VERSION = re.compile(r"^__version__\s*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)
KEYS = ("ca.crt", "node.crt", "node.key")


def start(machine: ModelMachine, host: HostState, name: str) -> str:
    """Start a service after those it depends on; returns why it did not, or an empty text."""
    service = host.services[name.casefold()]
    if service.state == "started":
        return ""
    if service.start_mode == "disabled":
        return "The service cannot be started, either because it is disabled or because it has no enabled devices."
    for needed in service.dependencies:
        if needed.casefold() not in host.services:
            return f"The dependency service {needed} does not exist or has been marked for deletion."
        problem = start(machine, host, needed)
        if problem:
            return f"The dependency service or group failed to start. ({needed}: {problem})"
    problem = _agent_comes_up(machine, host) if name.casefold() == SERVICE and host is machine.state else ""
    if problem:
        host.events.append(f"Application/{name}: {problem}")
        return problem
    host.services[name.casefold()] = replace(service, state="started")
    return ""


def stop(machine: ModelMachine, host: HostState, name: str) -> None:
    """Stop a service, and first those that depend on it."""
    key = name.casefold()
    for other in list(host.services.values()):
        if other.state == "started" and key in (needed.casefold() for needed in other.dependencies):
            stop(machine, host, other.name)
    host.services[key] = replace(host.services[key], state="stopped")
    if key == SERVICE and machine.cluster is not None and host is machine.state:
        machine.cluster.agent_stopped(machine.node)


def _agent_comes_up(machine: ModelMachine, host: HostState) -> str:
    """Whether the agent starts with what lies on the host: program, package, configuration, keys."""
    service = host.services[SERVICE]
    match = _PROGRAM.match(service.path)
    program = (match[1] or match[2]) if match else service.path
    entry = host.files.follow(program)
    if entry is None or entry.is_directory:
        return f"The system cannot find the file specified. ({program})"
    version = installed_version(host, program)
    if version is None:
        return "The service did not respond to the start or control request in a timely fashion. (No module named twinhull)"
    if package_text(host, program, "__init__.py").find("BROKEN") >= 0:
        return "The service did not respond to the start or control request in a timely fashion. (the agent ended)"
    try:
        node = twinhull_cli.node_of(host)
        config = twinhull_cli.configuration_of(host)
    except ConfigError as error:
        return f"The service terminated with the following error: {error}"
    missing = [key for key in KEYS if host.files.follow(rf"{twinhull_cli.ETC}\pki\{key}") is None]
    if missing:
        return f"The service terminated with the following error: there is no {', '.join(missing)} in the pki directory."
    if machine.cluster is None or node not in machine.cluster.nodes or node != machine.node:
        return f"The service terminated with the following error: node {node!r} of node.yml is not this node."
    machine.cluster.agent_started(node, version, config)
    machine.cluster.booted(node)
    return ""


def package_text(host: HostState, program: str, name: str) -> str:
    """A file of the package beside a Python; empty when it is not there."""
    entry = host.files.follow(paths.join(paths.parent(program), r"Lib\site-packages\twinhull", name))
    return entry.content.decode() if entry is not None and entry.content is not None else ""


def installed_version(host: HostState, program: str) -> str | None:
    """The version of the package beside a Python; None when it is not installed there."""
    match = _VERSION.search(package_text(host, program, "__init__.py"))
    return match[1] if match else None
