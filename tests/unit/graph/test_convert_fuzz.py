"""Converting files that are damaged in any way: a graph, or a `ConversionError` that says where; never another error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from comfyone.graph.convert import Conversion, ConversionError, convert, diff
from comfyone.graph.document import check_graph
from tests.unit.graph.saved import (
    INNER_SUBGRAPH,
    SUBGRAPH,
    Json,
    empty,
    invert,
    link,
    node,
    object_info,
    old,
    save,
    socket,
    subgraph,
)

IN, OUT = -10, -20


def everything() -> Json:
    """A file that has some of everything."""
    inner_links = [link(1, IN, 0, 5, 0), link(2, 5, 0, OUT, 0)]
    inner = subgraph(INNER_SUBGRAPH, [invert(5, 1)], inner_links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")])
    scale = node(
        8,
        "ImageScale",
        [socket("image", "IMAGE", 2), socket("width", "INT", 3, widget=True)],
        ["IMAGE"],
        ["nearest-exact", 32, 16, "disabled"],
    )
    nested = node(7, INNER_SUBGRAPH, [socket("picture", "IMAGE", 1)], ["IMAGE"])
    outer_links = [link(1, IN, 0, 7, 0), link(2, 7, 0, 8, 0), link(3, IN, 1, 8, 2), link(4, 8, 0, OUT, 0)]
    sides = ([("picture", "IMAGE"), ("width", "INT")], [("IMAGE", "IMAGE")])
    outer = subgraph(SUBGRAPH, [nested, scale], outer_links, *sides)
    nodes = [
        empty(1, inputs=[socket("height", "INT", 1, widget=True)]),
        node(2, "PrimitiveNode", outputs=["INT"], values=[48, "fixed"]),
        node(3, "Reroute", [socket("", "*", 2)], ["IMAGE"]),
        node(
            4,
            SUBGRAPH,
            [socket("picture", "IMAGE", 3)],
            ["IMAGE"],
            [24],
            properties={"proxyWidgets": [["-1", "width"]]},
        ),
        invert(5, 4, mode=4),
        invert(6, 5, mode=2),
        save(7, 6, "%date:yyyy%_%Empty.width%"),
        save(8, 7),
        node(9, "MarkdownNote", values=["hello"]),
        node(10, "KSampler", [socket("model", "MODEL")], ["LATENT"], [7, "randomize", 20, 8, "euler", "normal", 1]),
    ]
    links = [link(1, 2, 0, 1, 0), link(2, 1, 0, 3, 0), link(3, 3, 0, 4, 0), link(4, 4, 0, 5, 0)]
    links += [link(5, 4, 0, 6, 0), link(6, 5, 0, 7, 0), link(7, 6, 0, 8, 0)]
    return {**old(nodes, links), "definitions": {"subgraphs": [outer, inner]}}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


FILE = everything()
PLACES = [path for path in places(FILE) if path]

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-30, 30),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([-10, -20, "", "*", "IMAGE", "Reroute", "GetNode", "SetNode", SUBGRAPH, INNER_SUBGRAPH, 2, 4]),
    st.lists(st.one_of(st.none(), st.integers(0, 9), st.text(max_size=3)), max_size=6),
    st.dictionaries(st.sampled_from(["id", "type", "name", "link", "widget"]), st.integers(0, 9), max_size=3),
)


def damaged(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> Any:
    """The file with some of its places changed or gone."""
    file = copy.deepcopy(FILE)
    for path, value, gone in changes:
        holder: Any = file
        try:
            for key in path[:-1]:
                holder = holder[key]
            if gone:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # another change has taken the place away
    return file


def outcome(file: Any) -> Conversion | ConversionError:
    try:
        return convert(file, object_info())
    except ConversionError as error:
        return error


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), anything, st.booleans()), min_size=1, max_size=4))
@example([(("definitions", "subgraphs", 1, "nodes", 0, "type"), INNER_SUBGRAPH, False)])
@example([(("nodes", 2, "inputs", 0, "link"), 3, False), (("nodes", 2, "id"), 3, False)])
def test_a_damaged_file_gives_a_graph_or_says_what_is_wrong(changes: Any) -> None:
    found = outcome(damaged(changes))

    if isinstance(found, ConversionError):
        assert found.reasons
        assert all(reason.message and reason.hint for reason in found.reasons)
    else:
        assert check_graph(json.loads(json.dumps(found.graph))) == []


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=5)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    )
)
def test_any_json_at_all_is_refused_or_converted(file: Any) -> None:
    outcome(file)


def test_the_whole_file_is_what_the_editor_would_send() -> None:
    found = outcome(FILE)
    assert isinstance(found, Conversion)
    expected = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0}},
        "4:7:5": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "4:8": {
            "class_type": "ImageScale",
            "inputs": {
                "image": ["4:7:5", 0],
                "upscale_method": "nearest-exact",
                "width": 24,
                "height": 16,
                "crop": "disabled",
            },
        },
        "7": {
            "class_type": "SaveImage",
            "inputs": {"images": ["4:8", 0], "filename_prefix": "%date:yyyy%_%Empty.width%"},
        },
        "8": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}},
        "10": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 7,
                "steps": 20,
                "cfg": 8,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1,
            },
        },
    }

    assert str(diff(expected, found.graph)) == ""
