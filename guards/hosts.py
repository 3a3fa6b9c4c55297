"""Which host a URL leads to, read so strictly that no client could read another one, and lists of hosts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import idna

MAX_URL = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}
URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#\\]*)(?P<rest>[/?#\\].*)?", re.IGNORECASE | re.DOTALL)
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\\%\s\x00-\x20\x7f]+)(?::(?P<port>[0-9]{1,5}))?")
UNSEEN = re.compile(r"[\x00-\x20\x7f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
"""Blanks, controls and invisible characters: some URL parsers drop them, others keep them."""
NUMERIC = re.compile(r"(?:.*\.)?(?:0[xX][0-9A-Fa-f]*|[0-9]+)", re.DOTALL)
INNER_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private")
"""Last labels that name machines of the network that one stands in."""


class Site(NamedTuple):
    """Where a URL leads."""

    host: str
    """Lower case, in its ASCII form; an address in its shortest form, IPv6 without brackets."""
    port: int | None
    """None: a bare host that names no port."""


class HostError(ValueError):
    """Not a host that can be listed. The message says what is wrong, without the value."""


def site_of(url: str, *, bare: bool = False) -> Site | None:
    """Where an http or https URL leads; None for all else, and for what two parsers could read differently.

    User names, percent codes, backslashes, blanks and control characters before the path, IPv4 in other forms than four
    decimal numbers, and IPv6 zones are refused. `bare`: a host alone, or with its port, will do too.
    """
    if len(url) > MAX_URL:
        return None
    match = URL.fullmatch(url)
    if match is not None:
        return _site(match["authority"], DEFAULT_PORTS[match["scheme"].lower()])
    return _site(url, None) if bare else None


def _site(authority: str, port: int | None) -> Site | None:
    match = AUTHORITY.fullmatch(authority)
    if match is None or UNSEEN.search(authority):
        return None
    named = int(match["port"]) if match["port"] else port
    host = host_of(match["host"])
    return None if host is None or (named is not None and not 0 < named < 1 << 16) else Site(host, named)


def host_of(text: str) -> str | None:
    """A host in its one form; None where it has none."""
    try:
        if text.startswith("["):
            return _address(ipaddress.IPv6Address(text[1:-1]))
        if len(text) > 253 * 4:
            return None
        name = idna.encode(text, uts46=True).decode().lower().removesuffix(".")
        return str(ipaddress.IPv4Address(name)) if NUMERIC.fullmatch(name) else name
    except (ValueError, UnicodeError):
        return None


def _address(address: ipaddress.IPv6Address) -> str:
    return str(address.ipv4_mapped or address)


def is_inner(host: str) -> bool:
    """Whether the host, as `host_of` writes it, is this machine or its own network: nothing on the open internet."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.rsplit(".", 1)[1] in INNER_NAMES
    return not _open(address)


def _open(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.sixtofour or (address.teredo[1] if address.teredo else None) or _nat64(address)
        if carried is not None:
            return _open(carried)
    return address.is_global and not address.is_multicast


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One line of a list."""

    host: str
    """Without the `*.` of one that stands for subdomains; empty for `*`, which stands for the open internet."""
    below: bool
    port: int | None
    """None: the scheme's own. 0: any."""

    def allows(self, site: Site) -> bool:
        return self._port(site.port) and self._host(site.host)

    def _port(self, port: int | None) -> bool:
        if self.port is None:
            return port is None or port in DEFAULT_PORTS.values()
        return self.port in (0, port)

    def _host(self, host: str) -> bool:
        if self.below:
            return host.endswith(f".{self.host}") if self.host else not is_inner(host)
        return host == self.host


@dataclass(frozen=True, slots=True)
class HostList:
    """Hosts that are allowed. An empty list allows none."""

    entries: tuple[HostEntry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> HostList:
        """From `example.org`, `*.example.org` (subdomains alone), `example.org:8443`, `example.org:*`, `[::1]`, `*`."""
        return cls(tuple(entry_of(e) for e in entries))

    def allows(self, url: str, *, bare: bool = False) -> bool:
        site = site_of(url, bare=bare)
        return site is not None and any(e.allows(site) for e in self.entries)


def entry_of(text: str) -> HostEntry:
    """HostError where it is none."""
    name, port = text.strip(), None
    if name.endswith(":*"):
        name, port = name[:-2], 0
    if name == "*":
        return HostEntry("", True, port)
    below = name.startswith("*.")
    site = _site(name.removeprefix("*."), None)
    if site is None or (port is not None and site.port is not None):
        raise HostError("is not a host, such as example.org, *.example.org, example.org:8443 or [2001:db8::1]")
    return HostEntry(site.host, below, site.port if port is None else port)
