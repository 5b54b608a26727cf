"""Who may be let in without a key, or by one that a browser adds by itself: no page of another site that it shows."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import Scope

from comfyone.gateway.dialects.headers import header_of

__all__ = ["is_local", "is_own"]

OURS = (None, "same-origin", "none")
"""What a browser says of where a request comes from (``Sec-Fetch-Site``) when it comes from our own page, or from a person;
other programs say nothing."""

PASSED_ON = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
"""What a proxy says of a request that is not its own."""


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, by a name of this machine, and from no other site.

    The peer's address alone says too little. A proxy on this machine passes on what comes from anywhere: then a public host
    was asked for, or the proxy says for whom it asks; one that does neither can't be told. A browser on this machine sends
    what the page of any site tells it to: then the origin is another, or the host, where a name of that site leads here.
    """
    client, host = scope.get("client"), header_of(scope, b"host") or ""
    if client is None or not _is_loopback(client[0]) or not _is_loopback(_host_of(f"//{host}")):
        return False
    return is_own(scope) and all(header_of(scope, name) is None for name in PASSED_ON)


def is_own(scope: Scope) -> bool:
    """Whether no page of another site makes a browser send the request: what browsers say of that, programs leave out."""
    origin, host = header_of(scope, b"origin"), header_of(scope, b"host") or ""
    if origin is not None and origin.partition("//")[2].lower() != host.lower():
        return False
    return header_of(scope, b"sec-fetch-site") in OURS


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
