# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the single words of a sites file may be: names, addresses, sizes, durations, windows, paths.

Every function takes the text as it was written and returns the value, or raises ValueError with a sentence that says
what is accepted. The rules are those of the agent's own configuration (docs/configuration.md), so that what passes here
is not refused on the hosts.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

Read = Callable[[str], Any]
Parts = tuple[str, ...]
"""A path, part by part, as it counts for equality."""

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SIZE_STEP_BYTES = 4 * KIB
MAX_VM_NAME_LETTERS = 100
SIZE_UNITS_BYTES = {
    "B": 1,
    "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
DURATION_UNITS_S = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600)}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TRUE, FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9_.+:][A-Za-z0-9_.+: -]{0,254}", re.ASCII)
_QUANTITY = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_WINDOW = re.compile(
    r"(?P<days>\S+)\s+(?P<h1>\d{1,2}):(?P<m1>\d{2})\s*-\s*(?P<h2>\d{1,2}):(?P<m2>\d{2})", re.ASCII
)
_DRIVE = re.compile(r"[A-Za-z]:\\", re.ASCII)
_WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*]')

MEANT = {
    "address": "addresses", "ip": "addresses", "ips": "addresses", "autostart": "boot", "cmd": "command",
    "dir": "folder", "directory": "folder", "path": "folder", "disk": "size", "disk_size": "size",
    "fs": "file_system", "fstype": "file_system", "filesystem": "file_system", "id": "number",
    "failback": "return", "primary": "preferred", "preferred_node": "preferred", "split_brain": "keep",
    "type": "kind", "vm": "domain", "hosts": "nodes", "servers": "nodes", "volumes": "modules", "vms": "modules",
    "os": "platform", "labels": "tags", "ansible_host": "host", "hostname": "host_name", "variables": "vars",
    "customers": "sites", "clusters": "sites", "site": "sites", "order": "rings",
}  # fmt: skip
"""What people write for keys of ours when they come from other products."""

SYSTEM_FOLDERS: frozenset[Parts] = frozenset(
    (name,) for name in ("dev", "proc", "sys", "run", "boot", "bin", "sbin", "lib", "lib64", "usr", "etc")
)
"""No folder may be one of these or lie below."""
SHARED_FOLDERS: frozenset[Parts] = frozenset(
    tuple(name.split("/")) if name else ()
    for name in ("", "home", "media", "mnt", "opt", "root", "srv", "tmp", "var", "var/lib", "var/tmp")
)
"""No folder may be one of these; below them is fine."""
OWN_FOLDERS: tuple[Parts, ...] = (("var", "lib", "twinhull"), ("var", "log", "twinhull"))
_WINDOWS_SYSTEM = ("windows", "program files", "program files (x86)", "programdata", "users", "$recycle.bin")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``: did you mean 'x'?`` when one of the known words is near, otherwise the list of them."""
    words = list(known)
    lower = {item.lower(): item for item in words}
    near = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    meant = MEANT.get(word.lower())
    if near:
        return f": did you mean '{lower[near[0]]}'?"
    if meant in words:
        return f": did you mean '{meant}'?"
    return f": use {', '.join(words)}" if words else ""


def one_of(words: Iterable[str]) -> Read:
    """A reader of one of these words."""
    known = tuple(words)

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"'{text}' is not one of them{suggestion(text, known)}")
        return text

    return read


def read_name(text: str) -> str:
    """A name of a network, module, checker, ring or tag."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is no name: use letters, digits, '-' and '_', beginning with a letter or digit, at most 63"
        )
    return text


def read_label(text: str) -> str:
    """A name of a site (it is the cluster's) or node: a part of the certificates' names."""
    if _LABEL.fullmatch(text):
        return text
    better = re.sub(r"[^A-Za-z0-9]+", "-", text, flags=re.ASCII).strip("-")[:63].strip("-")
    hint = f", such as '{better}'" if better else ""
    raise ValueError(
        f"'{text}' is no name: use letters, digits and '-' inside, at most 63 (certificates carry it){hint}"
    )


def read_host_name(text: str) -> str:
    """A name of a host in the inventory."""
    if not _HOST.fullmatch(text):
        raise ValueError(
            f"'{text}' cannot be the name of a host: use letters, digits, '-', '_' and '.', beginning with a letter "
            "or digit"
        )
    return text


def read_variable(text: str) -> str:
    """A name of a variable of Ansible."""
    if not _VARIABLE.fullmatch(text):
        raise ValueError(
            f"'{text}' cannot be a variable: use letters, digits and '_', not beginning with a digit"
        )
    return text


