"""Addresses that tenants name: which of them the gateway may call."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from comfyone.errors import ComfyOneError

__all__ = ["AddressRefused", "Network", "check_address", "is_remote", "may_call"]

Network = IPv4Network | IPv6Network

_NUMERIC = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
"""A host that ends so is an IP address in one of its many spellings (``127.1``, ``2130706433``, ``0x7f.0.0.1``)."""

MAX_ADDRESS = 2048
"""Longest address, in characters."""


class AddressRefused(ComfyOneError):
    """The gateway does not call this address. The message names the host, and never what it resolved to."""


_CLOSED: tuple[Network, ...] = (
    *map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # behind a carrier's NAT, and one provider's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a provider's metadata, in the midst of public addresses
            "169.254.0.0/16",  # link-local, and the metadata of most providers
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, and one provider's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    ),
    *map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, which embeds IPv4, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4
            "3fff::/20",  # documentation
        ),
    ),
)
"""What is no part of the public internet. Python's ``is_global`` differs from version to version, so it is spelled out."""

_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is public. Outside lie loopback, link-local, private, multicast, and IPv4 in disguise: mapped
(``::ffff:0:0/96``), compatible (``::/96``), and translated (``64:ff9b::/96``)."""


def check_address(url: str) -> str:
    """An address with no more than it needs. Where its host leads is another question: `may_call`.

    Raises:
        AddressRefused: when it is no http(s) address of a host, or holds user information.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressRefused("the address is not a URL", hint="such as https://example.com/hook") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise AddressRefused("the address is not http or https", hint="such as https://example.com/hook")
    if "@" in parts.netloc:
        raise AddressRefused(f"the address of '{host}' holds user information", hint="leave it out")
    if len(url) > MAX_ADDRESS or "\\" in url or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise AddressRefused(
            f"the address of '{host[:80]}' is longer than {MAX_ADDRESS} characters, or holds a blank or a backslash"
        )
    if _NUMERIC.search(host) and not _is_ip(host):
        raise AddressRefused(f"'{host[:80]}' is no plain IP address", hint="write it as four decimal numbers")
    return url


def is_remote(value: str) -> bool:
    """Whether a value is meant as an address to fetch something from."""
    return value[:8].lower().startswith(("http://", "https://"))


def may_call(address: str, opened: Iterable[Network] = ()) -> bool:
    """Whether an IP address is public, or within a network that the operator has opened."""
    if not _is_ip(address):
        return False
    ip = ip_address(address)
    if any(ip in network for network in opened):
        return True
    return (ip.version == 4 or ip in _UNICAST) and not any(ip in network for network in _CLOSED)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
