"""What both colours decide alike: what a request holds, where a redirect may lead, and what a failure means.

Nothing here sends. The doors (`blocking`, `aio`) turn a `Hop` into a request of their library, and a failure of their
library into a `Trouble`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from comfyone.errors import APIError, ValidationError
from comfyone.transport.answers import Faults
from comfyone.transport.call import Call, Multipart, encode_json
from comfyone.transport.endpoint import Credentials, Endpoint, merged

__all__ = [
    "CHUNK",
    "ERROR_LIMIT",
    "USER_AGENT",
    "Hop",
    "Trouble",
    "body_of",
    "causes",
    "check_kind",
    "first_hop",
    "headers_of",
    "moved",
    "next_hop",
    "no_tls",
    "refusal",
    "shown",
]

CHUNK = 8192
"""Bytes of a piece of a streamed answer."""

ERROR_LIMIT = 1 << 20
"""Bytes that are read of the body of an error."""

USER_AGENT = "comfyone-python"

_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # what may stand in an address as it is; a percent sign is one that was put there
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "UNSUPPORTED_PROTOCOL"})
_PLAIN = re.compile(r"(?:\w[\w/.~-]*)?", re.ASCII)
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Trouble(Enum):
    """Why no usable answer came: what is said, what a program may read, and what to do.

    ``sent`` tells whether the server may have got the request; what is ``permanent`` is not tried again.
    """

    CERTIFICATE = (
        "the server's certificate is not trusted",
        {"permanent": True},
        "trust its authority with REQUESTS_CA_BUNDLE",
    )
    NO_TLS = "what answers there does not speak TLS", {"permanent": True}, "use http:// in place of https://"
    NO_HTTP = "what answers there does not speak HTTP", {"permanent": True}, "check the port"
    PROXY = "the proxy did not connect us", {"sent": False}, "check HTTP_PROXY and HTTPS_PROXY"
    REFUSED = "no connection", {"sent": False}, "check the domain, and that the server runs"
    CONNECT_TIMEOUT = "no connection in time", {"sent": False}, "raise 'timeout', or check the domain"
    READ_TIMEOUT = "no answer in time", {"sent": True}, "raise 'timeout'"
    BROKEN = "the connection broke before the answer was complete", {"sent": True}, None

    def __init__(self, text: str, context: Mapping[str, Any], hint: str | None) -> None:
        self.text = text
        self.context = context
        self.hint = hint

    def error(self, call: Call, faults: Faults, said: str | None = None) -> APIError:
        """The error to raise; ``said`` is what the operating system said, in place of our own words."""
        return faults.unanswered(f"{shown(call)}: {said or self.text}", dict(self.context), hint=self.hint)


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a call: the first, or one that a redirect asked for.

    Args:
        url: The whole address, as it travels.
        trusted: Whether the credentials may go there.
        number: How many redirects came before.
    """

    url: str
    trusted: bool
    number: int = 0


def first_hop(endpoint: Endpoint, call: Call) -> Hop:
    """Where a call goes.

    Raises:
        ValidationError: Its path is no address that can be called.
    """
    if _PLAIN.fullmatch(call.path):  # as nearly all are: below the base address, with nothing to quote
        query = urlencode(call.query())
        return Hop(f"{_base(endpoint.base_url)}/{call.path}{'?' if query else ''}{query}", True)
    url = _address(endpoint.resolve(call.path), call)
    return Hop(url, endpoint.trusts(url))


@lru_cache(maxsize=64)
def _base(url: str) -> str:
    return _address(url)


