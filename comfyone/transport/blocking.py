"""The blocking door: it sends calls with requests, and no failure of requests gets past it untranslated."""

from __future__ import annotations

import http.client
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

from comfyone.errors import APIError, ValidationError
from comfyone.transport.answers import V1_FAULTS, Answer, Faults
from comfyone.transport.call import Call, Multipart, Timeouts
from comfyone.transport.decisions import (
    CHUNK,
    ERROR_LIMIT,
    Hop,
    Trouble,
    body_of,
    causes,
    check_kind,
    first_hop,
    headers_of,
    moved,
    next_hop,
    no_tls,
    refusal,
    shown,
)
from comfyone.transport.endpoint import Credentials, Endpoint
from comfyone.transport.retry import RetryPolicy, after, repetition
from comfyone.transport.surroundings import surroundings
from comfyone.utils.logging import Log
from comfyone.wire.v1 import APIResponse

__all__ = ["Transport"]

_HEADERS = requests.utils.default_headers()
_CONNECTIONS = 64
Result = TypeVar("Result")


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


class Transport:
    """Sends calls to one server under one set of credentials. Safe to use from many threads.

    Args:
        endpoint: The server.
        credentials: What proves who we are. They go to no URL that the endpoint does not trust.
        timeouts: How long to wait where a call does not say.
        policy: How often to try, and how patiently.
        log: Where to log.
        faults: Which errors are made of what goes wrong.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        timeouts: Timeouts,
        policy: RetryPolicy,
        log: Log,
        *,
        faults: Faults = V1_FAULTS,
    ) -> None:
        self.endpoint = endpoint
        self.policy = policy
        self.timeouts = timeouts
        self._credentials = credentials
        self._log = log
        self._faults = faults

    def __repr__(self) -> str:
        return f"Transport({self.endpoint.base_url!r})"

    def exchange(self, call: Call, *, attempts: int | None = None) -> Answer:
        """Send a call and read its answer; ``attempts`` stands in for the policy's.

        Raises:
            APIError: The HTTP status is an error, or no answer came. Which kind, the faults decide.
            ValidationError: The call is none that can be sent.
        """
        return self._repeat(call, lambda: self._exchange_once(call), attempts)

    def send(self, call: Call, *, attempts: int | None = None) -> APIResponse:
        """Send a call and read its envelope, whatever its code.

        Raises:
            APIError: As `exchange`, or the body is no envelope.
        """
        return (self.exchange(call, attempts=attempts)).envelope()

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
            check_kind(call, answer.status_code, answer.headers, self._faults)
            yield self._pieces(call, answer, live)

    def _repeat(self, call: Call, once: Callable[[], Result], attempts: int | None = None) -> Result:
        try:
            return once()
        except APIError as error:
            again = after(error, once)
        return tenacity.Retrying(**repetition(call, self.policy, attempts, self._log))(again)

    def _exchange_once(self, call: Call) -> Answer:
        with self._request(call) as answer:
            return Answer(answer.status_code, answer.headers, answer.content)

    def _request(self, call: Call, *, stream: bool = False) -> requests.Response:
        """One attempt, redirects included."""
        started = time.monotonic()
        hop = first_hop(self.endpoint, call)
        while True:
            answer = self._hop(call, hop, stream)
            if not moved(answer.status_code, answer.headers):
                break
            answer.close()
            hop = next_hop(self.endpoint, call, hop, answer.status_code, answer.headers, self._faults)
        self._log.debug(f"{shown(call)}: HTTP {answer.status_code} in {(time.monotonic() - started) * 1000:.0f} ms")
        return self._checked(call, answer)

    def _hop(self, call: Call, hop: Hop, stream: bool) -> requests.Response:
        timeouts = call.timeouts(self.timeouts)
        around = surroundings(hop.url)
        form = Multipart(call.upload) if call.upload else None
        with self._translated(call):
            try:
                # Not prepared by the session: what it would merge in, we know already, and merging takes longer than sending.
                prepared = requests.PreparedRequest()
                prepared.prepare(
                    call.method,
                    hop.url,
                    data=form if form is not None else body_of(call),
                    headers={**_HEADERS, **headers_of(call, hop, self._credentials, form)},
                    auth=lambda request: request,  # who we are stands in the headers; a .netrc has no say
                )
                return _session(os.getpid()).send(
                    prepared,
                    timeout=(timeouts.connect, timeouts.read),
                    allow_redirects=False,
                    stream=stream,
                    proxies=around.proxies,
                    verify=around.verify,
                )
            finally:
                if form is not None:
                    form.close()

    def _checked(self, call: Call, answer: requests.Response) -> requests.Response:
        if answer.status_code < 300:
            return answer
        with answer, self._translated(call):
            content = next(answer.iter_content(ERROR_LIMIT), b"")
        raise refusal(answer.status_code, answer.headers, content, self._faults, self._credentials)

    def _pieces(self, call: Call, answer: requests.Response, live: bool) -> Iterator[bytes]:
        with self._translated(call):
            if not live:
                yield from answer.iter_content(CHUNK)
                return
            while piece := answer.raw.read1(CHUNK):
                yield piece

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        """The one door where failures of requests and urllib3 become ours."""
        try:
            yield
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
        ) as error:
            raise ValidationError(f"{shown(call)}: not an address that can be called") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._unanswered(call, error) from error

    def _unanswered(self, call: Call, error: Exception) -> APIError:
        chain = list(causes(error))
        trouble = _trouble(chain)
        said = None
        if trouble is Trouble.REFUSED:
            said = next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), None)
        return trouble.error(call, self._faults, said.lower() if said else None)


def _trouble(chain: list[BaseException]) -> Trouble:
    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if has(ssl.SSLCertVerificationError):
        return Trouble.CERTIFICATE
    if no_tls(chain):
        return Trouble.NO_TLS
    if has(requests.exceptions.ProxyError):
        return Trouble.PROXY
    if has(urllib3.exceptions.NewConnectionError):  # a kind of ConnectTimeoutError, so it comes first
        return Trouble.REFUSED
    if has(urllib3.exceptions.ConnectTimeoutError):
        return Trouble.CONNECT_TIMEOUT
    if has(requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        return Trouble.READ_TIMEOUT
    if has(http.client.BadStatusLine) and not has(http.client.RemoteDisconnected):  # the latter is a kind of the former
        return Trouble.NO_HTTP
    return Trouble.BROKEN
