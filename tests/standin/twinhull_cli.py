"""`twinhull` on a stand-in host: the real command line, parser and output, over the modelled agent and files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509

from twinhull.cli.main import main
from twinhull.cli.parser import build_parser
from twinhull.cli.shell import Agent, Shell
from twinhull.config import ClusterConfig, NodeConfig, to_yaml
from twinhull.errors import AgentDownError, ConfigError, TwinhullError

from . import paths, windows_config
from .cluster import Cluster
from .files import FileSystemError
from .model import HostState

ETC = r"C:\ProgramData\Twinhull"
NO_FILE = Path("/nonexistent/twinhull/node.yml")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""


class ModelAgent:
    """The agent of one node, as the command line sees it."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    def call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As a connection to an agent. Raises AgentDownError, or what the agent told."""
        node = self._cluster.nodes[self._node]
        if not node.up or node.config is None:
            raise AgentDownError(
                f"No agent answers on node {self._node}: [WinError 10061] No connection could be made",
                "Look with: Get-Service twinhull-agent; start it with: Start-Service twinhull-agent",
            )
        if method == "config_show":
            return {"text": windows_config.to_windows(to_yaml(node.config)), "digest": node.config.digest()}
        if method == "config_apply":
            arguments = {**arguments, "config": windows_config.parse(str(arguments["text"]), "cluster.yml")}
        return self._cluster.call(self._node, method, arguments)

    def close(self) -> None:
        """Nothing is open."""


class ModelShell(Shell):
    """The surroundings of the command line on a stand-in host."""

    host: HostState
    cluster: Cluster

    def node(self) -> NodeConfig:
        """Raises ConfigError when there is no node.yml, or an invalid one."""
        return NodeConfig(node_of(self.host))

    def configuration(self) -> tuple[NodeConfig, ClusterConfig]:
        """Raises ConfigError."""
        return self.node(), configuration_of(self.host)

    def agent(self) -> Agent:
        """The agent of this node."""
        return ModelAgent(self.cluster, self.node().node)


def _text(host: HostState, path: str) -> str:
    try:
        return host.files.text(path)
    except (FileSystemError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "Run the playbook install.yml.") from error


def node_of(host: HostState) -> str:
    """The node's name in node.yml. Raises ConfigError."""
    plain = yaml.safe_load(_text(host, rf"{ETC}\node.yml"))
    if not isinstance(plain, dict) or not isinstance(plain.get("node"), str):
        raise ConfigError(rf"{ETC}\node.yml:1: 'node' is missing")
    return str(plain["node"])


def configuration_of(host: HostState) -> ClusterConfig:
    """What cluster.yml says. Raises ConfigError."""
    return windows_config.parse(_text(host, rf"{ETC}\cluster.yml"), rf"{ETC}\cluster.yml")


