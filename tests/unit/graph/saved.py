"""Files of ComfyUI's editor, made by hand for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import requests

from comfyone.emulator import Sandbox

SUBGRAPH = "11111111-2222-4333-8444-555555555555"
INNER_SUBGRAPH = "66666666-7777-4888-8999-aaaaaaaaaaaa"

Json = dict[str, Any]


@cache
def object_info() -> Json:
    """What the sandbox answers on GET /object_info, which is what a real server answers for the same classes."""
    with Sandbox() as sandbox:
        answer: Json = requests.get(f"{sandbox.url}/object_info", timeout=30).json()
    return answer


def socket(name: str, kind: str, link: int | None = None, widget: bool = False) -> Json:
    """An input of a node, as the editor saves it."""
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


def node(
    key: int,
    kind: str,
    inputs: Iterable[Json] = (),
    outputs: Sequence[str] = (),
    values: Any = None,
    mode: int = 0,
    **more: Any,
) -> Json:
    """A node; ``outputs`` are types."""
    return {
        "id": key,
        "type": kind,
        "pos": [0, 0],
        "size": [200, 100],
        "flags": {},
        "order": 0,
        "mode": mode,
        "inputs": list(inputs),
        "outputs": [{"name": each, "type": each, "links": []} for each in outputs],
        "properties": {},
        **({} if values is None else {"widgets_values": values}),
        **more,
    }


def link(key: int, origin: int, origin_slot: int, target: int, target_slot: int, kind: str = "*") -> Json:
    """A link as schema 1.0 and all subgraphs have it."""
    return {
        "id": key,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": kind,
    }


def subgraph(
    key: str,
    nodes: list[Json],
    links: list[Json],
    inputs: Iterable[tuple[str, str]] = (),
    outputs: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> Json:
    """A definition; its sides are named by the ids that links have for them."""
    return {
        "id": key,
        "version": 1,
        "name": "Sub",
        "state": {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "inputNode": {"id": -10, "bounding": [0, 0, 10, 10]},
        "outputNode": {"id": -20, "bounding": [0, 0, 10, 10]},
        "inputs": [_side(name, kind, place, "origin", links) for place, (name, kind) in enumerate(inputs)],
        "outputs": [_side(name, kind, place, "target", links) for place, (name, kind) in enumerate(outputs)],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
        **more,
    }


def _side(name: str, kind: str, place: int, end: str, links: list[Json]) -> Json:
    number = -10 if end == "origin" else -20
    ids = [each["id"] for each in links if (each[f"{end}_id"], each[f"{end}_slot"]) == (number, place)]
    return {"id": f"00000000-0000-4000-8000-{place:012d}", "name": name, "type": kind, "linkIds": ids, "pos": [0, 0]}


def old(nodes: list[Json], links: list[Json], **more: Any) -> Json:
    """A file of schema 0.4: links are arrays."""
    arrays = [list(each.values()) for each in links]
    fixed = {"last_node_id": 99, "last_link_id": 99, "groups": [], "config": {}, "extra": {}, "version": 0.4}
    return {"nodes": _wired(nodes, links), "links": arrays, **fixed, **more}


def new(nodes: list[Json], links: list[Json], **more: Any) -> Json:
    """A file of schema 1.0: links are objects."""
    state = {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0}
    fixed = {"version": 1, "config": {}, "state": state, "groups": [], "reroutes": [], "extra": {}}
    return {"nodes": _wired(nodes, links), "links": links, **fixed, **more}


def _wired(nodes: list[Json], links: list[Json]) -> list[Json]:
    """Outputs know their links too."""
    by_id = {each["id"]: each for each in nodes}
    for each in links:
        origin = by_id.get(each["origin_id"])
        if origin and each["origin_slot"] < len(origin["outputs"]):
            origin["outputs"][each["origin_slot"]]["links"].append(each["id"])
    return nodes


def empty(key: int = 1, width: Any = 64, **more: Any) -> Json:
    """A picture of one colour."""
    return node(key, "EmptyImage", outputs=["IMAGE"], values=[width, 64, 1, 0], **more)


def invert(key: int, source: int | None, **more: Any) -> Json:
    return node(key, "ImageInvert", [socket("image", "IMAGE", source)], ["IMAGE"], **more)


def save(key: int, source: int | None, prefix: str = "x", **more: Any) -> Json:
    return node(key, "SaveImage", [socket("images", "IMAGE", source)], values=[prefix], **more)


def chain(*between: Json, first: Json | None = None, prefix: str = "x") -> Json:
    """A picture, nodes that each take one (link n comes into the n-th) and hand one on, and the file it is saved in."""
    nodes = [first or empty(), *between]
    last = save(99, len(nodes), prefix)
    ids = [each["id"] for each in [*nodes, last]]
    links = [link(place + 1, ids[place], 0, ids[place + 1], 0, "IMAGE") for place in range(len(nodes))]
    return old([*nodes, last], links)
