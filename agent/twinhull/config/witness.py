"""Reads the witness of a cluster's configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from ..core.record import WitnessKind
from .model import AttachKind, ModuleConfig, NodeAddresses, WitnessConfig
from .paths import Platform, platform_of, read_absolute_path
from .reader import Section, read_ip, suggestion
from .tree import Scalar

KIND_KEYS: dict[WitnessKind, tuple[str, ...]] = {
    WitnessKind.NONE: (),
    WitnessKind.PING: ("addresses",),
    WitnessKind.ETCD: ("endpoints", "ca", "cert", "key"),
}
"""What each kind needs beside `timeout`; none of it has a meaning with another kind."""
_NEEDS = {
    "addresses": "such as the gateway's",
    "endpoints": "such as [https://10.77.9.1:2379]",
    "ca": "the file of the authority of etcd's certificates",
    "cert": "the file of the certificate that etcd knows this cluster by",
    "key": "the file of that certificate's key",
}
ETCD_PORT = 2379
MAX_ENDPOINTS = 9
INITIATOR_S = 60.0
"""What Windows gives a request of an iSCSI disk before longer time-outs were there at a boot."""
CAPPED_TIMEOUT_S = 20.0
"""The longest T until then."""


def read_witness(root: Section, nodes: Mapping[str, NodeAddresses]) -> WitnessConfig:
    """The witness; the kind none where nothing is said."""
    own_keys = tuple(key for keys in KIND_KEYS.values() for key in keys)
    section = root.section("witness", ("kind", *own_keys, "timeout"))
    kind = section.value("kind", _read_kind, WitnessKind.NONE, required=root.has("witness"))
    timeout_s = section.duration_s("timeout", 5.0, 0.5, 60.0)
    own = {address: name for name, node in nodes.items() for address in node.addresses.values()}
    addresses = _texts(section, "addresses", lambda text: _read_third_party(text, own))
    endpoints = _texts(section, "endpoints", read_endpoint)
    _check_endpoints(section, endpoints, own)
    paths = {key: section.value(key, _read_path, None) for key in ("ca", "cert", "key")}
    if root.has("witness") and section.has("kind"):
        _check_keys(section, kind)
    return WitnessConfig(kind, addresses, timeout_s, endpoints, paths["ca"], paths["cert"], paths["key"])


def _texts(section: Section, key: str, read: Callable[[str], str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in section.items(key):
        try:
            if not isinstance(item, Scalar):
                raise ValueError("it must be a list of single values")
            found[read(item.text)] = None
        except ValueError as error:
            section.problems.add(item.line, f"'{section.path(key)}' is wrong: {error}")
    return tuple(found)


def _check_keys(section: Section, kind: WitnessKind) -> None:
    word = kind.name.lower()
    for of_kind, keys in KIND_KEYS.items():
        for key in keys:
            if of_kind is not kind and section.has(key):
                section.problem(
                    key,
                    f"has no meaning with the kind '{word}': did you mean 'kind: {of_kind.name.lower()}'?",
                )
            elif of_kind is kind and not section.has(key):
                section.problem("kind", f"is '{word}', which needs '{key}', {_NEEDS[key]}")
    for key, what in (("addresses", "address"), ("endpoints", "endpoint")):
        if key in KIND_KEYS[kind] and section.has_empty_list(key):
            section.problem(key, f"must name at least one {what}")


def _check_endpoints(section: Section, endpoints: tuple[str, ...], own: Mapping[str, str]) -> None:
    """One server on a node is lost with the node: somebody else has to be there (a third member of the same etcd)."""
    if len(endpoints) > MAX_ENDPOINTS:
        section.problem("endpoints", f"names {len(endpoints)} servers; at most {MAX_ENDPOINTS} are asked")
    hosts = [str(urlsplit(endpoint).hostname) for endpoint in endpoints]
    if hosts and all(host in own for host in hosts):
        section.problem(
            "endpoints",
            f"is wrong: {hosts[0]} is the node '{own[hosts[0]]}' itself, and no other server is named; "
            "name a third party",
        )


def read_endpoint(text: str) -> str:
    """`https://ADDRESS[:PORT]` in its usual spelling, or ValueError."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"'{text}' is not of the form https://ADDRESS:PORT") from None
    if parts.scheme != "https":
        raise ValueError(f"'{text}' does not begin with https://, and a witness is only asked over TLS")
    if not parts.hostname or parts.path not in ("", "/") or "?" in text or "#" in text or "@" in text:
        raise ValueError(f"'{text}' is not of the form https://ADDRESS:PORT")
    if port == 0:
        raise ValueError(f"'{text}' has no port from 1 to 65535")
    address = read_ip(parts.hostname)
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{address} is a loopback address: each node would ask another server")
    return f"https://{f'[{address}]' if ':' in address else address}:{port or ETCD_PORT}"


def _read_third_party(text: str, own: Mapping[str, str]) -> str:
    address = read_ip(text)
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{address} is a loopback address, which always answers")
    if address in own:
        raise ValueError(f"{address} is the node '{own[address]}' itself; name a third party")
    return address


def _read_kind(text: str) -> WitnessKind:
    kinds = {kind.name.lower(): kind for kind in WitnessKind}
    if text not in kinds:
        raise ValueError(f"'{text}' is not one of them{suggestion(text, kinds)}")
    return kinds[text]


def _read_path(text: str) -> PurePath | None:
    return read_absolute_path(text)


def check_hold(root: Section, witness: WitnessConfig, modules: Mapping[str, ModuleConfig]) -> None:
    """While the peer is lost and the witness is asked, I/O is held: not longer than an initiator waits.

    On Windows requests of a disk fail after 60 s until the host was booted with longer time-outs, and until then T
    is at most 20 s there.
    """
    if witness.kind is WitnessKind.NONE:
        return
    for module in modules.values():
        if platform_of(module.folder) is not Platform.WINDOWS or module.export.attach is AttachKind.NONE:
            continue
        timeout_s = min(module.timeout_s, CAPPED_TIMEOUT_S)
        if timeout_s + witness.timeout_s >= INITIATOR_S:
            root.section("witness", None).problem(
                "timeout",
                f"is wrong: with the time-out of module '{module.name}' ({timeout_s:g} s) its I/O may be held for "
                f"{timeout_s + witness.timeout_s:g} s, and Windows gives up after {INITIATOR_S:g} s: "
                f"write less than {INITIATOR_S - timeout_s:g} s",
            )
            return


def file_problems(witness: WitnessConfig, here: Platform) -> list[tuple[str, str]]:
    """Keys of paths that are of the other platform than this host, and what is wrong with each."""
    paths = {"ca": witness.ca, "cert": witness.cert, "key": witness.key}
    return [
        (key, f"is wrong: {path} is no path of {here.value}, which this host runs")
        for key, path in paths.items()
        if path is not None and platform_of(path) is not here
    ]
