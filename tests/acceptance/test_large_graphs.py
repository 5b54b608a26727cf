"""Graphs that are deeper or larger than any real one: refused at once, and nobody waits for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import Tenant
from tests.graphs import Graph, node, save, tiny
from tests.support.gateway import GatewayProcess
from tests.support.waiting import eventually

BUSY = 0.8
"""Seconds of processor time that the gateway may take for a graph: so long others wait at most. None takes a quarter of a second;
what took time with the square of a graph's size would take several."""


def submissions(graph: Any) -> list[tuple[str, dict[str, Any]]]:
    """The ways in which each dialect takes a graph."""
    return [
        ("/api/v2/jobs", {"workflow": graph}),
        ("/api/v1/tasks", {"workflow_id": "x", "payload": graph}),
        ("/v1/prompts_workflow", {"workflow": graph, "outputs": ["3"]}),
        ("/v1/workflows", {"name": "deep", "inputs": [], "outputs": ["3"], "workflow": graph}),
        ("/prompt", {"prompt": graph}),
    ]


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def is_refused(answer: requests.Response, *words: str) -> bool:
    """Whether an answer says no, whichever dialect's, and why."""
    told = answer.json()
    no = answer.status_code in (400, 422) or told.get("error") in ("invalid_graph", "invalid_body", "invalid_input")
    return no and all(word in answer.text for word in words)


@pytest.mark.parametrize("levels", [150, 600, 900])
def test_no_dialect_takes_a_graph_that_is_nested_deeply(shop: Tenant, levels: int) -> None:
    graph = tiny()
    graph["3"]["inputs"]["more"] = {"__value__": nested(levels)}
    for path, body in submissions(graph):
        answer = shop.raw("POST", path, json=body)
        assert is_refused(answer, "levels deep"), (path, answer.status_code, answer.text[:300])
    assert shop.raw("GET", "/history").status_code == 200


def test_what_goes_with_a_graph_is_not_nested_deeply_either(shop: Tenant) -> None:
    body = {"prompt": tiny(), "extra_data": {"extra_pnginfo": nested(900)}}
    assert is_refused(shop.raw("POST", "/prompt", json=body), "levels deep")
    shop.post("/v1/workflows", {"name": "plain", "inputs": [], "outputs": ["3"], "workflow": tiny()})
    task = {"workflow_id": "plain", "payload": {"color": nested(900)}}
    assert is_refused(shop.raw("POST", "/api/v1/tasks", json=task))
    assert shop.raw("GET", "/history").status_code == 200


def test_what_is_nested_as_some_real_values_are_runs(shop: Tenant) -> None:
    graph = tiny()
    graph["3"]["inputs"]["more"] = {"__value__": nested(60)}
    job_id = shop.raw("POST", "/api/v2/jobs", json={"workflow": graph}).json()["id"]
    job = eventually(lambda: _ended(shop, job_id))
    assert job["status"] == "succeeded", job


def _ended(shop: Tenant, job_id: str) -> Any:
    job = shop.raw("GET", f"/api/v2/jobs/{job_id}").json()
    return job if job["status"] in ("succeeded", "failed") else None


def test_a_graph_has_so_many_nodes_and_no_more(shop: Tenant) -> None:
    graph = {str(number): node("EmptyImage") for number in range(20_001)}
    for path, body in submissions(graph):
        answer = shop.raw("POST", path, json=body)
        assert is_refused(answer, "20,001 nodes"), (path, answer.status_code, answer.text[:300])


def test_named_inputs_are_bounded_and_it_is_said_of_them(shop: Tenant) -> None:
    shop.workflow(tiny(), name="plain")
    many = {f"i{number}": 1 for number in range(20_001)}
    told = shop.post("/v1/prompts", {"workflow_id": "plain", "inputs": many}).fails("invalid_input", "inputs")
    assert "inputs has 20,001 entries" in told["message"]


def invented() -> Graph:
    """Far more classes than any server has, and all of them unknown."""
    return {str(number): node(f"Nope{number:06d}Loader") for number in range(5000)}


def dangling() -> Graph:
    links = {str(number): node("ImageInvert", image=[f"gone{number}", 0]) for number in range(3000)}
    return {**links, "3": save("2")}


def spoilt() -> Graph:
    """Thousands of outputs behind thousands of nodes, the first of which can't run, and one that can."""
    chain = {f"c{number}": node("ImageInvert", image=[f"c{number - 1}", 0]) for number in range(1, 2500)}
    outputs = {f"o{number}": save("c2499", f"p{number}") for number in range(2500)}
    return {**tiny(), "c0": node("ImageInvert"), **chain, **outputs}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to look at its processor time")
@pytest.mark.parametrize("make", [invented, dangling, spoilt])
def test_nobody_waits_for_a_large_graph_that_is_wrong(gateway: GatewayProcess, shop: Tenant, make: Any) -> None:
    eventually(lambda: "SaveImage" in shop.raw("GET", "/object_info").json())
    for path, body in submissions(make()):
        before = gateway.cpu_seconds
        answer = shop.raw("POST", path, json=body)
        assert answer.status_code < 500, answer.text[:300]
        assert gateway.cpu_seconds - before < BUSY, path
