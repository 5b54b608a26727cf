"""Files of the editor, converted against the server's own classes: they run, and give the pictures that they should."""

from __future__ import annotations

import pytest

from comfyone.graph.convert import ConversionError, convert
from tests.conformance.client import ComfyUI
from tests.unit.graph.saved import SUBGRAPH, Json, chain, empty, invert, link, new, node, old, save, socket, subgraph

GREEN, ITS_NEGATIVE = (0, 255, 0), (255, 0, 255)


def green(key: int = 1, **more: object) -> Json:
    return {**empty(key, 32), "widgets_values": [32, 24, 1, 0x00FF00], **more}


def colour_and_size(comfyui: ComfyUI, file: Json) -> tuple[object, tuple[int, int]]:
    """Convert a file, run it, and look at the one picture that it saves."""
    conversion = convert(file, comfyui.get("/object_info").json())
    [picture] = comfyui.pictures(conversion.graph)
    return picture.convert("RGB").getpixel((3, 3)), picture.size


def test_a_plain_file_runs(comfyui: ComfyUI) -> None:
    assert colour_and_size(comfyui, chain(invert(2, 1), first=green())) == (ITS_NEGATIVE, (32, 24))


def test_a_bypassed_node_changes_nothing(comfyui: ComfyUI) -> None:
    assert colour_and_size(comfyui, chain(invert(2, 1, mode=4), first=green())) == (GREEN, (32, 24))


def test_reroutes_and_primitives_run(comfyui: ComfyUI) -> None:
    number = node(4, "PrimitiveNode", outputs=["INT"], values=[40, "fixed"])
    wide = {**green(), "inputs": [socket("width", "INT", 1, widget=True)]}
    reroute = node(5, "Reroute", [socket("", "*", 2)], ["IMAGE"])
    file = new(
        [number, wide, reroute, save(6, 3)],
        [link(1, 4, 0, 1, 0, "INT"), link(2, 1, 0, 5, 0, "IMAGE"), link(3, 5, 0, 6, 0, "IMAGE")],
    )

    assert colour_and_size(comfyui, file) == (GREEN, (40, 24))


def test_two_instances_of_a_subgraph_run_each_with_its_own_values(comfyui: ComfyUI) -> None:
    scale = node(
        5,
        "ImageScale",
        [socket("image", "IMAGE", 3), socket("width", "INT", 2, widget=True)],
        ["IMAGE"],
        ["nearest-exact", 1, 8, "disabled"],
    )
    inner = [link(1, -10, 0, 6, 0), link(3, 6, 0, 5, 0), link(2, -10, 1, 5, 2), link(4, 5, 0, -20, 0)]
    sides = ([("image", "IMAGE"), ("width", "INT")], [("IMAGE", "IMAGE")])
    definition = subgraph(SUBGRAPH, [invert(6, 1), scale], inner, *sides)
    first = node(2, SUBGRAPH, [socket("image", "IMAGE", 1)], ["IMAGE"], [9])
    second = node(3, SUBGRAPH, [socket("image", "IMAGE", 2)], ["IMAGE"], [13])
    file = old(
        [green(), first, second, save(4, 3)],
        [link(1, 1, 0, 2, 0), link(2, 2, 0, 3, 0), link(3, 3, 0, 4, 0)],
    )
    file["definitions"] = {"subgraphs": [definition]}

    assert colour_and_size(comfyui, file) == (GREEN, (13, 8))  # inverted twice, and as wide as the second says


def test_a_class_that_the_server_lacks_is_refused_before_anything_is_sent(comfyui: ComfyUI) -> None:
    with pytest.raises(ConversionError, match=r"node 2 \(NoSuchNode\) is of a class that the server doesn't have"):
        convert(chain(node(2, "NoSuchNode", [socket("a", "IMAGE", 1)], ["IMAGE"])), comfyui.get("/object_info").json())
