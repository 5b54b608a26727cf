"""A flow is the same in both colours: what it yields is done, what fails is raised where it stands, who leaves closes it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from comfyone import ConnectionError
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.blocking import Transport
from comfyone.transport.call import Call, Timeouts
from comfyone.transport.drive import drive, drive_async, drive_events, drive_events_async
from comfyone.transport.endpoint import ApiKey, Endpoint
from comfyone.transport.flow import Aside, Exchange, Flow, Listen, Pause, Save, Tell
from comfyone.utils.files import new_file
from comfyone.utils.logging import default_logger

from .conftest import FAST, KEY, Reply, Server, cut, ok

GET = Call("GET", "v1/x")
Colour = Callable[[Flow[Any]], Awaitable[Any]]


def parts(server: Server) -> tuple[Any, ...]:
    return Endpoint.parse(server.url), ApiKey(KEY), Timeouts.parse(5), FAST, default_logger()


@pytest.fixture(params=["blocking", "async"])
async def result_of(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Colour]:
    """Takes a flow to its end."""
    async with AsyncTransport(*parts(server)) as transport:

        async def blocking(flow: Flow[Any]) -> Any:
            return drive(flow, Transport(*parts(server)))

        async def awaiting(flow: Flow[Any]) -> Any:
            return await drive_async(flow, transport)

        yield blocking if request.param == "blocking" else awaiting


async def test_each_step_gives_what_came_of_it(result_of: Colour, server: Server, tmp_path: Path) -> None:
    server.script.extend([ok([1]), Reply(b"pixels"), Reply(b"ab")])

    def flow() -> Flow[list[Any]]:
        answer = yield Exchange(GET)
        nothing = yield Pause(0.001)
        thread = yield Aside(lambda: 40 + 2)
        path = yield Save(GET, lambda: new_file(tmp_path, "a.bin"))
        listen, pieces = Listen(GET), b""
        while (piece := (yield listen)) is not None:
            pieces += piece
        return [answer.envelope().data, nothing, thread, path, pieces]

    assert await result_of(flow()) == [[1], None, 42, tmp_path / "a.bin", b"ab"]
    assert (tmp_path / "a.bin").read_bytes() == b"pixels"


async def test_what_fails_is_raised_where_the_flow_stands(result_of: Colour, server: Server) -> None:
    server.script.extend([Reply(write=cut), Reply(write=cut), ok([2])])

    def failing() -> int:
        raise OSError("no room")

    def flow() -> Flow[Any]:
        with pytest.raises(ConnectionError):
            yield Exchange(GET, attempts=2)
        with pytest.raises(OSError, match="no room"):
            yield Aside(failing)
        return (yield Exchange(GET)).envelope().data

    assert await result_of(flow()) == [2]
    assert len(server.seen) == 3


async def test_what_a_flow_does_not_deal_with_reaches_the_caller_and_the_flow_is_closed(
    result_of: Colour, server: Server
) -> None:
    server.script.append(Reply(write=cut))
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Exchange(GET, attempts=1)
        finally:
            closed.append(True)

    with pytest.raises(ConnectionError):
        await result_of(flow())
    assert closed == [True]


@pytest.mark.parametrize("colour", ["blocking", "async"])
async def test_who_stops_reading_stops_the_flow_and_what_it_listens_to(colour: str, server: Server) -> None:
    left, closed = threading.Event(), []

    def endless(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        handler.connection.settimeout(5)
        assert handler.rfile.read(1) == b""
        left.set()

    def flow() -> Flow[None]:
        listen = Listen(GET)
        try:
            while (piece := (yield listen)) is not None:
                yield Tell(piece)
        finally:
            closed.append(True)

    server.script.append(Reply(write=endless))
    if colour == "blocking":
        told = drive_events(flow(), Transport(*parts(server)))
        assert next(told) == b"x"
        told.close()  # type: ignore[attr-defined]
    else:
        transport = AsyncTransport(*parts(server))
        async with transport, aclosing(drive_events_async(flow(), transport)) as heard:
            assert await anext(heard) == b"x"
    assert left.wait(5)
    assert closed == [True]
