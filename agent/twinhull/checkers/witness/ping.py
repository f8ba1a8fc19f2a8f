"""The ping witness: whoever reaches one of a few addresses (a gateway, say) may go on alone.

It prevents no split when both sides of a cut reach an address; it keeps a node from going on alone whose
own network is dead.
"""

from __future__ import annotations

import concurrent.futures
import ipaddress
import socket
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import icmplib

from twinhull.errors import ConfigError, WitnessError

from .base import Question, WitnessVerdict

Echo = Callable[[str, float], bool]
"""Asks an address for an echo within seconds; raises WitnessError when it cannot be asked."""

_ATTEMPTS = 3
_NONLOCAL_BIND = {4: "/proc/sys/net/ipv4/ip_nonlocal_bind", 6: "/proc/sys/net/ipv6/ip_nonlocal_bind"}


def icmp_echo(address: str, timeout_s: float) -> bool:
    """One ICMP echo request on a raw socket (RFC 792, RFC 4443); needs CAP_NET_RAW. Raises WitnessError."""
    try:
        return bool(icmplib.ping(address, count=1, timeout=timeout_s, privileged=True).is_alive)
    except (icmplib.ICMPLibError, OSError) as error:
        raise WitnessError(f"The witness {address} cannot be asked: {error}.") from error


def is_local(address: str) -> bool:
    """Whether this host has the address itself (it could bind a socket to it)."""
    parsed = ipaddress.ip_address(address)
    try:
        if Path(_NONLOCAL_BIND[parsed.version]).read_text(encoding="ascii").strip() != "0":
            return False
    except OSError:
        return False
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


class PingWitness:
    """Any address that answers in time grants.

    Args:
        addresses: of third parties, literal IP addresses.
        own, peer: the addresses of both nodes, which are refused.
        echo, local, clock: the host, replaceable by tests.

    Raises:
        ConfigError: no address, or one that proves nothing.
    """

    has_memory = False

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        own: Collection[str] = (),
        peer: Collection[str] = (),
        echo: Echo = icmp_echo,
        local: Callable[[str], bool] = is_local,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not addresses:
            raise ConfigError(
                "The ping witness has no address to ask.", "Name a gateway or another third party."
            )
        known = {
            **dict.fromkeys(map(_plain, own), "this node's own"),
            **dict.fromkeys(map(_plain, peer), "the peer's"),
        }
        self._addresses = tuple(dict.fromkeys(_accepted(address, known, local) for address in addresses))
        self._echo = echo
        self._local = local
        self._clock = clock

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that are asked, in their canonical form."""
        return self._addresses

    def ask(self, question: Question) -> WitnessVerdict:
        """Ask all addresses at the same time; the first answer grants."""
        deadline_s = self._clock() + question.timeout_s
        pool = concurrent.futures.ThreadPoolExecutor(len(self._addresses), "witness-ping")
        try:
            work = {
                pool.submit(self._reached, address, deadline_s, question.timeout_s): address
                for address in self._addresses
            }
            return self._first(work, question.timeout_s)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _first(self, work: dict[concurrent.futures.Future[bool], str], timeout_s: float) -> WitnessVerdict:
        reasons = []
        try:
            for future in concurrent.futures.as_completed(work, timeout_s):
                address = work[future]
                try:
                    if future.result():
                        return WitnessVerdict(True, f"{address} answers")
                except WitnessError as error:
                    reasons.append(str(error))
        except TimeoutError:
            reasons.append("some did not end in time")
        why = f" ({' '.join(reasons)})" if reasons else ""
        return WitnessVerdict(
            False, f"none of {', '.join(self._addresses)} answers within {timeout_s:g} s{why}"
        )

    def _reached(self, address: str, deadline_s: float, timeout_s: float) -> bool:
        if self._local(address):
            raise WitnessError(f"The witness {address} is an address of this host now, which proves nothing.")
        failure: WitnessError | None = None
        for _ in range(_ATTEMPTS):
            left_s = min(deadline_s - self._clock(), timeout_s / _ATTEMPTS)
            if left_s <= 0:
                break
            try:
                if self._echo(address, left_s):
                    return True
                failure = None
            except WitnessError as error:
                failure = error
        if failure is not None:
            raise failure
        return False


def _plain(address: str) -> str:
    """The canonical form of a literal address; an IPv4 address inside an IPv6 one is that IPv4 address."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _accepted(address: str, known: dict[str, str], local: Callable[[str], bool]) -> str:
    try:
        plain = _plain(address)
    except ValueError as error:
        raise ConfigError(
            f"The witness address '{address}' is not an IP address.",
            "Names are not looked up; write the address.",
        ) from error
    parsed = ipaddress.ip_address(plain)
    broadcast = isinstance(parsed, ipaddress.IPv4Address) and parsed == ipaddress.IPv4Address(
        "255.255.255.255"
    )
    reasons = {
        "a loopback address, which always answers": parsed.is_loopback,
        "a multicast or broadcast address, which names nobody": parsed.is_multicast or broadcast,
        "the unspecified address, which names nobody": parsed.is_unspecified,
        f"{known.get(plain)} address, which proves nothing": plain in known,
    }
    reason = next((text for text, applies in reasons.items() if applies), None)
    if reason is None and local(plain):
        reason = "an address of this host, which proves nothing"
    if reason is not None:
        raise ConfigError(
            f"The witness address {address} is {reason}.", "Name a third party, such as the gateway."
        )
    return plain
