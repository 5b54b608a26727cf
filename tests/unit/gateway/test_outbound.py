"""The way out leads to what is public, however an address is spelled and whatever its name leads to a moment later."""

from __future__ import annotations

import ipaddress
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from ipaddress import ip_address, ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.gateway.domain.addresses import AddressRefused, check_address, may_call
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.outbound.guard import MAX_REDIRECTS, Guard, open_guard
from tests.support.receiver import Receiver, Reply

CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "localhost",
    "example.com",
    "1",
    "127.1",
    "0x7f000001",
    "1.2.3.4.5",
    "1.2.3.256",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "223.255.255.255",
    "168.63.129.17",
    "2606:4700::1111",
    "2a00:1450::1",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_closed(address: str) -> None:
    assert not may_call(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_open(address: str) -> None:
    assert may_call(address)


@given(st.ip_addresses())
def test_nothing_is_open_that_python_knows_to_be_special(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    special = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    assert not (special and may_call(str(ip)))


@given(st.ip_addresses(v=6, network="::ffff:0:0/96") | st.ip_addresses(v=6, network="64:ff9b::/96"))
def test_no_ipv4_address_gets_out_in_disguise(ip: ipaddress.IPv6Address) -> None:
    assert not may_call(str(ip))
    assert not may_call(str(ip), [ip_network("0.0.0.0/0")])


def test_the_operator_opens_networks_and_nothing_beside_them() -> None:
    opened = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert [may_call(ip, opened) for ip in ("10.1.2.3", "fd12::1", "8.8.8.8")] == [True] * 3
    assert [may_call(ip, opened) for ip in ("10.2.0.1", "127.0.0.1", "fe80::1", "::ffff:10.1.2.3")] == [False] * 4


REFUSED = [
    "", "hook", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1/", "javascript:alert(1)",
    "http:", "http://", "http:///path", "http://?x", "http://#x", "http://:80/", "https:example.com", "http:/example.com",
    "http://user@example.com/", "http://user:pass@example.com/", "http://@example.com/", "http://:@example.com/",
    "http://example.com\\@127.0.0.1/", "http://example.com:0/", "http://example.com:99999/", "http://example.com:x/",
    "http://exa mple.com/", "http://example.com/a b", "http://example.com/\r\nHost: x", "http://example.com/\x00", " http://example.com/",
    "http://[::1", "http://::1]/", "http://[zz]/", "http://" + "a" * 3000 + ".com/",
    # IP addresses in other spellings, all of which a C library takes
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.1/",
    "http://017700000001/", "http://127.0.0.1./", "http://0/", "http://0x/", "http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://256.1.1.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(url)
    assert "pass" not in str(caught.value)


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda text: f"http://{text}"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with suppress(AddressRefused):
        assert check_address(text) == text


# through real sockets


class Names(AbstractResolver):
    """Answers with one list of addresses after the other, the last of them for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = deque(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if not addresses:
            raise OSError("no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def guard(*answers: Sequence[str], opened: Sequence[str] = ()) -> AsyncIterator[Guard]:
    names = Names(*answers) if answers else None
    async with open_guard([ip_network(network) for network in opened], "1.2.3", names) as made:
        yield made


async def fetched(guard: Guard, url: str) -> bytes:
    async with aclosing(guard.fetch(url)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


LOCAL = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/", "http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://127.1.2.3:{port}/",
    "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "http://127.0.0.1:{port}", "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://2130706433:{port}/", "http://0x7f.1:{port}/", "http://0177.1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/",
    "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/latest/", "http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/",
]  # fmt: skip


@pytest.mark.parametrize("url", LOCAL)
async def test_no_spelling_of_what_is_here_is_called(url: str, receiver: Receiver) -> None:
    async with guard() as out:
        address = url.format(port=receiver.server_port)
        with pytest.raises(AddressRefused):
            await out.check(address)
        for call in (lambda: out.post(address, b"{}", {}), lambda: fetched(out, address)):
            with pytest.raises((AddressRefused, Unreachable)):  # a machine may not know the name at all
                await call()
    assert receiver.got == []


HOSTS = (
    st.text(max_size=12)
    | st.text("a.-_0x[]:%①é。", max_size=70)
    | st.sampled_from(["a..b", "a" * 64, "é" * 60, "xn--a", "."])
)


@settings(max_examples=300)
@given(HOSTS, st.booleans())
async def test_any_host_is_refused_or_out_of_reach(host: str, known: bool) -> None:
    async with guard(["127.0.0.1"] if known else []) as out:
        for call in (out.check, lambda url: out.post(url, b"{}", {}), lambda url: fetched(out, url)):
            with pytest.raises((AddressRefused, Unreachable)):
                await call(f"http://{host}/")


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "xn--a.invalid", "-.invalid"])
async def test_a_name_that_cannot_be_one_is_refused_by_the_real_resolver_too(host: str) -> None:
    async with guard() as out:
        with pytest.raises(AddressRefused):
            await out.check(f"http://{host}/")
        with pytest.raises((AddressRefused, Unreachable)):
            await out.post(f"http://{host}/", b"{}", {})


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["10.0.0.1", "fe80::1"], ["::ffff:127.0.0.1"], []])
async def test_a_name_that_leads_to_nothing_public_is_refused_without_saying_where_it_leads(
    addresses: list[str], receiver: Receiver
) -> None:
    async with guard(addresses) as out:
        with pytest.raises(AddressRefused) as caught:
            await out.check(f"http://inner.example:{receiver.server_port}/")
        assert "inner.example" in str(caught.value)
        assert not any(address in str(caught.value) for address in addresses)
        with pytest.raises((AddressRefused, Unreachable)):
            await out.post(f"http://inner.example:{receiver.server_port}/", b"{}", {})
    assert receiver.got == []


async def test_a_name_that_was_public_when_it_was_checked_is_checked_again_when_it_is_called(
    receiver: Receiver,
) -> None:
    async with guard(["8.8.8.8"], ["127.0.0.1"]) as out:
        url = f"http://rebinding.example:{receiver.server_port}/"
        await out.check(url)
        for _ in range(2):
            with pytest.raises(AddressRefused):
                await out.post(url, b"{}", {})
    assert receiver.got == []


async def test_of_a_name_with_many_addresses_only_the_open_ones_are_called(receiver: Receiver) -> None:
    async with guard(["10.0.0.1", "127.0.0.1", "::1"], opened=["127.0.0.0/8"]) as out:
        assert (await out.post(f"http://mixed.example:{receiver.server_port}/", b"{}", {})).status == 204
    assert [message.headers["host"] for message in receiver.got] == [f"mixed.example:{receiver.server_port}"]


async def test_what_is_connected_to_is_what_was_looked_up_once(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])
    async with open_guard([ip_network("127.0.0.0/8")], "1.2.3", names) as out:
        await out.post(f"http://once.example:{receiver.server_port}/", b"{}", {})
    assert names.asked == ["once.example"]


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/", "http://inner.example/", "http://[::1]/", "//169.254.169.254/", "file:///etc/passwd"],
)
async def test_a_redirect_to_what_is_closed_is_refused(location: str, receiver: Receiver) -> None:
    receiver.files["/"] = Reply(302, headers={"Location": location})
    async with guard(["10.0.0.7"], opened=["127.0.0.0/8"]) as out:
        with pytest.raises(AddressRefused):
            await fetched(out, f"{receiver.url}/")
    assert len(receiver.got) == 1


async def test_few_redirects_are_followed_by_a_download_and_none_by_a_message(receiver: Receiver) -> None:
    receiver.files = {f"/{n}": Reply(302, headers={"Location": f"/{n - 1}?a=%2Fb%20c"}) for n in range(1, 9)}
    receiver.files = {f"{path}?a=%2Fb%20c": reply for path, reply in receiver.files.items()}
    receiver.files["/0?a=%2Fb%20c"] = Reply(200, b"bytes")
    async with guard(opened=["127.0.0.0/8"]) as out:
        assert await fetched(out, f"{receiver.url}/{MAX_REDIRECTS}?a=%2Fb%20c") == b"bytes"
        with pytest.raises(Unreachable, match="redirects more than"):
            await fetched(out, f"{receiver.url}/{MAX_REDIRECTS + 1}?a=%2Fb%20c")
        receiver.got.clear()
        assert (await out.post(f"{receiver.url}/2?a=%2Fb%20c", b"{}", {})).status == 302
    assert len(receiver.got) == 1


async def test_no_cookie_is_kept_no_proxy_is_asked_and_we_say_who_we_are(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    receiver.files["/"] = Reply(200, b"x", {"Set-Cookie": "a=b"})
    async with guard(opened=["127.0.0.0/8"]) as out:
        for _ in range(2):
            await fetched(out, f"{receiver.url}/")
    assert [message.headers["user-agent"] for message in receiver.got] == ["comfyone/1.2.3"] * 2
    assert "cookie" not in receiver.got[-1].headers


async def test_what_is_not_there_or_not_good_is_unreachable(receiver: Receiver) -> None:
    receiver.files["/missing"] = Reply(404)
    receiver.files["/nowhere"] = Reply(302)
    receiver.files["/short"] = Reply(200, b"abc", {"Content-Length": "10"})
    async with guard(opened=["127.0.0.0/8"]) as out:
        for path in ("/missing", "/nowhere"):
            with pytest.raises(Unreachable, match="127"):
                await fetched(out, receiver.url + path)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(Unreachable, match="cannot be connected"):
                await out.post(f"http://127.0.0.1:{taken.getsockname()[1]}/", b"{}", {})
        with pytest.raises(Unreachable, match="cannot be connected to"):
            await fetched(out, receiver.url.replace("http", "https"))


async def test_the_seconds_of_retry_after_are_told(receiver: Receiver) -> None:
    receiver.script.extend([Reply(503, headers={"Retry-After": "7"}), Reply(503, headers={"Retry-After": "later"})])
    async with guard(opened=["127.0.0.0/8"]) as out:
        first, second = [await out.post(receiver.url, b"{}", {}) for _ in range(2)]
    assert (first.status, first.retry_after, second.retry_after) == (503, 7.0, None)