def read_domain(text: str) -> str:
    """A name of a VM."""
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"'{text}' is no name of a VM that is accepted here")
    return text


def read_vm_name(text: str) -> str:
    """A name of a VM of Hyper-V."""
    if not text.strip() or len(text) > MAX_VM_NAME_LETTERS or any(ord(letter) < 32 for letter in text):
        raise ValueError(f"a VM's name has 1 to {MAX_VM_NAME_LETTERS} letters and no control characters")
    return text


def read_ip(text: str) -> str:
    """A literal IP address that another host can reach, in its usual spelling."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is no IP address: host names are not looked up, write the address"
        ) from None
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255" or "%" in text:
        raise ValueError(f"'{text}' is no address of one host")
    if address.is_loopback:
        raise ValueError(f"{address} is a loopback address, no other host can reach it")
    return str(address)


def read_network(text: str) -> str:
    """An address, or a network as 10.0.0.0/24."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            right = ipaddress.ip_network(text, strict=False)
            raise ValueError(
                f"'{text}' is an address inside a network: write the network, '{right}'"
            ) from None
        raise ValueError(f"'{text}' is neither an IP address nor a network such as 10.0.0.0/24") from None
    if network.prefixlen == 0:
        raise ValueError(f"'{text}' would let the whole world in: name the control node's address or network")
    return str(network.network_address) if "/" not in text else str(network)


def read_target(text: str) -> str:
    """What Ansible connects to: an IP address (loopback too) or a host's name."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return read_host_name(text)


def read_number(low: int, high: int) -> Read:
    """A reader of a whole number within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            raise ValueError(f"'{text}' is no whole number")
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is outside {low} to {high}")
        return int(text)

    return read


def read_boolean(text: str) -> bool:
    """True or false."""
    if text.lower() not in TRUE | FALSE:
        raise ValueError(f"'{text}' is neither true nor false")
    return text.lower() in TRUE


def read_size(text: str) -> str:
    """A size of a volume, as it was written: 1 GiB to 64 TiB, a multiple of 4 KiB."""
    size_bytes = parse_size_bytes(text)
    if not GIB <= size_bytes <= 64 * TIB:
        raise ValueError(f"{text} is outside 1 GiB to 64 TiB")
    if size_bytes % SIZE_STEP_BYTES:
        raise ValueError(
            f"{text} is {size_bytes} bytes, no whole number of 4 KiB blocks; "
            f"write '{size_bytes >> 20} MiB', or use GiB (1024^3) in place of GB (1000^3)"
        )
    return text


def parse_size_bytes(text: str) -> int:
    """Bytes of a size such as ``2 GiB``; GiB is 1024^3, GB is taken literally as 1000^3."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no size: write a number and a unit, such as '100 GiB'")
    if not match["unit"]:
        raise ValueError(f"'{text}' has no unit: write for example '{text.strip()} GiB'")
    factor = {name.lower(): size for name, size in SIZE_UNITS_BYTES.items()}.get(match["unit"].lower())
    if factor is None:
        raise ValueError(f"'{match['unit']}' is no unit of size: use {', '.join(SIZE_UNITS_BYTES)}")
    size = Decimal(match["number"]) * factor
    if size != size.to_integral_value():
        raise ValueError(f"'{text}' is no whole number of bytes")
    return int(size)


def read_duration(low_s: float, high_s: float) -> Read:
    """A reader of a duration within bounds (seconds): a number of seconds, or the text with its unit."""

    def read(text: str) -> int | float | str:
        seconds = parse_duration_s(text)
        if not low_s <= seconds <= high_s:
            raise ValueError(f"{seconds:g} s is outside {low_s:g} s to {high_s:g} s")
        if re.fullmatch(r"[\d.]+", text, re.ASCII):
            return int(seconds) if seconds == int(seconds) else seconds
        return text

    return read


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as ``10``, ``1.5 s``, ``2 min``."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is no duration: write seconds ('10'), or a unit: '500 ms', '1.5 s', '2 min', '1 h'"
        )
    factor = DURATION_UNITS_S.get((match["unit"] or "s").lower())
    if factor is None:
        raise ValueError(f"'{match['unit']}' is no unit of time: use {', '.join(DURATION_UNITS_S)}")
    return float(Decimal(match["number"]) * factor)


def read_window(text: str) -> str:
    """A weekly window such as ``Sun 02:00-04:00``, as it was written."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is no window: write it as 'Sun 02:00-04:00', 'Mon-Fri 22:00-02:00' or 'daily 03:00-04:00'"
        )
    start, end = (_minute(match[hour], match[minute], text) for hour, minute in (("h1", "m1"), ("h2", "m2")))
    if start % (24 * 60) == end:
        raise ValueError(f"'{text}' is no window: it ends when it begins")
    if match["days"].lower() != "daily":
        for part in match["days"].split(","):
            for day in part.split("-", 1):
                if day.lower() not in DAYS:
                    raise ValueError(
                        f"'{day}' is no day: use {', '.join(d.capitalize() for d in DAYS)} or daily"
                    )
    return text


