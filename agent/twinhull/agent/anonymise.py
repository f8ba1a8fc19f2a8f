"""Replaces names and addresses by others, the same everywhere, so that an archive can be read but not attributed.

Pure: what is known by name is told at the beginning; addresses are found by their form. The same name gets the
same stand-in in every file that goes through one `Anonymiser`; addresses of one network stay in one network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

_SHORT = 2
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NAMED = r"\b(?:nodes?|peer|host)[ ]+'?"
_BEFORE_SHORT = (
    r"\b(?:from|to|on|and|by|of|with|DEBUG|INFO|WARNING|ERROR|CRITICAL)[ ]+'?"
    r"|[\"'\[]|[{,][ ]*|^[ ]*|:[ ]+|-[ ]+"
)
_AFTER_SHORT = r"(?=['\"]|[ ]*[:,}\]]|/|[ ]*$|[ ]+(?:and|to)\b|[.;])"


class Anonymiser:
    """Replaces in any number of texts, consistently.

    Args:
        names: kind to the names of that kind, such as `{"node": ["a", "b"], "module": ["VM1"]}`. A name becomes
            its kind and a number (`node-1`) in the order given. Names are found as whole words, whatever their
            case; names of one or two letters only where a name stands (quoted, a key or value, `node a`, `a/VM1`).
    """

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self._stand_ins: dict[str, str] = {}
        for kind, members in names.items():
            known = [name for name in dict.fromkeys(members) if name and name.lower() not in self._stand_ins]
            for number, name in enumerate(known, 1):
                self._stand_ins[name.lower()] = f"{kind}-{number}"
        self._long = _words([name for name in self._stand_ins if len(name) > _SHORT])
        self._short = _short_words([name for name in self._stand_ins if len(name) <= _SHORT])
        self._networks: dict[str, int] = {}
        self._hosts: dict[str, dict[str, int]] = {}
        self._others: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text with every known name and every address replaced."""
        text = _MAIL.sub(lambda match: self._other(match[0], "mail-{}@example.invalid"), text)
        text = _MAC.sub(self._mac, text)
        text = _IPV6.sub(self._ipv6, text)
        text = _IPV4.sub(self._ipv4, text)
        if self._long is not None:
            text = self._long.sub(lambda match: self._stand_ins[match[0].lower()], text)
        if self._short is not None:
            text = self._short.sub(self._short_name, text)
        return text

    def _short_name(self, match: re.Match[str]) -> str:
        before, name = match["before"] or match["before2"] or "", match["name"] or match["name2"]
        return before + self._stand_ins[name.lower()]

    def _other(self, found: str, form: str) -> str:
        key = found.lower()
        if key not in self._others:
            count = sum(
                1 for stand_in in self._others.values() if stand_in.startswith(form.partition("{")[0])
            )
            self._others[key] = form.format(count + 1)
        return self._others[key]

    def _mac(self, match: re.Match[str]) -> str:
        digits = re.sub("[:-]", "", match[0]).lower()
        if digits in ("0" * 12, "f" * 12):
            return match[0]
        number = self._number("mac", digits)
        return f"02:00:00:00:{number >> 8 & 255:02x}:{number & 255:02x}"

    def _ipv4(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            return match[0]
        if address.is_loopback or address.is_unspecified or int(address) >> 24 == 255:
            return match[0]
        network = self._network(str(ipaddress.ip_network(f"{address}/24", strict=False)))
        last = int(address) & 255
        host = last if last in (0, 255) else self._number(f"v4 {network}", str(address))
        return f"198.{18 + network // 256}.{network % 256}.{host}"

    def _ipv6(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.IPv6Address(match[0])
        except ValueError:
            return match[0]
        if address.is_loopback or address.is_unspecified:
            return match[0]
        network = self._network(str(ipaddress.ip_network(f"{address}/64", strict=False)))
        return f"2001:db8:0:{network:x}::{self._number(f'v6 {network}', str(address)):x}"

    def _network(self, name: str) -> int:
        return self._networks.setdefault(name, len(self._networks) + 1)

    def _number(self, kind: str, name: str) -> int:
        numbers = self._hosts.setdefault(kind, {})
        return numbers.setdefault(name, len(numbers) + 1)


def _alternatives(names: list[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _words(names: list[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    return re.compile(rf"(?<![A-Za-z0-9])(?:{_alternatives(names)})(?![A-Za-z0-9])", re.IGNORECASE)


def _short_words(names: list[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    either = _alternatives(names)
    named = rf"(?P<before>{_NAMED})(?P<name>{either})(?![A-Za-z0-9])"
    placed = rf"(?P<before2>{_BEFORE_SHORT})(?P<name2>{either}){_AFTER_SHORT}"
    return re.compile(f"{named}|{placed}", re.MULTILINE | re.IGNORECASE)