def moved(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer is a redirect."""
    return status in _MOVED and "Location" in headers


def next_hop(endpoint: Endpoint, call: Call, hop: Hop, status: int, headers: Mapping[str, str], faults: Faults) -> Hop:
    """Where a redirect leads. Only what reads goes anywhere; a body goes where the credentials may go.

    Raises:
        APIError: The redirect is not followed.
    """

    def stray(text: str, hint: str | None = None) -> APIError:
        return faults.unexpected(status, f"{shown(call)} was redirected {text}", hint=hint, status=status)

    try:
        url = endpoint.resolve(urljoin(hop.url, headers["Location"]))
        trusted = endpoint.trusts(url)
        following = Hop(_address(url), trusted, hop.number + 1)
    except (ValidationError, ValueError) as error:
        raise stray("to what is no address that can be called") from error
    if call.method != "GET" and not (status in (307, 308) and trusted):
        place = urlsplit(url)._replace(query="", fragment="").geturl()
        raise stray(f"to {place}", "use that address as the domain")
    if following.number > _REDIRECTS:
        raise stray(f"more than {_REDIRECTS} times")
    return following


def headers_of(call: Call, hop: Hop, credentials: Credentials, form: Multipart | None) -> dict[str, str]:
    """The header fields of a request, the credentials among them where they may go.

    Raises:
        ValidationError: One holds a character that no header may hold.
    """
    kind = "application/json" if form is None and call.json is not None else form and form.content_type
    fields = merged(
        {"User-Agent": USER_AGENT},
        call.headers,
        {"Content-Type": kind} if kind else {},
        credentials.headers() if hop.trusted else {},
    )
    if not all(_sendable(value) for value in fields.values()):
        raise ValidationError(f"{shown(call)}: a header holds a character that no header may hold")
    return fields


def body_of(call: Call) -> bytes | None:
    """The body of a call that is no upload."""
    if call.content is not None:
        return call.content
    return None if call.json is None else encode_json(call.json)


def check_kind(call: Call, status: int, headers: Mapping[str, str], faults: Faults) -> None:
    """See that a stream is of the kind that was asked for.

    Raises:
        APIError: It is not.
    """
    kind, wanted = headers.get("Content-Type", ""), call.headers.get("Accept", "")
    if not kind.startswith(wanted):
        raise faults.unexpected(status, f"{shown(call)}: the server sent {kind!r} instead of {wanted!r}", status=status)


def refusal(
    status: int, headers: Mapping[str, str], content: bytes, faults: Faults, credentials: Credentials
) -> APIError:
    """The error of an answer with a bad status, with nothing of the credentials in it."""
    error = faults.refused(status, headers, _masked(content, credentials))
    # Once more in plain text, which may be put together from what was no text of the body's.
    error.message = credentials.hide(error.message)
    error.args = (error.message, *error.args[1:])
    return error


def _masked(content: bytes, credentials: Credentials) -> bytes:
    """A body without the credentials. JSON stays JSON, and its names stay: a header's value may be a word of both."""
    try:
        value = json.loads(content)
        hidden = _hidden(value, credentials)
        return content if hidden == value else json.dumps(hidden, ensure_ascii=False).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return credentials.hide(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _hidden(value: Any, credentials: Credentials) -> Any:
    match value:
        case str():
            return credentials.hide(value)
        case list():
            return [_hidden(item, credentials) for item in value]
        case dict():
            return {name: _hidden(item, credentials) for name, item in value.items()}
    return value


def shown(call: Call) -> str:
    """A call as logs and errors name it: no query, where a signature might be."""
    parts = urlsplit(call.path)
    place = f"{parts.hostname}{parts.path}" if parts.hostname else parts.path
    return f"{call.method} {place}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and whatever the libraries wrapped into it, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]


def no_tls(chain: Iterable[BaseException]) -> bool:
    """Whether one of these says that the other side does not speak TLS at all."""
    return any(isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in _NOT_TLS for cause in chain)


def _address(url: str, call: Call | None = None) -> str:
    """A URL in the characters of an address, with the query of the call at its end."""
    parts = urlsplit(_STRAY.sub("%25", url))
    query = "&".join(filter(None, (quote(parts.query, _KEPT), urlencode(call.query()) if call else "")))
    return parts._replace(netloc=_host(parts.netloc), path=quote(parts.path, _KEPT), query=query, fragment="").geturl()


def _host(netloc: str) -> str:
    if netloc.isascii():
        return netloc
    try:
        return netloc.encode("idna").decode()
    except UnicodeError as error:
        raise ValidationError("the host's name is none that can be looked up") from error


def _sendable(value: str) -> bool:
    # The libraries differ in how they encode what is not ASCII, so that nothing else travels.
    return value.isascii() and value.replace("\t", " ").isprintable() and not value[:1].isspace()