def _minute(hour: str, minute: str, text: str) -> int:
    result = int(hour) * 60 + int(minute)
    if int(minute) > 59 or result > 24 * 60:
        raise ValueError(f"'{text}' is no window: {hour}:{minute} is no time of day")
    return result


def read_path(platform: str) -> Read:
    """A reader of an absolute path on this platform, without ``.`` and ``..``."""
    return _read_windows_path if platform == "windows" else _read_linux_path


def _read_linux_path(text: str) -> str:
    if _DRIVE.match(text.replace("/", "\\")) or text.startswith("\\\\"):
        raise ValueError(
            f"'{text}' is a path of Windows, but the site's platform is linux: write one such as /srv/VM1"
        )
    if not text.startswith("/"):
        raise ValueError(f"'{text}' is no absolute path: begin with '/'")
    if "//" in text or any(part in (".", "..") for part in text.split("/")):
        raise ValueError(f"'{text}' must be written without '//', '.' and '..'")
    _refuse_control(text)
    return text.rstrip("/") or "/"


def _read_windows_path(text: str) -> str:
    if text.startswith("/"):
        raise ValueError(
            f"'{text}' is a path of Linux, but the site's platform is windows: write one such as D:\\Twinhull\\VM1"
        )
    if "/" in text:
        raise ValueError(f"'{text}' must be written with '\\': {text.replace('/', chr(92))}")
    if not _DRIVE.match(text):
        raise ValueError(f"'{text}' is no absolute path on a drive: write one such as D:\\Twinhull\\VM1")
    parts = text[3:].rstrip("\\").split("\\")
    if len(text) > 3 and any(part in ("", ".", "..") or part != part.rstrip(" .") for part in parts):
        raise ValueError(
            f"'{text}' must be written without '\\\\', '.', '..' and names that end in a dot or space"
        )
    if _WINDOWS_FORBIDDEN.search(text[2:]):
        raise ValueError(f"'{text}' holds a character that Windows does not allow in a path")
    _refuse_control(text)
    return text[0].upper() + ":\\" + "\\".join(parts)


def _refuse_control(text: str) -> None:
    if any(ord(letter) < 32 for letter in text):
        raise ValueError("it holds a control character")


def path_parts(text: str, platform: str) -> Parts:
    """The parts of an absolute path as they count for equality (Windows: capitals do not)."""
    if platform == "windows":
        return tuple(part.lower() for part in text.split("\\") if part)
    return tuple(part for part in text.split("/") if part)


def overlap(first: Parts, second: Parts) -> bool:
    """Whether one of the paths is the other or lies below it."""
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def read_folder(platform: str) -> Read:
    """A reader of a folder where a volume can be mounted."""
    read_plain = read_path(platform)
    check = _check_windows_folder if platform == "windows" else _check_linux_folder

    def read(text: str) -> str:
        folder: str = read_plain(text)
        check(folder, path_parts(folder, platform))
        return folder

    return read


def _check_windows_folder(folder: str, parts: Parts) -> None:
    if len(parts) == 1:
        raise ValueError(f"{folder} is a whole drive; use a folder on it, such as {folder}Twinhull\\VM1")
    if parts[1] in _WINDOWS_SYSTEM:
        raise ValueError(f"{folder} belongs to the system; use for example D:\\Twinhull\\NAME")


def _check_linux_folder(folder: str, parts: Parts) -> None:
    if parts[:1] in SYSTEM_FOLDERS:
        raise ValueError(f"{folder} belongs to the system; use for example /srv/twinhull/NAME")
    if parts in SHARED_FOLDERS:
        raise ValueError(f"{folder} is used by others; use a folder of its own below it")
    if any(overlap(parts, own) for own in OWN_FOLDERS):
        raise ValueError(
            f"{folder} overlaps a directory of Twinhull itself; use for example /srv/twinhull/NAME"
        )
