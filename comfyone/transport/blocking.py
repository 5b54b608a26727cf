"""The blocking door: it sends calls with requests, and no failure of requests gets past it untranslated."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

from comfyone.errors import APIError, ConnectionError, ValidationError
from comfyone.transport.answers import error_of, read_envelope
from comfyone.transport.call import Call, Multipart, Timeouts, encode_json
from comfyone.transport.endpoint import ApiKey, Endpoint
from comfyone.transport.retry import RetryPolicy, may_repeat
from comfyone.utils.logging import Log
from comfyone.wire.v1 import APIResponse

__all__ = ["CHUNK", "Transport", "shown"]

CHUNK = 8192
"""Bytes of a piece of a streamed answer."""

_VARIABLES = [
    *(name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())),
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
]
_HEADERS = {**requests.utils.default_headers(), "User-Agent": "comfyone-python"}
_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 64
_ERROR_LIMIT = 1 << 20
Result = TypeVar("Result")


class _Bearer(requests.auth.AuthBase):
    """Attaches the key, or nothing; either way a .netrc has no say."""

    def __init__(self, key: ApiKey | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


class _NoCookies(requests.cookies.RequestsCookieJar):
    """The pool is shared by clients with different keys: no cookie of one may travel with another."""

    def extract_cookies(self, response: object, request: object) -> None:
        pass


@lru_cache(maxsize=1)
def _session(process: int) -> requests.Session:
    """The one pool of connections of a process; a fork gets its own."""
    session = requests.Session()
    session.cookies = _NoCookies()
    adapter = HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@lru_cache(maxsize=64)
def _surroundings(url: str, variables: tuple[str | None, ...]) -> Mapping[str, Any]:
    """Proxies and certificates for an address, as requests reads them from the environment, which takes it as long as
    all the rest of a call: read once, and again when one of these variables has changed."""
    settings = _session(os.getpid()).merge_environment_settings(url, {}, None, None, None)
    return {name: settings[name] for name in ("proxies", "verify", "cert")}


class Transport:
    """Sends calls to one server under one key. Safe to use from many threads."""

    def __init__(self, endpoint: Endpoint, key: ApiKey, timeouts: Timeouts, policy: RetryPolicy, log: Log) -> None:
        self.endpoint = endpoint
        self.policy = policy
        self.timeouts = timeouts
        self._key = key
        self._log = log

    def __repr__(self) -> str:
        return f"Transport({self.endpoint.base_url!r})"

    def send(self, call: Call, *, attempts: int | None = None) -> APIResponse:
        """Send a call and read its envelope, whatever its code; ``attempts`` stands in for the policy's.

        Raises:
            APIError: The HTTP status is an error, or no answer came.
        """
        return self._repeat(call, lambda: self._send_once(call), attempts)

    def download(self, call: Call, write: Callable[[Iterator[bytes]], Result]) -> Result:
        """Send a call and hand the pieces of its body to ``write``, which must start afresh when called again."""

        def once() -> Result:
            with self.stream(call) as pieces:
                return write(pieces)

        return self._repeat(call, once)

    @contextmanager
    def stream(self, call: Call, *, live: bool = False) -> Iterator[Iterator[bytes]]:
        """Send a call once and give its body in pieces; ``live`` gives each byte as soon as it is there."""
        with self._request(call, stream=True) as answer:
            kind, wanted = answer.headers.get("Content-Type", ""), call.headers.get("Accept", "")
            if not kind.startswith(wanted):
                raise APIError(answer.status_code, f"{shown(call)}: the server sent {kind!r} instead of {wanted!r}")
            yield self._pieces(call, answer, live)

    def _repeat(self, call: Call, once: Callable[[], Result], attempts: int | None = None) -> Result:
        def delay(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return self.policy.delay(state.attempt_number, error)

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._log.warning(
                f"{shown(call)} failed ({error}); attempt {state.attempt_number + 1} in {state.upcoming_sleep:.1f} s"
            )

        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(attempts or self.policy.attempts),
            retry=tenacity.retry_if_exception(lambda error: may_repeat(call, error)),
            wait=delay,
            before_sleep=tell,
            reraise=True,
        )(once)

    def _send_once(self, call: Call) -> APIResponse:
        with self._request(call) as answer:
            return read_envelope(answer.status_code, answer.headers, answer.content)

    def _request(self, call: Call, *, stream: bool = False) -> requests.Response:
        """One attempt, redirects included."""
        url = self.endpoint.resolve(call.path)
        started = time.monotonic()
        params: dict[str, str] | None = call.query()
        for _ in range(_REDIRECTS + 1):
            answer = self._hop(call, url, params, stream)
            if answer.status_code not in _MOVED or "Location" not in answer.headers:
                took = (time.monotonic() - started) * 1000
                self._log.debug(f"{shown(call)}: HTTP {answer.status_code} in {took:.0f} ms")
                return self._checked(call, answer)
            answer.close()
            url, params = urljoin(url, answer.headers["Location"]), None
            self._check_redirect(call, answer.status_code, url)
        raise APIError(310, f"{shown(call)} was redirected more than {_REDIRECTS} times")

    def _hop(self, call: Call, url: str, params: dict[str, str] | None, stream: bool) -> requests.Response:
        timeouts = call.timeouts(self.timeouts)
        headers = dict(call.headers)
        form = Multipart(call.upload) if call.upload else None
        if form is not None:
            headers["Content-Type"] = form.content_type
        elif call.json is not None:
            headers["Content-Type"] = "application/json"
        with _translated(call):
            try:
                # Not prepared by the session: what it would merge in, we know already, and merging takes longer than sending.
                prepared = requests.PreparedRequest()
                prepared.prepare(
                    call.method,
                    url,
                    params=params,
                    data=form if form is not None else encode_json(call.json) if call.json is not None else None,
                    headers={**_HEADERS, **headers},
                    auth=_Bearer(self._key if self.endpoint.trusts(url) else None),
                )
                return _session(os.getpid()).send(
                    prepared,
                    timeout=(timeouts.connect, timeouts.read),
                    allow_redirects=False,
                    stream=stream,
                    **_surroundings(_origin(url), tuple(os.environ.get(name) for name in _VARIABLES)),
                )
            finally:
                if form is not None:
                    form.close()

    def _checked(self, call: Call, answer: requests.Response) -> requests.Response:
        if answer.status_code < 300:
            return answer
        with answer, _translated(call):
            content = next(answer.iter_content(_ERROR_LIMIT), b"")
        error = error_of(answer.status_code, answer.headers, content)
        error.message = self._key.hide(error.message)
        raise error

    def _check_redirect(self, call: Call, status: int, target: str) -> None:
        if call.method == "GET" or (status in (307, 308) and self.endpoint.trusts(target)):
            return
        place = urlsplit(target)._replace(query="", fragment="").geturl()
        raise APIError(
            status, f"{shown(call)} was redirected to {place}", hint="use that address as the domain", status=status
        )

    def _pieces(self, call: Call, answer: requests.Response, live: bool) -> Iterator[bytes]:
        with _translated(call):
            if not live:
                yield from answer.iter_content(CHUNK)
                return
            while piece := answer.raw.read1(CHUNK):
                yield piece


def shown(call: Call) -> str:
    """A call as logs and errors name it: no query, where a signature might be."""
    parts = urlsplit(call.path)
    place = f"{parts.hostname}{parts.path}" if parts.hostname else parts.path
    return f"{call.method} {place}"


@contextmanager
def _translated(call: Call) -> Iterator[None]:
    """The one door where failures of requests and urllib3 become ours."""
    try:
        yield
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise ValidationError(f"{shown(call)}: not an address that can be called") from error
    except (requests.exceptions.InvalidHeader, UnicodeEncodeError) as error:
        raise ValidationError(f"{shown(call)}: a header holds a character that no header may hold") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _no_answer(call, error) from error


def _no_answer(call: Call, error: Exception) -> ConnectionError:
    causes = list(_causes(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if has(ssl.SSLCertVerificationError):
        hint = "trust its authority with REQUESTS_CA_BUNDLE"
        return ConnectionError(
            f"{shown(call)}: the server's certificate is not trusted", {"permanent": True}, hint=hint
        )
    if has(requests.exceptions.ProxyError):
        hint = "check HTTP_PROXY and HTTPS_PROXY"
        return ConnectionError(f"{shown(call)}: the proxy did not connect us", {"sent": False}, hint=hint)
    if has(urllib3.exceptions.NewConnectionError):  # a kind of ConnectTimeoutError, so it comes first
        said = next(
            (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "no connection"
        )
        hint = "check the domain, and that the server runs"
        return ConnectionError(f"{shown(call)}: {said.lower()}", {"sent": False}, hint=hint)
    if has(urllib3.exceptions.ConnectTimeoutError):
        hint = "raise 'timeout', or check the domain"
        return ConnectionError(f"{shown(call)}: no connection in time", {"sent": False}, hint=hint)
    if has(requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        return ConnectionError(f"{shown(call)}: no answer in time", {"sent": True}, hint="raise 'timeout'")
    return ConnectionError(f"{shown(call)}: the connection broke before the answer was complete", {"sent": True})


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and whatever requests and urllib3 wrapped into it, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]
