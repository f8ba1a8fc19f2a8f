"""Sites of stand-in hosts: made, served, put into an inventory, and played against.

with Fleet(directory, tls=True) as fleet:
    lyon = fleet.add_site("lyon")
    run = fleet.play("playbooks/status.yml")
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
import os
import resource
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import agent_service, bundle
from .argspec import Documentation
from .cluster import Cluster, Node
from .endpoint import Endpoint
from .machine import ModelMachine
from .model import HostState, Service, new_host
from .twinhull_cli import ETC

REPOSITORY = Path(__file__).resolve().parents[2]
USER = "Administrator"
PASSWORD = "Stand-in 'p@ss' %1"
INSTALLATION = r"C:\Program Files\Twinhull"
NETWORKS: dict[str, Any] = {
    "lan": {"roles": ["control", "heartbeat"]},
    "direct": {"roles": ["replication", "heartbeat"]},
}
DEFAULT_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a playbook: exit code, output, and the JSON of every task."""

    exit_code: int
    text: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def recap(self, host: str) -> dict[str, int]:
        """ok, changed, unreachable, failed, skipped, rescued, ignored of one host."""
        for line in self.text.splitlines():
            words = line.replace(" : ", " ").split()
            if words and words[0] == host and any(word.startswith("ok=") for word in words):
                return {
                    key: int(value)
                    for key, _, value in (word.partition("=") for word in words[1:])
                    if value.isdigit()
                }
        raise AssertionError(f"the recap does not name {host}:\n{self.text[-3000:]}")

    def changed(self) -> int:
        """Changes over all hosts."""
        return sum(
            int(part)
            for line in self.text.splitlines()
            if "unreachable=" in line
            for part in _numbers(line, "changed")
        )


def _numbers(line: str, name: str) -> list[str]:
    return [word.partition("=")[2] for word in line.split() if word.startswith(f"{name}=")]


@dataclass(slots=True)
class Site:
    """Two stand-in hosts of one cluster."""

    name: str
    cluster: Cluster
    hosts: dict[str, ModelMachine]
    ports: dict[str, int]
    modules: dict[str, Any]
    number: int
    addresses: dict[str, dict[str, str]]
    variables: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def a(self) -> ModelMachine:
        """The first node."""
        return self.hosts["a"]

    @property
    def b(self) -> ModelMachine:
        """The second node."""
        return self.hosts["b"]

    def problems(self) -> list[str]:
        """What the stand-in could not judge, and arguments that no documentation knows."""
        return [
            f"{self.name}-{node}: {text}"
            for node, host in self.hosts.items()
            for text in (*host.records.unknown, *host.records.bad_arguments)
        ]


MakeHost = Callable[[HostState, Documentation, Cluster, str], ModelMachine]


def default_module(name: str = "VM1", number: int = 1, preferred: str = "a") -> dict[str, Any]:
    """A Hyper-V VM in a folder of its own on D."""
    return {
        "number": number,
        "size": "64 GiB",
        "folder": rf"D:\Twinhull\{name}",
        "preferred": preferred,
        "resource": {"kind": "hyperv"},
    }


