"""Where the server is: its address, its WebSocket, what proves who we are, and which URLs may see that."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import SplitResult, urlsplit, urlunsplit

from comfyone.errors import ValidationError

__all__ = ["HOSTED_DOMAIN", "ApiKey", "Credentials", "Endpoint", "Headers", "merged", "origin"]

HOSTED_DOMAIN = "pandora-server-cf.onethingai.com"
_HOSTED_ZONE = "onethingai.com"
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"^(?:[^\s\x00-\x1f/\\?#@:\[\]%]+|[0-9a-fA-F:.]+)$")
_FORMS = "give a host, host:port, or a URL such as http://127.0.0.1:8080"
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_SHORTEST_SECRET = 4  # what is shorter is no secret, and masking it would spoil every text


def merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Header fields of several sources as one; of equal names, which may differ in case, the last wins."""
    return dict({name.lower(): (name, value) for group in groups for name, value in group.items()}.values())


class Credentials(Protocol):
    """What goes with each request to a trusted URL, and is never shown."""

    def headers(self) -> Mapping[str, str]:
        """The header fields that prove who we are."""

    def hide(self, text: str) -> str:
        """The text with everything secret in it masked."""


class ApiKey:
    """A key that shows itself only where `reveal` is called.

    Raises:
        ValidationError: The key is empty or holds what no key holds. The message does not repeat it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise ValidationError("api_key must be a non-empty string")
        if not value.isascii() or not value.isprintable() or " " in value:
            hint = "it may have come with a line break; strip it"
            raise ValidationError("api_key holds white space, a control character or a non-ASCII character", hint=hint)
        self._value = value

    def reveal(self) -> str:
        """The key itself, for a header or a first frame."""
        return self._value

    def headers(self) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {"Authorization": f"Bearer {self._value}"}

    def hide(self, text: str) -> str:
        """The text with the key in it masked."""
        return text.replace(self._value, "***")

    def __repr__(self) -> str:
        return "ApiKey('***')"

    __str__ = __repr__


class Headers:
    """Fixed header fields, such as those that a proxy in front of a server asks for. Their values are never shown.

    Raises:
        ValidationError: A name or a value is none that a header may have. The message repeats no value.
    """

    __slots__ = ("_fields", "_secrets")

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = merged(fields or {})
        for name, value in self._fields.items():
            _check_field(name, value)
        # A scheme and its token travel together, but a server may repeat the token alone.
        words = {part for value in self._fields.values() for part in (value, value.partition(" ")[2])}
        self._secrets = _longest_first(words)

    @classmethod
    def basic(cls, user: str, password: str) -> Headers:
        """A user's name and password, as HTTP's basic authentication sends them.

        Raises:
            ValidationError: The name holds a colon, or either holds a control character.
        """
        if ":" in user or not (user + password).isprintable():
            raise ValidationError("the user's name holds a colon, or it or the password a control character")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        made = cls({"Authorization": f"Basic {token}"})
        made._secrets = _longest_first({*made._secrets, password})
        return made

    def joined(self, other: Headers) -> Headers:
        """These fields and those of another, which win where both have one."""
        made = Headers(merged(self._fields, other._fields))
        made._secrets = _longest_first({*self._secrets, *other._secrets})
        return made

    def headers(self) -> Mapping[str, str]:
        """The fields themselves."""
        return self._fields

    def hide(self, text: str) -> str:
        """The text with all values in it masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"Headers({dict.fromkeys(self._fields, '***')})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base address of a server, without a slash at its end."""

    base_url: str

    @classmethod
    def parse(cls, domain: str, *, scheme: str | None = None) -> Endpoint:
        """Read a bare host, ``host:port`` or a URL; a path prefix is kept.

        Args:
            domain: The address.
            scheme: What a bare host means; by default https, but for loopback, where it means http.

        Raises:
            ValidationError: It is none of these.
        """
        if not isinstance(domain, str) or not domain.strip():
            raise ValidationError("domain must be a non-empty string", hint=_FORMS)
        text = domain.strip()
        parts, port = _split(text if "://" in text else f"//{text}")
        host = parts.hostname or ""
        meant = parts.scheme or scheme or ("http" if _is_loopback(host) else "https")
        if meant not in _PORTS:
            raise ValidationError(f"domain has the scheme {meant!r}; only http and https are known", hint=_FORMS)
        shown = f"[{host}]" if ":" in host else host
        netloc = shown if port is None else f"{shown}:{port}"
        return cls(urlunsplit((meant, netloc, parts.path.rstrip("/"), "", "")))

    @property
    def ws_url(self) -> str:
        """The address of the WebSocket of the ComfyOne vocabulary."""
        return self.socket("v1/ws")

    def socket(self, path: str) -> str:
        """The address of a WebSocket below the base."""
        return f"ws{self.base_url.removeprefix('http')}/{path.lstrip('/')}"

    @property
    def domain(self) -> str:
        """Host and port."""
        return urlsplit(self.base_url).netloc

    @property
    def hosted(self) -> bool:
        """Whether this is the hosted service, which gets nothing that its contract does not know."""
        return _in_zone(urlsplit(self.base_url).hostname)

    def resolve(self, path: str) -> str:
        """The absolute URL of a path below the base, or of a URL as a result names it.

        Raises:
            ValidationError: An absolute URL is none that can be called.
        """
        if path.startswith("//"):
            path = f"{urlsplit(self.base_url).scheme}:{path}"
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", path):
            if origin(path)[0] not in _PORTS:
                raise ValidationError("url is neither http nor https")
            return path
        prefix = urlsplit(self.base_url).path
        if prefix and path.startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
        return f"{self.base_url}/{path.lstrip('/')}"

    def trusts(self, url: str) -> bool:
        """Whether the key may travel to this URL: same origin, or within the hosted service over https."""
        if origin(url) == origin(self.base_url):
            return True
        parts = urlsplit(url)
        return self.hosted and parts.scheme == "https" and _in_zone(parts.hostname)


@lru_cache(maxsize=256)
def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL; the port is the scheme's own where none is given."""
    parts, port = _split(url, "url")
    return parts.scheme, (parts.hostname or ""), port or _PORTS.get(parts.scheme)


def _check_field(name: str, value: str) -> None:
    if not isinstance(name, str) or not _TOKEN.match(name):
        raise ValidationError(f"{name!r} is no name of a header")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValidationError(
            f"the header {name!r} has a value that no header may have", hint="it may hold a line break"
        )


def _longest_first(words: set[str]) -> tuple[str, ...]:
    return tuple(sorted((word for word in words if len(word) >= _SHORTEST_SECRET), key=len, reverse=True))


def _split(text: str, what: str = "domain") -> tuple[SplitResult, int | None]:
    # Nothing of the text is repeated in an error: it might hold a password.
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"{what} is no address", hint=_FORMS) from error
    if parts.username is not None or parts.password is not None:
        raise ValidationError(
            f"{what} holds a user name or password", hint="pass it as 'api_key', or as 'auth' where there is one"
        )
    if not _HOST.match(parts.hostname or "") or any(ord(char) < 33 or char == "\\" for char in text):
        raise ValidationError(f"{what} has no host, or characters that no address has", hint=_FORMS)
    return parts, port


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _in_zone(host: str | None) -> bool:
    return host is not None and (host == _HOSTED_ZONE or host.endswith(f".{_HOSTED_ZONE}"))
