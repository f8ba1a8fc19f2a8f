"""`twinhull pki`: the cluster's authority and certificates, as local files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Protocol

from ..config import NodeConfig, load_node
from ..errors import PkiError
from ..transport import pki
from ..transport.pki import CertificateInfo
from ..transport.tls import Role
from .exit_codes import DONE
from .shell import Run, Shell
from .text import paint

CA_DIR = Path("/etc/twinhull/ca")
ROLES = tuple(role.value for role in Role)


class Group(Protocol):
    """Where commands are added (see `parser`)."""

    def add(
        self, name: str, help_text: str, examples: tuple[str, ...], run: Run | None = None
    ) -> argparse.ArgumentParser:
        """One command."""


def add_commands(group: Group) -> None:
    """init, issue, renew and show."""
    examples: tuple[str, ...] = ("pki init --cluster site-042", "pki init --cluster site-042 --ca /root/ca")
    parser = group.add("init", "make the authority of a cluster", examples, run_init)
    parser.add_argument("--cluster", metavar="NAME", required=True, help="name of the cluster")
    _add_options(parser, pki.CA_DAYS)

    examples = (
        "pki issue a --out /root/a",
        "pki issue b --out /root/b",
        "pki issue jane --role operator --out .",
    )
    parser = group.add("issue", "issue the certificate of a node or an operator", examples, run_issue)
    parser.add_argument("name", metavar="NAME", help="of the node or operator")
    _add_holder(parser)

    examples = ("pki renew", "pki renew --out /root/b --days 365")
    parser = group.add("renew", "issue a certificate again, for the same name and key", examples, run_renew)
    _add_holder(parser)

    examples = ("pki show", "pki show /root/b", "pki show --json")
    parser = group.add("show", "show certificates and when they expire", examples, run_show)
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=Path, help="default: pki_dir of this node"
    )


def _add_holder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES, default=Role.NODE.value, help="default: node")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where it is kept (default: pki_dir of this node)"
    )
    _add_options(parser, pki.LEAF_DAYS)


def _add_options(parser: argparse.ArgumentParser, days: int) -> None:
    parser.add_argument(
        "--ca", metavar="DIR", type=Path, default=CA_DIR, help=f"the authority (default: {CA_DIR})"
    )
    parser.add_argument("--days", metavar="N", type=_days, default=days, help=f"valid for (default: {days})")


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of days")
    return int(text)


def _pki_dir(shell: Shell, named: Path | None) -> Path:
    if named is not None:
        return named
    return load_node(shell.node_config).pki_dir if shell.node_config.exists() else NodeConfig("").pki_dir


def _check_authority(directory: Path) -> None:
    """Raises PkiError when there is no authority."""
    if not (directory / "ca.crt").exists():
        raise PkiError(
            f"There is no authority in {directory}: it is kept away from the nodes.",
            "Run this where it is, name its directory with --ca, or make one with `twinhull pki init`.",
        )


def run_init(shell: Shell, args: argparse.Namespace) -> int:
    """Make an authority."""
    info = pki.init_ca(args.ca, args.cluster, args.days)
    remark = f"Keep {args.ca} safe and away from the nodes: whoever has its key can join the cluster."
    shell.result(_plain(info), f"Made the authority of cluster {args.cluster} in {args.ca}.\n{remark}")
    return DONE


def run_issue(shell: Shell, args: argparse.Namespace) -> int:
    """Issue a certificate with a new key."""
    out = _pki_dir(shell, args.out)
    _check_authority(args.ca)
    info = pki.issue(args.ca, args.name, Role(args.role), out, args.days)
    human = f"Issued {info.path} for the {args.role} {args.name}, valid until {info.not_after:%Y-%m-%d}."
    if args.role == Role.NODE.value:
        human += (
            f"\nIt belongs into /etc/twinhull/pki of node {args.name}, with its key and ca.crt, nowhere else."
        )
    shell.result(_plain(info), human)
    return DONE


def run_renew(shell: Shell, args: argparse.Namespace) -> int:
    """Replace a certificate by one that is valid longer."""
    _check_authority(args.ca)
    info = pki.renew(args.ca, _pki_dir(shell, args.out), Role(args.role), args.days)
    human = f"Renewed {info.path} of the {args.role} {info.name}, valid until {info.not_after:%Y-%m-%d}."
    if args.role == Role.NODE.value:
        human += "\nA running agent takes it by itself within a minute; its modules run on meanwhile."
    shell.result(_plain(info), human)
    return DONE


def run_show(shell: Shell, args: argparse.Namespace) -> int:
    """List certificates."""
    directory = _pki_dir(shell, args.directory)
    infos = pki.show(directory)
    lines = [_line(info, shell.colour) for info in infos] or [f"There are no certificates in {directory}."]
    shell.result([_plain(info) for info in infos], "\n".join(lines))
    return DONE


def _line(info: CertificateInfo, colour: bool) -> str:
    if info.expired:
        state = paint(f"EXPIRED on {info.not_after:%Y-%m-%d}", "red", colour)
    else:
        left = f"valid until {info.not_after:%Y-%m-%d}, {info.days_left} days left"
        state = paint(
            left + (": renew it" if info.expiring else ""), "orange" if info.expiring else "", colour
        )
    return f"{info.kind:8} {info.name} of cluster {info.cluster}: {state}\n         {info.path}, SHA-256 {info.fingerprint}"


def _plain(info: CertificateInfo) -> dict[str, Any]:
    return {
        "path": str(info.path),
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
