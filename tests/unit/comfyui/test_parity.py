"""The two colours cannot drift: each name that one has the other has, with the same signature."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from comfyone import comfyui
from comfyone.comfyui import AsyncComfyUIClient, AsyncExecution, AsyncOutput, ComfyUIClient, Execution, Output, calls
from comfyone.comfyui.aio_endpoints import AsyncEndpoints
from comfyone.comfyui.endpoints import Endpoints

PAIRS = [
    (ComfyUIClient, AsyncComfyUIClient),
    (Endpoints, AsyncEndpoints),
    (Execution, AsyncExecution),
    (Output, AsyncOutput),
]
PLAIN = {"on", "listen", "unlisten", "get_endpoint_url"}
"""What sends nothing, so that nobody has to await it."""


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


def shape(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    return str([(each.name, each.kind, each.default, str(each.annotation).replace("Async", "")) for each in parameters])


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_have_the_same_names_with_the_same_signatures(blocking: type, asynchronous: type) -> None:
    ours, theirs = public(blocking), public(asynchronous)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() & theirs.keys():
        if inspect.isfunction(ours[name]):
            assert shape(ours[name]) == shape(theirs[name]), name
            assert inspect.iscoroutinefunction(theirs[name]) == (name not in PLAIN), name
            assert not inspect.iscoroutinefunction(ours[name]), name


@pytest.mark.seed("S2-1", "S4-1")
def test_every_request_that_there_is_has_a_method() -> None:
    methods = public(ComfyUIClient).keys()
    elsewhere = {"view": "get_image", "view_metadata": "get_metadata", "CORE": "check", "get_settings": "get_setting"}
    for name in calls.__all__:
        assert name in methods or elsewhere[name] in methods, name


@pytest.mark.seed("S2-40", "S4-6", "S5-29")
def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert comfyui.__all__ == sorted(comfyui.__all__, key=lambda name: (name.islower(), name))
    for name in comfyui.__all__:
        assert getattr(comfyui, name) is not None
    assert set(comfyui.__all__) <= set(dir(comfyui))
    with pytest.raises(AttributeError):
        _ = comfyui.nonsense