class Fleet:
    """Any number of sites behind one endpoint.

    Args:
        directory: for the inventory, certificates and reports.
        tls: HTTPS with a certificate that Ansible checks; plain HTTP otherwise.
        clock: epoch seconds for the hosts.
    """

    def __init__(self, directory: Path, *, tls: bool = True) -> None:
        self.directory = directory
        self.sites: dict[str, Site] = {}
        self.documentation = Documentation(REPOSITORY, _documentation_cache())
        self.ca = directory / "winrm-ca.pem"
        self._tls = tls
        self._endpoint = Endpoint(_server_context(directory, self.ca) if tls else None)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endpoint.close()

    def add_site(
        self,
        name: str,
        *,
        edition: str = "2022",
        modules: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        make_host: MakeHost = ModelMachine,
    ) -> Site:
        """A site of two fresh hosts, which get ports of their own.

        Args:
            name: of the site.
            edition: of Windows.
            modules: the modules of its configuration; None for one VM.
            tags: of the inventory.
            make_host: what a host is made by: from its state, the documentation, the cluster and the node's name.
        """
        number = len(self.sites) + 1
        cluster = Cluster(name, {node: Node(node) for node in ("a", "b")})
        hosts, ports = {}, {}
        for index, node in enumerate(("a", "b"), 11):
            third, fourth = divmod(number, 200)
            state = new_host(
                f"{name}-{node}", edition, f"10.{third}.{fourth}.{index}", f"192.168.{number % 250}.{index}"
            )
            hosts[node] = make_host(state, self.documentation, cluster, node)
            ports[node] = self._endpoint.add(hosts[node], USER, PASSWORD)
        chosen = dict(modules) if modules is not None else {"VM1": default_module()}
        addresses = {
            node: {"lan": host.state.interfaces[0].address, "direct": host.state.interfaces[1].address}
            for node, host in hosts.items()
        }
        site = Site(name, cluster, hosts, ports, chosen, number, addresses, tags=dict(tags or {}))
        self.sites[name] = site
        return site

    def inventory(self) -> Path:
        """Write sites.yml and the connection's variables; returns the inventory's directory."""
        target = self.directory / "inventory"
        (target / "group_vars").mkdir(parents=True, exist_ok=True)
        rings = list(dict.fromkeys(site.tags["ring"] for site in self.sites.values() if "ring" in site.tags))
        sites = {
            "plugin": "twinhull.ha.sites",
            **({"rings": rings} if rings else {}),
            "defaults": {
                "platform": "windows",
                "networks": NETWORKS,
                "control_addresses": ["10.0.0.0/8"],
            },
            "sites": {name: self._site_of_inventory(site) for name, site in self.sites.items()},
        }
        (target / "sites.yml").write_text(yaml.safe_dump(sites, sort_keys=False))
        variables = {
            "ansible_connection": "winrm",
            "ansible_user": USER,
            "ansible_password": PASSWORD,
            "ansible_winrm_scheme": "https" if self._tls else "http",
            "ansible_winrm_transport": "basic",
            "ansible_winrm_operation_timeout_sec": 20,
            "ansible_winrm_read_timeout_sec": 60,
        }
        if self._tls:
            variables |= {
                "ansible_winrm_server_cert_validation": "validate",
                "ansible_winrm_ca_trust_path": str(self.ca),
            }
        (target / "group_vars" / "twinhull.yml").write_text(yaml.safe_dump(variables))
        return target

    def _site_of_inventory(self, site: Site) -> dict[str, Any]:
        nodes = {
            node: {
                "addresses": site.addresses[node],
                "host": "127.0.0.1",
                "vars": {"ansible_port": site.ports[node]},
            }
            for node in site.hosts
        }
        made: dict[str, Any] = {"nodes": nodes, "modules": site.modules}
        if site.tags:
            made["tags"] = site.tags
        if site.variables:
            made["vars"] = site.variables
        return made

    def plain_inventory(self) -> Path:
        """An inventory without our plugin: every host by its name, for plays with plain modules."""
        hosts = {
            f"{name}-{node}": {
                "ansible_host": "127.0.0.1",
                "ansible_port": site.ports[node],
                "twinhull_site": name,
            }
            for name, site in self.sites.items()
            for node in site.hosts
        }
        self.inventory()
        variables = yaml.safe_load((self.directory / "inventory" / "group_vars" / "twinhull.yml").read_text())
        path = self.directory / "plain.yml"
        path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
        return path

    def play(
        self,
        playbook: Path | str,
        *options: str,
        extra: Mapping[str, Any] | None = None,
        inventory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Run:
        """Run a playbook to its end.

        Args:
            playbook: path in the repository, or absolute.
            options: of ansible-playbook.
            extra: extra variables.
            inventory: default: `inventory()`.
            timeout_s: the run is killed after it.
        """
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            str(inventory or self.inventory()),
            str(REPOSITORY / playbook),
            *options,
        ]
        if extra:
            command += ["-e", json.dumps(dict(extra))]
        ran = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={
                **os.environ,
                **_ENVIRONMENT,
                "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Run(ran.returncode, ran.stdout)

    def problems(self) -> list[str]:
        """Of all sites."""
        return [text for site in self.sites.values() for text in site.problems()]


def _documentation_cache() -> Path:
    """Where the documentation of the packaged collections is kept, by their version."""
    return REPOSITORY / "build" / "standin" / f"documentation-{metadata.version('ansible')}.json"


_ENVIRONMENT = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "PYTHONWARNINGS": "ignore",
}


def _server_context(directory: Path, ca_path: Path) -> ssl.SSLContext:
    """A server certificate for 127.0.0.1 by an authority of its own; the authority's certificate goes to `ca_path`."""
    directory.mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in authority")])

    def builder(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=30))

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    host = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        builder(host, key.public_key())
        .add_extension(names, False)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    pair = directory / "winrm-server.pem"
    pair.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


def raise_file_limit(files: int = 8192) -> None:
    """Room for a socket of each host and its connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(files, hard) if hard != resource.RLIM_INFINITY else files
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def install_by_hand(site: Site, version: str = "0.1.0", *, protected: bool = True) -> None:
    """What the playbook install.yml leaves behind, for tests that begin with an installed site.

    Args:
        version: of the agent on both nodes.
        protected: every module is mirrored and runs on its preferred node.
    """
    plain = {
        "cluster": site.name,
        "nodes": {node: {"addresses": site.addresses[node]} for node in site.hosts},
        "networks": NETWORKS,
        "modules": site.modules,
    }
    for node, host in site.hosts.items():
        files = host.state.files
        target = rf"{INSTALLATION}\versions\{version}\python"
        for directory in (
            rf"{target}\Lib\site-packages\twinhull",
            rf"{ETC}\pki",
            rf"{ETC}\data",
            rf"{ETC}\log",
        ):
            files.make_directory(directory)
        files.write(rf"{target}\python.exe", b"MZ")
        files.write(
            rf"{target}\Lib\site-packages\twinhull\__init__.py", f'__version__ = "{version}"\n'.encode()
        )
        files.link(rf"{INSTALLATION}\current", rf"{INSTALLATION}\versions\{version}")
        files.write(rf"{ETC}\node.yml", yaml.safe_dump({"node": node}).encode())
        files.write(rf"{ETC}\cluster.yml", yaml.safe_dump(plain, sort_keys=False).encode())
        for name in agent_service.KEYS:
            files.write(rf"{ETC}\pki\{name}", b"-----BEGIN CERTIFICATE-----\n")
        marker = {"version": version, "wheel_sha256": hashlib.sha256(bundle.own_wheel(version)).hexdigest()}
        files.write(rf"{INSTALLATION}\versions\{version}\complete.json", json.dumps(marker).encode())
        program = rf'"{target}\python.exe" -m twinhull.agent.windows_service'
        service = Service(
            "twinhull-agent", "Twinhull Agent", program, start_mode="auto", dependencies=("MSiSCSI",)
        )
        host.state.services["twinhull-agent"] = service
        problem = host.start_service(host.state, "twinhull-agent")
        if problem:
            raise AssertionError(f"{site.name}-{node}: {problem}")
    if protected:
        site.cluster.protect_all()
