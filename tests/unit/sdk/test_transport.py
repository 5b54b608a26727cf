"""Sending for real: what is repeated, what is waited for, and where the key goes."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from comfyone import (
    APIError,
    ComfyOneClient,
    ConnectionError,
    PromptInput,
    PromptPayload,
    ServerError,
    ValidationError,
)
from comfyone.transport.retry import RetryPolicy

from .conftest import FAST, KEY, Reply, Server, cut, ok

CERTIFICATE = Path(__file__).with_name("loopback.pem")  # of no use but here: self-signed for 127.0.0.1
PROMPT = PromptPayload(workflow_id="w-1", inputs=[PromptInput(id="6", params={"text": "owl"})])


@pytest.mark.seed("S1-5", "S1-59")
def test_a_read_is_repeated_until_it_succeeds(client: ComfyOneClient, server: Server) -> None:
    server.script.extend([Reply({}, 502), Reply(write=cut), ok([1])])
    assert client.get_workflows().data == [1]
    assert len(server.seen) == 3


@pytest.mark.seed("S1-5")
def test_max_retries_counts_all_attempts(server: Server) -> None:
    server.script.extend([Reply({}, 503)] * 9)
    with pytest.raises(ServerError):
        ComfyOneClient(KEY, server.url, max_retries=1).get_workflows()
    assert len(server.seen) == 1
    with pytest.raises(ServerError):
        ComfyOneClient(KEY, server.url, policy=FAST).get_workflows()
    assert len(server.seen) == 1 + 3


def test_a_lost_submission_is_repeated_under_the_same_key(client: ComfyOneClient, server: Server) -> None:
    server.script.extend([Reply(write=cut), Reply({}, 500), ok({"taskId": "t"})])
    assert client.prompt(PROMPT).data == {"taskId": "t"}
    assert client.prompt(PROMPT).ok
    keys = [seen.headers["Idempotency-Key"] for seen in server.seen]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({seen.body for seen in server.seen}) == 1


def test_what_might_happen_twice_is_sent_once(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply(write=cut))
    with pytest.raises(ConnectionError) as caught:
        client.cancel_prompt("t")
    assert (caught.value.code, caught.value.status) == (0, None)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_server_did_not_take_is_sent_again(status: int, client: ComfyOneClient, server: Server) -> None:
    server.script.extend([Reply({"code": status, "msg": "later"}, status, {"Retry-After": "0"}), ok()])
    assert client.cancel_prompt("t").ok
    assert len(server.seen) == 2


def test_a_retried_upload_sends_the_whole_file_again(client: ComfyOneClient, server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    path = tmp_path / "owl.png"
    path.write_bytes(content)
    with path.open("rb") as opened:
        for source in (path, opened, content):
            server.script.extend([Reply(write=cut), Reply({}, 503), ok({"Path": "p"})])
            assert client.upload_file(source, name="owl.png").ok
        assert not opened.closed
    assert [content in seen.body for seen in server.seen] == [True] * 9


def test_a_stream_that_can_not_be_rewound_is_uploaded_again_too(client: ComfyOneClient, server: Server) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as source:
        theirs.sendall(b"pixels")
        theirs.shutdown(socket.SHUT_WR)
        server.script.extend([Reply({}, 503), ok()])
        assert client.upload_file(source, name="a.png").ok
    assert [b"\r\n\r\npixels\r\n" in seen.body for seen in server.seen] == [True, True]


@pytest.mark.seed("S1-42", "S1-43")
def test_a_refused_connection_is_a_connection_error_that_says_so() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))  # nobody else can have it, and nobody listens
        client = ComfyOneClient(KEY, f"http://127.0.0.1:{mute.getsockname()[1]}", policy=FAST)
        with pytest.raises(ConnectionError, match="refused") as caught:
            client.prompt(PROMPT)
    assert isinstance(caught.value, APIError)
    assert caught.value.context["sent"] is False
    assert KEY not in str(caught.value)


@pytest.mark.seed("S1-6", "S1-42")
def test_a_silent_server_is_a_connection_error_after_the_read_timeout(server: Server) -> None:
    server.script.append(Reply(write=lambda handler: cut(handler) if server.released.wait(20) else None))
    client = ComfyOneClient(KEY, server.url, max_retries=1, timeout=(5, 0.2))
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="no answer in time"):
        client.get_workflows()
    assert time.monotonic() - started < 5


def test_an_unknown_certificate_is_refused_at_once_and_a_known_one_is_not(
    serve: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = serve()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    client = ComfyOneClient(KEY, f"https://127.0.0.1:{secure.server_port}", policy=RetryPolicy(base=60))
    with pytest.raises(ConnectionError, match="certificate") as caught:
        client.get_workflows()
    assert caught.value.hint is not None
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    assert client.get_workflows().ok


def test_an_upload_outlasts_the_ordinary_timeout(server: Server) -> None:
    answered = threading.Event()

    def late(handler: Any) -> None:
        answered.wait(0.6)
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"code":0,"msg":""}')

    server.script.append(Reply(write=late))
    client = ComfyOneClient(KEY, server.url, max_retries=1, timeout=0.2)
    assert client.upload_file(b"x", name="a.bin").ok
    assert client.calls.download("/x").timeouts(client.transport.timeouts).read >= 60


def test_a_netrc_file_has_no_say(
    client: ComfyOneClient, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.get_workflows()
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_proxy_from_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    assert ComfyOneClient(KEY, "http://gateway.test", policy=FAST).get_workflows().ok
    assert server.seen[0].headers["Host"] == "gateway.test"


def test_no_cookie_of_one_client_travels_with_another(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply({"code": 0, "msg": ""}, headers={"Set-Cookie": "session=one; Path=/"}))
    client.get_workflows()
    ComfyOneClient("other", server.url).get_workflows()
    assert "Cookie" not in server.seen[1].headers


def test_a_redirect_to_another_origin_loses_the_key(serve: Callable[[], Server]) -> None:
    ours, other = serve(), serve()
    ours.script.extend([Reply({}, 302, {"Location": "/v1/there"}), Reply({}, 302, {"Location": f"{other.url}/x"})])
    assert ComfyOneClient(KEY, ours.url).get_prompt_history().ok
    assert ["Authorization" in seen.headers for seen in ours.seen] == [True, True]
    assert [seen.query for seen in ours.seen] == [{"limit": ["10"], "offset": ["0"]}, {}]
    assert "Authorization" not in other.seen[0].headers


def test_a_redirected_submission_is_refused_with_the_right_address(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply({}, 301, {"Location": "https://gw.example.org/v1/prompts?sig=secret"}))
    with pytest.raises(APIError, match=r"https://gw\.example\.org/v1/prompts") as caught:
        client.prompt(PROMPT)
    assert "secret" not in str(caught.value)
    server.script.extend([Reply({}, 307, {"Location": "/elsewhere"}), ok()])
    assert client.prompt(PROMPT).ok
    assert server.seen[-1].body == server.seen[-2].body


def test_endless_redirects_end(client: ComfyOneClient, server: Server) -> None:
    server.routes["GET /v1/workflows"] = lambda seen: Reply({}, 302, {"Location": "/v1/workflows"})
    with pytest.raises(APIError, match="redirected more than"):
        client.get_workflows()


def test_one_client_serves_many_threads(client: ComfyOneClient, server: Server) -> None:
    server.routes["POST /v1/prompts"] = lambda seen: ok({"taskId": seen.json["inputs"]["n"]})

    def submit(number: int) -> Any:
        data = client.prompt(PromptPayload(workflow_id="w", inputs={"n": number})).data
        assert isinstance(data, dict)
        return data["taskId"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(submit, range(320))) == list(range(320))
    assert len({seen.headers["Idempotency-Key"] for seen in server.seen}) == 320


def test_all_clients_of_a_process_share_their_connections(server: Server) -> None:
    peers: set[int] = set()

    def note(handler: Any) -> None:
        peers.add(handler.client_address[1])
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"code":0,"msg":""}')

    server.routes["GET /v1/workflows"] = lambda seen: Reply(write=note)
    for number in range(5):
        assert ComfyOneClient(f"key-{number}", server.url).get_workflows().ok
    assert len(peers) == 1
    assert [seen.headers["Authorization"] for seen in server.seen] == [f"Bearer key-{number}" for number in range(5)]


def test_an_address_that_can_not_be_called_is_refused(client: ComfyOneClient) -> None:
    for url in ("ftp://host/x", "http://[bad/x", "file:///etc/passwd", "", "http://user:pass@host/x", "//"):
        with pytest.raises(ValidationError):
            client.download_file(url)


def test_an_answer_that_breaks_off_is_asked_for_again(client: ComfyOneClient, server: Server) -> None:
    def half(handler: Any) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"code":0')
        cut(handler)

    server.script.extend([Reply(write=half), ok([1])])
    assert client.get_workflows().data == [1]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