def run(host: HostState, cluster: Cluster, argv: Sequence[str], stdin: bytes) -> Ran:
    """Run the command line.

    Args:
        argv: without the program's name.
        stdin: what comes on standard input.
    """
    out, err = io.StringIO(), io.StringIO()
    shell = ModelShell(out=out, err=err, ask=_nobody, interactive=False, colour=False, node_config=NO_FILE)
    shell.host, shell.cluster = host, cluster
    shell.pause = lambda _seconds: None
    shell.stdin = lambda: _stdin_text(stdin)
    words = list(argv)
    own = next((done for names, done in _OWN.items() if tuple(words[: len(names)]) == names), None)
    try:
        if own is not None:
            build_parser().parse_args(words)
            plain, code = own(host, cluster, words, stdin)
            return Ran(code, json.dumps(plain, indent=2) + "\n")
        if words[:2] == ["config", "apply"]:
            words, shell.stdin = _apply_from_model(host, words, shell.stdin)
    except TwinhullError as error:
        plain = {
            "ok": False,
            "error": error.what,
            "message": error.what,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
        return Ran(error.exit_code, json.dumps(plain, indent=2) + "\n")
    code = main(words, shell)
    if words[:2] == ["config", "apply"] and code == 0 and "--dry-run" not in words:
        _store_configuration(cluster)
    return Ran(
        code, windows_config.to_windows(out.getvalue(), json=True), windows_config.to_windows(err.getvalue())
    )


def _nobody(_prompt: str) -> str:
    raise EOFError


def _stdin_text(stdin: bytes) -> str:
    """Standard input as the parser of Linux folders takes it. Raises ConfigError."""
    try:
        return windows_text(stdin.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError("Standard input is no UTF-8.", "") from error


def windows_text(text: str) -> str:
    """A configuration checked and translated for the agent of today. Raises ConfigError."""
    return to_yaml(windows_config.parse(text, "standard input"))


def _apply_from_model(host: HostState, words: list[str], stdin: Any) -> tuple[list[str], Any]:
    """A file on the host is read from the model and passed as standard input."""
    names = [index for index, word in enumerate(words) if index > 1 and not word.startswith("--")]
    if not names or words[names[0]] == "-":
        return words, stdin
    text = windows_text(_text(host, words[names[0]]))
    words[names[0]] = "-"
    return words, lambda: text


def _store_configuration(cluster: Cluster) -> None:
    for store in cluster.stores.values():
        store()


def _check(host: HostState, _cluster: Cluster, words: list[str], _stdin: bytes) -> tuple[dict[str, Any], int]:
    names = [word for word in words[2:] if not word.startswith("--")]
    path = names[0] if names else rf"{ETC}\cluster.yml"
    config = windows_config.parse(_text(host, path), path)
    return {"ok": True, "digest": config.digest(), "warnings": [], "changed": []}, 0


def _normalise(
    host: HostState, _cluster: Cluster, words: list[str], _stdin: bytes
) -> tuple[dict[str, Any], int]:
    path = next(word for word in words[2:] if not word.startswith("--"))
    config = windows_config.parse(_text(host, path), path)
    return {"text": windows_config.to_windows(to_yaml(config)), "digest": config.digest()}, 0


def _password(
    host: HostState, _cluster: Cluster, words: list[str], stdin: bytes
) -> tuple[dict[str, Any], int]:
    path, secret = rf"{ETC}\console.yml", stdin.decode().removesuffix("\n").removesuffix("\r")
    kept = host.files.find(path)
    salt = node_of(host)
    told = hashlib.scrypt(secret.encode(), salt=salt.encode(), n=2, r=8, p=1).hex()
    matches = kept is not None and yaml.safe_load(kept.content or b"").get("hash") == told
    if "--check" in words:
        return {
            "ok": matches,
            "is_set": kept is not None,
            "matches": matches,
            "message": "",
        }, 0 if matches else 1
    if not secret or "\n" in secret:
        raise TwinhullError("The password is empty or has a line break.", "Nothing was changed.")
    if not matches:
        host.files.write(path, yaml.safe_dump({"hash": told, "scheme": "scrypt"}).encode())
    return {
        "ok": True,
        "changed": not matches,
        "message": f"The password of the console of node {salt} is set.",
    }, 0


def _pki_show(host: HostState, _cluster: Cluster, words: list[str], _stdin: bytes) -> tuple[Any, int]:
    names = [word for word in words[2:] if not word.startswith("--")]
    directory = names[0] if names else rf"{ETC}\pki"
    shown = []
    for kind, name in (("ca", "ca.crt"), ("node", "node.crt"), ("operator", "operator.crt")):
        entry = host.files.follow(paths.join(directory, name))
        if entry is not None and entry.content:
            key = host.files.follow(paths.join(directory, f"{kind}.key"))
            shown.append(_certificate(entry.path, kind, entry.content, key is not None))
    return shown, 0


def _certificate(path: str, kind: str, pem: bytes, key_present: bool) -> dict[str, Any]:
    try:
        found = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise TwinhullError(f"{path} is no certificate: {error}") from error
    names = found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    organisation = found.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return {
        "path": path,
        "kind": kind,
        "name": str(names[0].value) if names else "",
        "cluster": str(organisation[0].value) if organisation else "",
        "not_before": found.not_valid_before_utc.isoformat(),
        "not_after": found.not_valid_after_utc.isoformat(),
        "days_left": 800,
        "expiring": False,
        "expired": False,
        "fingerprint": hashlib.sha256(found.public_bytes(_der())).hexdigest(),
        "key_present": key_present,
    }


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


def _snapshot(
    host: HostState, cluster: Cluster, words: list[str], _stdin: bytes
) -> tuple[dict[str, Any], int]:
    import tarfile

    options = build_parser().parse_args(words)
    if not cluster.nodes[node_of(host)].up:
        raise AgentDownError("No agent answers on this node.", "Start it with: Start-Service twinhull-agent")
    path = str(options.output or r"C:\Windows\Temp\twinhull-snapshot.tar.gz")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("node.yml", "cluster.yml"):
            content = host.files.read(rf"{ETC}\{name}")
            item = tarfile.TarInfo(f"snapshot/{name}")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    try:
        host.files.write(path, buffer.getvalue())
    except FileSystemError as error:
        raise TwinhullError(
            f"The snapshot cannot be written to {path}: {error}", "Name another place with --output."
        ) from error
    size_bytes = len(buffer.getvalue())
    return {"ok": True, "file": path, "size_bytes": size_bytes, "anonymised": bool(options.anonymise)}, 0


_OWN: dict[tuple[str, ...], Any] = {
    ("config", "check"): _check,
    ("config", "normalise"): _normalise,
    ("console", "password"): _password,
    ("pki", "show"): _pki_show,
    ("snapshot",): _snapshot,
}
