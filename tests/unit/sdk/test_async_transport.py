"""The asynchronous door: what the blocking one does, without blocking, and from one event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from comfyone import APIError, ComfyOneError, ConnectionError, ServerError, ValidationError
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.call import Call, Timeouts, Upload
from comfyone.transport.endpoint import ApiKey, Credentials, Endpoint, Headers
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import default_logger

from .conftest import FAST, KEY, Reply, Server, cut, ok

CERTIFICATE = Path(__file__).with_name("loopback.pem")
GET = Call("GET", "v1/workflows")
POST = Call("POST", "v1/prompts", json={"n": 1}, idempotent=False)


def a_transport(
    url: str,
    policy: RetryPolicy = FAST,
    timeout: float | tuple[float, float] = 5,
    credentials: Credentials | None = None,
) -> AsyncTransport:
    who = credentials or ApiKey(KEY)
    return AsyncTransport(Endpoint.parse(url), who, Timeouts.parse(timeout), policy, default_logger())


@pytest.fixture
async def transport(server: Server) -> AsyncIterator[AsyncTransport]:
    async with a_transport(server.url) as transport:
        yield transport


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


async def test_a_read_is_repeated_until_it_succeeds(transport: AsyncTransport, server: Server) -> None:
    server.script.extend([Reply({}, 502), Reply(write=cut), ok([1])])
    assert (await transport.send(GET)).data == [1]
    assert len(server.seen) == 3


async def test_the_attempts_are_those_of_the_policy_and_no_more(server: Server) -> None:
    server.routes["GET /v1/workflows"] = lambda seen: Reply(write=cut)
    async with a_transport(server.url) as transport:
        with pytest.raises(ConnectionError, match="broke before"):
            await transport.send(GET)
        assert len(server.seen) == 3
        with pytest.raises(ConnectionError):
            await transport.send(GET, attempts=1)
        assert len(server.seen) == 4


async def test_what_might_happen_twice_is_sent_once(transport: AsyncTransport, server: Server) -> None:
    server.script.extend([ok(), Reply(write=cut)])
    await transport.send(GET)
    with pytest.raises(ConnectionError) as caught:
        await transport.send(POST)
    assert (caught.value.code, caught.value.status, caught.value.context) == (0, None, {"sent": True})
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_what_the_server_did_not_take_is_sent_again(
    status: int, transport: AsyncTransport, server: Server
) -> None:
    server.script.extend([Reply({"code": status, "msg": "later"}, status, {"Retry-After": "0"}), ok()])
    assert (await transport.send(POST)).ok
    assert [seen.json for seen in server.seen] == [{"n": 1}, {"n": 1}]


async def test_a_retried_upload_sends_the_whole_form_again(
    transport: AsyncTransport, server: Server, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4096
    path = tmp_path / "owl.png"
    path.write_bytes(content)
    with path.open("rb") as opened:
        for source in (path, opened, content):
            upload = replace(Upload.of(source, "owl.png"), part="image", fields={"overwrite": "true"})
            server.script.extend([Reply(write=cut), Reply({}, 503), ok({"Path": "p"})])
            assert (await transport.send(Call("POST", "v1/files", upload=upload))).ok
        assert not opened.closed
    assert [seen.headers["Content-Length"] == str(len(seen.body)) for seen in server.seen] == [True] * 9
    assert [content in seen.body for seen in server.seen] == [True] * 9
    field = b'Content-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
    file = b'Content-Disposition: form-data; name="image"; filename="owl.png"\r\n'
    assert all(0 < seen.body.find(field) < seen.body.find(file) for seen in server.seen)


async def test_a_file_that_becomes_shorter_while_it_is_sent_is_told_as_such(transport: AsyncTransport) -> None:
    class Shrinking(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b""

    upload = Upload("a.bin", lambda: Shrinking(b"0123456789"), "text/plain")
    with pytest.raises(ValidationError, match="shorter"):
        await transport.send(Call("POST", "v1/files", upload=upload))


async def test_a_server_that_takes_no_more_of_a_body_is_given_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    async with await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024) as listening:
        port = listening.sockets[0].getsockname()[1]
        call = Call("POST", "v1/prompts", json={"text": "x" * 50_000_000}, idempotent=False)
        async with a_transport(f"http://127.0.0.1:{port}", timeout=0.3) as transport:
            with pytest.raises(ConnectionError, match="no answer in time"):
                await transport.send(call)
        gone.set()


async def test_a_refused_connection_says_so(unused_port: int) -> None:
    async with a_transport(f"http://127.0.0.1:{unused_port}") as transport:
        with pytest.raises(ConnectionError, match=r"POST v1/prompts: connection refused \(check") as caught:
            await transport.send(POST)
    assert caught.value.context == {"sent": False}


async def test_a_silent_server_is_given_up_after_the_read_timeout(server: Server) -> None:
    server.script.append(Reply(write=lambda handler: cut(handler) if server.released.wait(20) else None))
    started = time.monotonic()
    async with a_transport(server.url, RetryPolicy(attempts=1), (5, 0.2)) as transport:
        with pytest.raises(ConnectionError, match="no answer in time"):
            await transport.send(GET)
    assert time.monotonic() - started < 5


def secured(server: Server) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return f"https://127.0.0.1:{server.server_port}"


async def test_an_unknown_certificate_is_refused_at_once_and_a_known_one_is_not(
    serve: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = secured(serve())
    async with a_transport(address, RetryPolicy(base=60)) as transport:
        with pytest.raises(ConnectionError, match="certificate") as caught:
            await transport.send(GET)
        assert "REQUESTS_CA_BUNDLE" in (caught.value.hint or "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    async with a_transport(address, RetryPolicy(base=60)) as transport:
        assert (await transport.send(GET)).ok


async def test_what_does_not_speak_tls_is_told_apart(server: Server) -> None:
    async with a_transport(f"https://127.0.0.1:{server.server_port}", RetryPolicy(base=60)) as transport:
        with pytest.raises(ConnectionError, match="does not speak TLS"):
            await transport.send(GET)


def garbage(handler: Any) -> None:
    handler.wfile.write(b"SSH-2.0-x\r\n\r\n")
    cut(handler)


async def test_what_does_not_speak_http_is_told_apart(server: Server) -> None:
    server.script.append(Reply(write=garbage))
    async with a_transport(server.url, RetryPolicy(base=60)) as transport:
        with pytest.raises(ConnectionError, match="does not speak HTTP"):
            await transport.send(GET)


async def test_a_netrc_file_and_cookies_have_no_say(
    transport: AsyncTransport, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.script.append(Reply({"code": 0, "msg": ""}, headers={"Set-Cookie": "session=one; Path=/"}))
    await transport.send(GET)
    await transport.send(GET)
    assert [seen.headers["Authorization"] for seen in server.seen] == [f"Bearer {KEY}"] * 2
    assert "Cookie" not in server.seen[1].headers


async def test_a_proxy_from_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    async with a_transport("http://gateway.test") as transport:
        assert (await transport.send(GET)).ok
        assert server.seen[0].headers["Host"] == "gateway.test"
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    async with a_transport("http://gateway.test") as transport:
        with pytest.raises(ValidationError, match="proxy"):
            await transport.send(GET)


async def test_a_proxy_that_is_away_is_told_as_such(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{unused_port}")
    monkeypatch.setenv("no_proxy", "")
    async with a_transport("http://gateway.test") as transport:
        with pytest.raises(ConnectionError, match="proxy did not connect"):
            await transport.send(GET)


async def test_a_redirect_to_another_origin_loses_the_credentials(serve: Callable[[], Server]) -> None:
    ours, other = serve(), serve()
    ours.script.extend([Reply({}, 302, {"Location": "/v1/there"}), Reply({}, 302, {"Location": f"{other.url}/x"})])
    call = Call("GET", "v1/history", {"limit": 10, "none": None})
    async with a_transport(ours.url, credentials=Headers({"X-Token": "s3cret"})) as transport:
        assert (await transport.send(call)).ok
    assert [seen.headers["X-Token"] for seen in ours.seen] == ["s3cret", "s3cret"]
    assert [seen.query for seen in ours.seen] == [{"limit": ["10"]}, {}]
    assert "X-Token" not in other.seen[0].headers


async def test_a_redirected_submission_is_refused_with_the_right_address(
    transport: AsyncTransport, server: Server
) -> None:
    server.script.append(Reply({}, 301, {"Location": "https://gw.example.org/v1/prompts?sig=secret"}))
    with pytest.raises(APIError, match=r"https://gw\.example\.org/v1/prompts") as caught:
        await transport.send(POST)
    assert "secret" not in str(caught.value)
    server.script.extend([Reply({}, 307, {"Location": "/elsewhere"}), ok()])
    assert (await transport.send(POST)).ok
    assert server.seen[-1].body == server.seen[-2].body
    server.routes["GET /v1/workflows"] = lambda seen: Reply({}, 302, {"Location": "/v1/workflows"})
    with pytest.raises(APIError, match="redirected more than"):
        await transport.send(GET)


async def test_no_error_shows_the_credentials_even_if_the_server_repeats_them(server: Server) -> None:
    who = Headers.basic("owl", "hoot-hoot")
    token = who.headers()["Authorization"].split()[1]
    server.routes["GET /v1/workflows"] = lambda seen: Reply({"msg": f"{token} hoot-hoot", "hint": token}, 403)
    async with a_transport(server.url, credentials=who) as transport:
        with pytest.raises(APIError) as caught:
            await transport.send(GET)
    told = f"{caught.value} {caught.value!r} {caught.value.args} {vars(caught.value)} {who} {transport!r}"
    assert "***" in told
    assert token not in told
    assert "hoot-hoot" not in told


async def test_an_answer_that_breaks_off_is_asked_for_again(transport: AsyncTransport, server: Server) -> None:
    def half(handler: Any) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"code":0')
        cut(handler)

    server.script.extend([Reply(write=half), ok([1])])
    assert (await transport.send(GET)).data == [1]


async def test_the_body_of_an_error_is_read_in_part_only(transport: AsyncTransport, server: Server) -> None:
    server.script.append(Reply(b'{"msg": "' + b"x" * 5_000_000, 400))
    with pytest.raises(APIError, match="HTTP 400"):
        await transport.send(GET)


async def test_a_cancelled_call_ends_at_once_and_leaves_no_connection_that_somebody_else_gets(
    transport: AsyncTransport, server: Server
) -> None:
    entered = threading.Semaphore(0)

    def late(handler: Any) -> None:
        entered.release()
        server.released.wait(30)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    taken = []
    for _ in range(3):  # the machine may pause once or twice
        server.script.append(Reply(write=late))
        task = asyncio.create_task(transport.send(GET))
        assert await asyncio.to_thread(entered.acquire, timeout=5)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        taken.append(time.monotonic() - started)
    assert min(taken) < 0.5
    server.released.set()
    assert [(await transport.send(GET)).data for _ in range(3)] == [None] * 3


async def test_a_stream_gives_each_piece_as_soon_as_it_is_there(transport: AsyncTransport, server: Server) -> None:
    def slowly(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        assert server.released.wait(5)
        handler.wfile.write(b"two")

    server.script.append(Reply(write=slowly))
    async with transport.stream(GET, live=True) as pieces:
        assert await anext(pieces) == b"one"
        server.released.set()
        assert await anext(pieces) == b"two"
        assert await anext(pieces, None) is None


async def test_many_calls_at_once_share_the_connections(transport: AsyncTransport, server: Server) -> None:
    server.routes["POST /v1/prompts"] = lambda seen: ok({"n": seen.json["n"]})
    calls = [Call("POST", "v1/prompts", json={"n": number}) for number in range(200)]
    answers = await asyncio.gather(*(transport.send(call) for call in calls))
    assert [answer.data for answer in answers] == [{"n": number} for number in range(200)]


def test_another_loop_is_refused_and_a_closed_transport_may_be_used_in_another(server: Server) -> None:
    transport = a_transport(server.url)

    async def once(close: bool) -> None:
        assert (await transport.send(GET)).ok
        if close:
            await transport.close()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(once(close=False))
    with pytest.raises(ComfyOneError, match="another event loop"):
        asyncio.run(once(close=False))
    loop.run_until_complete(transport.close())
    loop.close()
    asyncio.run(once(close=True))


async def test_what_is_under_way_when_a_transport_is_closed_fails_and_opens_nothing_anew(server: Server) -> None:
    transport, arrived = a_transport(server.url), asyncio.Event()
    here, go = asyncio.get_running_loop(), threading.Event()

    def held(seen: Any) -> Reply:
        here.call_soon_threadsafe(arrived.set)
        go.wait(10)
        return ok()

    server.routes[f"{GET.method} /{GET.path}"] = held
    sending = asyncio.create_task(transport.send(GET))
    await arrived.wait()
    await transport.close()
    with pytest.raises(ComfyOneError, match="is closed"):
        await sending
    assert transport._sessions is None
    go.set()


async def test_a_socket_is_opened_with_the_credentials_and_follows_no_redirect(serve: Callable[[], Server]) -> None:
    ours, other = serve(), serve()
    ours.script.extend([Reply({}, 302, {"Location": f"{other.url}/x"}), Reply({}, 401), ok()])
    async with a_transport(ours.url) as transport:
        for expected in (302, 401, 200):
            with pytest.raises(APIError) as caught:
                async with transport.socket(Call("GET", "v1/ws"), "hello"):
                    pass
            assert caught.value.status == expected
    assert other.seen == []
    assert ours.seen[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can have."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        yield mute.getsockname()[1]


async def test_the_same_failure_is_told_in_the_same_words_by_both_colours(server: Server, unused_port: int) -> None:
    from comfyone.transport.blocking import Transport

    def both(url: str, patience: float) -> tuple[Transport, AsyncTransport]:
        once = RetryPolicy(attempts=1)
        arguments = (Endpoint.parse(url), ApiKey(KEY), Timeouts.parse((30, patience)), once, default_logger())
        return Transport(*arguments), AsyncTransport(*arguments)

    troubles: list[tuple[str, Callable[[], Reply] | None]] = [
        (f"http://127.0.0.1:{unused_port}", None),
        ("http://nowhere.invalid", None),
        (f"https://127.0.0.1:{server.server_port}", None),
        (server.url, lambda: Reply(write=cut)),
        (server.url, lambda: Reply(write=garbage)),
        (server.url, lambda: Reply(write=lambda handler: cut(handler) if server.released.wait(1) else None)),
        (server.url, lambda: Reply({"msg": "no", "code": 7, "hint": "so", "error": "slug"}, 422)),
        (server.url, lambda: Reply({}, 301, {"Location": "ftp://x/y"})),
        (server.url, lambda: Reply(b"<html>", 200)),
    ]
    silent = troubles[5][1]
    for url, reply in troubles:
        blocking, awaiting = both(url, 0.2 if reply is silent else 30)
        if reply is not None:
            server.script.extend([reply(), reply()])
        with pytest.raises(ComfyOneError) as first:
            await asyncio.to_thread(blocking.send, GET)
        async with awaiting:
            with pytest.raises(ComfyOneError) as second:
                await awaiting.send(GET)
        assert type(first.value) is type(second.value), url
        assert (str(first.value), first.value.hint, first.value.context) == (
            str(second.value),
            second.value.hint,
            second.value.context,
        )
    assert isinstance(first.value, APIError)
    assert not isinstance(first.value, ServerError)
