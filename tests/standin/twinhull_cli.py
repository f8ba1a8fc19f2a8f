"""`twinhull` on a stand-in host: the real command line, parser and output, over the modelled agent and files."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twinhull.cli.main import main
from twinhull.cli.parser import build_parser
from twinhull.cli.shell import Agent, Shell
from twinhull.config import ClusterConfig, NodeConfig, to_yaml
from twinhull.errors import AgentDownError, ConfigError, TwinhullError
from twinhull.transport import pki

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
    out, err, words = io.StringIO(), io.StringIO(), list(argv)
    shell = ModelShell(out=out, err=err, ask=_nobody, interactive=False, colour=False, node_config=NO_FILE)
    shell.host, shell.cluster = host, cluster
    shell.pause = lambda _seconds: None
    applies = words[:2] == ["config", "apply"]
    own = next((done for names, done in _OWN.items() if tuple(words[: len(names)]) == names), None)
    text = ""
    try:
        if own is not None:
            build_parser().parse_args(words)
            plain, code = own(host, cluster, words, stdin)
            return Ran(code, json.dumps(plain, indent=2) + "\n")
        if applies:
            words, text = _configuration_given(host, words, stdin)
            translated = to_yaml(windows_config.parse(text, "the new configuration"))
            shell.stdin = lambda: translated
    except TwinhullError as error:
        return Ran(error.exit_code, json.dumps(_told(error), indent=2) + "\n")
    code = main(words, shell)
    said = out.getvalue().rstrip()
    if applies and code == 0 and ('"applied": true' in said or said.endswith("Applied.")):
        for name, store in cluster.stores.items():
            if cluster.nodes[name].up:
                store(text)
    return Ran(
        code, windows_config.to_windows(out.getvalue(), json=True), windows_config.to_windows(err.getvalue())
    )


def _told(error: TwinhullError) -> dict[str, Any]:
    return {
        "ok": False,
        "error": error.what,
        "message": error.what,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


def _nobody(_prompt: str) -> str:
    raise EOFError


def _configuration_given(host: HostState, words: list[str], stdin: bytes) -> tuple[list[str], str]:
    """The command with standard input in place of a file of the host, and the text. Raises ConfigError."""
    index = next((place for place, word in enumerate(words) if place > 1 and not word.startswith("--")), None)
    if index is None:
        return words, ""
    if words[index] != "-":
        return [*words[:index], "-", *words[index + 1 :]], _text(host, words[index])
    try:
        return words, stdin.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("Standard input is no UTF-8.", "") from error


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


def _pki_show(
    host: HostState, _cluster: Cluster, words: list[str], _stdin: bytes
) -> tuple[list[dict[str, Any]], int]:
    """The real look at certificates, at copies of the host's files."""
    names = [word for word in words[2:] if not word.startswith("--")]
    directory = names[0] if names else rf"{ETC}\pki"
    with tempfile.TemporaryDirectory(prefix="standin-pki-") as name:
        for entry in host.files.children(directory) if host.files.follow(directory) else []:
            if entry.content is not None:
                Path(name, paths.name(entry.path)).write_bytes(entry.content)
        found = pki.show(Path(name))
    return [_certificate(info, directory) for info in found], 0


def _certificate(info: pki.CertificateInfo, directory: str) -> dict[str, Any]:
    return {
        "path": paths.join(directory, Path(info.path).name),
        "kind": info.kind,
        "name": info.name,
        "cluster": info.cluster,
        "not_before": info.not_before.isoformat(),
        "not_after": info.not_after.isoformat(),
        "days_left": info.days_left,
        "expiring": info.expiring,
        "expired": info.expired,
        "fingerprint": info.fingerprint,
        "key_present": info.key_present,
    }


def _snapshot(
    host: HostState, cluster: Cluster, words: list[str], _stdin: bytes
) -> tuple[dict[str, Any], int]:
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
