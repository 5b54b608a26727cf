"""The two colours have the same names, with the same arguments: neither can gain or lose one alone."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from comfyone.api.aio.client import AsyncComfyOneClient
from comfyone.api.aio.comfyone import AsyncComfyOne
from comfyone.api.aio.job import AsyncJob
from comfyone.api.aio.result import AsyncOutput, AsyncResult
from comfyone.api.client import ComfyOneClient
from comfyone.api.comfyone import ComfyOne
from comfyone.api.job import Job
from comfyone.api.result import Output, Result
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.blocking import Transport

PAIRS = [
    (ComfyOne, AsyncComfyOne),
    (ComfyOneClient, AsyncComfyOneClient),
    (Job, AsyncJob),
    (Result, AsyncResult),
    (Output, AsyncOutput),
    (Transport, AsyncTransport),
]

ONLY_BLOCKING = {"ComfyOne.connect_websocket"}  # `async for message in client.ws` needs no thread to be started
ONLY_ASYNC = {
    "AsyncComfyOneClient.close",  # blocking clients share the connections of the process
    "AsyncTransport.close",
    "AsyncTransport.socket",  # the blocking sockets are made by websocket-client
}
NO_COROUTINES = {
    "AsyncComfyOne.job",
    "AsyncJob.events",
    "AsyncTransport.stream",
}  # nothing is sent before they are used
CALLED = {"AsyncResult.images"}  # nothing can be awaited in a property
OTHER_ARGUMENTS = {"download"}  # what writes is given an iterator of the colour's own

ids = [first.__name__ for first, _ in PAIRS]


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=ids)
def test_both_colours_have_the_same_names(blocking: type, awaiting: type) -> None:
    lacking = {f"{blocking.__name__}.{name}" for name in public(blocking).keys() - public(awaiting).keys()}
    further = {f"{awaiting.__name__}.{name}" for name in public(awaiting).keys() - public(blocking).keys()}
    assert lacking <= ONLY_BLOCKING
    assert further <= ONLY_ASYNC


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=ids)
def test_both_colours_take_the_same_arguments_and_the_one_awaits(blocking: type, awaiting: type) -> None:
    assert [each[:3] for each in parameters(blocking)] == [each[:3] for each in parameters(awaiting)]
    for name, twin in public(awaiting).items():
        own, label = public(blocking).get(name), f"{awaiting.__name__}.{name}"
        if own is None or own is twin:
            continue
        assert twin.__doc__, label
        if label in CALLED:
            assert isinstance(own, property)
            continue
        if name not in OTHER_ARGUMENTS:
            assert parameters(own) == parameters(twin), label
        assert inspect.iscoroutinefunction(twin) is (label not in NO_COROUTINES), label
        assert not inspect.iscoroutinefunction(own), label


def parameters(function: Any) -> list[Any]:
    return [
        (parameter.name, parameter.kind, parameter.default, parameter.annotation)
        for parameter in inspect.signature(function).parameters.values()
    ]


def test_every_exception_is_still_one() -> None:
    """A name that both have, or that is gone, has no business in the lists above."""
    names = {f"{kind.__name__}.{name}" for pair in PAIRS for kind in pair for name in public(kind)}
    assert names >= ONLY_BLOCKING | ONLY_ASYNC | NO_COROUTINES | CALLED
