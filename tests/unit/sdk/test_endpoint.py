"""Addresses and keys."""

from __future__ import annotations

import pytest

from comfyone import ComfyOne, ValidationError
from comfyone.transport.endpoint import ApiKey, Endpoint


@pytest.mark.seed("S1-4")
@pytest.mark.parametrize(
    ("domain", "base", "ws"),
    [
        ("pandora-server-cf.onethingai.com", "https://pandora-server-cf.onethingai.com", "wss://pandora-server-cf.onethingai.com/v1/ws"),
        ("example.org:8443", "https://example.org:8443", "wss://example.org:8443/v1/ws"),
        ("10.0.0.7", "https://10.0.0.7", "wss://10.0.0.7/v1/ws"),
        ("localhost:8080", "http://localhost:8080", "ws://localhost:8080/v1/ws"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/ws"),
        ("[::1]:8080", "http://[::1]:8080", "ws://[::1]:8080/v1/ws"),
        ("https://localhost", "https://localhost", "wss://localhost/v1/ws"),
        ("http://gw.example.org/team/a/", "http://gw.example.org/team/a", "ws://gw.example.org/team/a/v1/ws"),
        (" HTTPS://Example.org/ ", "https://example.org", "wss://example.org/v1/ws"),
    ],
)  # fmt: skip
def test_a_domain_is_a_host_or_a_url(domain: str, base: str, ws: str) -> None:
    endpoint = Endpoint.parse(domain)
    assert (endpoint.base_url, endpoint.ws_url) == (base, ws)


@pytest.mark.parametrize(
    "domain",
    ["", "  ", "http://", "ftp://host", "host:port", "host:99999", "a b", "ho\nst", "http://user:secret@host", "::1", "http:///x"],
)  # fmt: skip
def test_a_bad_domain_is_refused_without_repeating_a_password(domain: str) -> None:
    with pytest.raises(ValidationError, match="domain") as caught:
        ComfyOne("key", domain)
    assert "secret" not in str(caught.value)


def test_only_the_hosted_zone_counts_as_hosted() -> None:
    assert Endpoint.parse("pandora-server-cf.onethingai.com").hosted
    assert Endpoint.parse("onethingai.com").hosted
    assert not Endpoint.parse("notonethingai.com").hosted
    assert not Endpoint.parse("onethingai.com.evil.org").hosted


def test_the_key_goes_to_its_own_origin_and_nowhere_else() -> None:
    gateway = Endpoint.parse("http://gw.example.org:8080")
    assert gateway.trusts("http://gw.example.org:8080/v1/files/x")
    for url in ("https://gw.example.org:8080/x", "http://gw.example.org/x", "http://evil.org:8080/x"):
        assert not gateway.trusts(url)
    assert Endpoint.parse("https://gw.example.org").trusts("https://gw.example.org:443/x")
    hosted = Endpoint.parse("pandora-server-cf.onethingai.com")
    assert hosted.trusts("https://files.onethingai.com/a.png")
    assert not hosted.trusts("http://files.onethingai.com/a.png")
    assert not hosted.trusts("https://files.onethingai.com.evil.org/a.png")


def test_a_result_path_is_resolved_below_the_base() -> None:
    endpoint = Endpoint.parse("http://gw.example.org/team")
    assert endpoint.resolve("/v1/files/a") == "http://gw.example.org/team/v1/files/a"
    assert endpoint.resolve("/team/v1/files/a") == "http://gw.example.org/team/v1/files/a"
    assert endpoint.resolve("https://cdn.example.org/a") == "https://cdn.example.org/a"
    assert endpoint.resolve("//cdn.example.org/a") == "http://cdn.example.org/a"


@pytest.mark.seed("S1-3")
@pytest.mark.parametrize("key", ["", "abc\n", "a b", "se\tcret", "se\x00cret", "schlüssel", None, 7])
def test_a_key_that_can_not_be_one_is_refused_and_not_repeated(key: object) -> None:
    with pytest.raises(ValidationError, match="api_key") as caught:
        ComfyOne(key)  # type: ignore[arg-type]
    assert not isinstance(key, str) or not key or key not in str(caught.value)


def test_a_key_never_shows_itself() -> None:
    key = ApiKey("sk-secret-1")
    client = ComfyOne("sk-secret-1")
    for thing in (key, client, client.api, client.ws, client.api.transport, client.job("j")):
        assert "sk-secret-1" not in f"{thing!r} {thing}"
    assert key.hide("refused sk-secret-1!") == "refused ***!"


@pytest.mark.seed("S1-3", "S1-4", "S1-5", "S1-6", "S1-9", "S1-10", "S1-11")
def test_a_client_has_the_attributes_and_defaults_of_the_contract() -> None:
    client = ComfyOne(api_key="key")
    assert client.domain == "pandora-server-cf.onethingai.com"
    assert client.base_url == "https://pandora-server-cf.onethingai.com"
    assert client.ws_url == "wss://pandora-server-cf.onethingai.com/v1/ws"
    assert client.api.transport.policy.attempts == 3
    assert client.api.transport.timeouts.read == 5
    assert not client.ws.is_connected()
    assert client.logger is not None
    client.close()


@pytest.mark.parametrize(
    "options", [{"max_retries": 0}, {"max_retries": True}, {"timeout": 0}, {"timeout": (1, 2, 3)}, {"timeout": None}]
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ComfyOne("key", **options)  # type: ignore[arg-type]


def test_a_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYONE_API_KEY", raising=False)
    monkeypatch.delenv("COMFYONE_DOMAIN", raising=False)
    with pytest.raises(ValidationError, match="COMFYONE_API_KEY"):
        ComfyOne.from_env()
    monkeypatch.setenv("COMFYONE_API_KEY", "key\n")
    assert ComfyOne.from_env().domain == "pandora-server-cf.onethingai.com"
    monkeypatch.setenv("COMFYONE_DOMAIN", "http://127.0.0.1:8080")
    client = ComfyOne.from_env(timeout=(1, 9))
    assert client.base_url == "http://127.0.0.1:8080"
    assert client.api.transport.timeouts.read == 9
