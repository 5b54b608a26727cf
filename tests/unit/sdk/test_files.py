"""Downloads: where they land, under which name, and never half of them."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyone import AuthenticationError, ComfyOneClient, ConnectionError, NotFoundError
from comfyone.utils.files import filled, name_in_url, new_file, safe_name, write_over

from .conftest import KEY, Reply, Server, cut

PIXELS = bytes(range(256)) * 100


@pytest.fixture
def picture(server: Server) -> Server:
    server.routes["GET /v1/files/f/owl.png"] = lambda seen: Reply(PIXELS)
    server.routes["GET /v1/files/f"] = lambda seen: Reply(PIXELS)
    return server


@pytest.mark.seed("S1-27")
def test_a_download_goes_to_the_current_folder_by_default(
    client: ComfyOneClient, picture: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert client.download_file("/v1/files/f/owl.png?sig=1") == tmp_path / "owl.png"
    unnamed = client.download_file("/v1/files/f")
    assert unnamed.parent == tmp_path
    assert re.fullmatch(r"comfyone_download_\d{10}\.png", unnamed.name)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [PIXELS, PIXELS]
    assert picture.seen[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.seed("S1-27")
def test_a_download_goes_to_a_folder_or_to_exactly_the_given_path(
    client: ComfyOneClient, picture: Server, tmp_path: Path
) -> None:
    url = f"{picture.url}/v1/files/f/owl.png"
    assert client.download_file(url, tmp_path) == tmp_path / "owl.png"
    assert client.download_file(url, f"{tmp_path}/new/") == tmp_path / "new" / "owl.png"
    exact = tmp_path / "mine.dat"
    exact.write_bytes(b"old")
    assert client.download_file(url, str(exact)) == exact
    assert exact.read_bytes() == PIXELS
    if os.name == "posix":
        other = tmp_path / "other"
        other.touch()
        assert stat.S_IMODE(exact.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


@pytest.mark.seed("S1-27")
def test_a_failure_to_fetch_is_a_connection_error_that_keeps_the_status(
    client: ComfyOneClient, server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "kept.png"
    target.write_bytes(b"old")
    server.script.append(Reply({"code": 404, "msg": "no such file"}, 404, {"X-Request-Id": "r-4"}))
    with pytest.raises(ConnectionError, match="no such file") as caught:
        client.download_file("/v1/files/f/owl.png", target)
    assert (caught.value.status, caught.value.request_id) == (404, "r-4")
    assert isinstance(caught.value.__cause__, NotFoundError)
    server.script.append(Reply({"code": 401, "msg": "no"}, 401))
    with pytest.raises(AuthenticationError):
        client.download_file("/v1/files/f/owl.png", target)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.png"]
    assert target.read_bytes() == b"old"


@pytest.mark.seed("S1-27")
def test_a_failure_to_write_is_an_os_error(client: ComfyOneClient, picture: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        client.download_file("/v1/files/f/owl.png", tmp_path / "missing" / "owl.png")
    assert not isinstance(caught.value, ConnectionError)
    assert len(picture.seen) == 1


def test_a_download_that_breaks_off_starts_again_and_leaves_nothing_behind(
    client: ComfyOneClient, server: Server, tmp_path: Path
) -> None:
    def half(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PIXELS) + PIXELS[:9000])
        cut(handler)

    server.script.extend([Reply(write=half), Reply(PIXELS)])
    assert client.download_file("/v1/files/f/owl.png", tmp_path).read_bytes() == PIXELS
    server.script.extend([Reply(write=half)] * 3)
    with pytest.raises(ConnectionError, match="broke"):
        client.download_file("/v1/files/f/other.png", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["owl.png"]


def test_a_result_on_another_server_is_fetched_without_the_key(serve: Callable[[], Server], tmp_path: Path) -> None:
    ours, other = serve(), serve()
    other.routes["GET /a.png"] = lambda seen: Reply(PIXELS)
    ComfyOneClient(KEY, ours.url).download_file(f"{other.url}/a.png", tmp_path)
    assert "Authorization" not in other.seen[0].headers
    assert ours.seen == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.png?x=c.jpg#d.gif", "b.png"),
        ("http://h/a/..%2F..%2Fetc%2Fpasswd.txt", "passwd.txt"),
        ("http://h/..%5C..%5Cboot.ini", "boot.ini"),
        ("http://h/%2e%2e", "fallback"),
        ("http://h/plain", "fallback"),
        ("http://h/", "fallback"),
        ("http://h/a%00b%0A.png", "a_b_.png"),
        ("http://h/CON.png", "fallback"),
        ("http://h/eule%20%C3%BC.png", "eule ü.png"),
        ("http://h/.png", "fallback"),
    ],
)
def test_a_name_in_a_url_never_leads_out_of_the_folder(url: str, name: str) -> None:
    assert name_in_url(url, "fallback") == name


def test_a_very_long_name_keeps_its_ending() -> None:
    name = safe_name("ü" * 400 + ".png", "x")
    assert len(name.encode()) <= 150
    assert name.endswith("ü.png")


def test_new_files_never_share_a_name(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    written: list[Path] = []

    def write(number: int) -> None:
        barrier.wait()
        written.append(filled(lambda: new_file(tmp_path / "out", "owl.png"), [b"%d" % number]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {path.name for path in written}
    assert names == {"owl.png", *(f"owl ({number}).png" for number in range(1, 8))}
    assert sorted(path.read_bytes() for path in (tmp_path / "out").iterdir()) == [b"%d" % number for number in range(8)]


def test_an_interrupt_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_over(tmp_path / "a.png", pieces())
    with pytest.raises(KeyboardInterrupt):
        filled(lambda: new_file(tmp_path, "b.png"), pieces())
    assert list(tmp_path.iterdir()) == []
