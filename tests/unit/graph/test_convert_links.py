"""Converting: reroutes, bypassed and muted nodes, primitives, notes, and files of both schemas."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.graph.convert import ConversionError, convert
from tests.unit.graph.saved import Json, chain, empty, invert, link, new, node, object_info, old, save, socket


def graph_of(file: Json) -> dict[str, Any]:
    return convert(file, object_info()).graph


def inputs_of(file: Json) -> dict[str, dict[str, Any]]:
    return {key: each["inputs"] for key, each in graph_of(file).items()}


TINY = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
        "_meta": {"title": "EmptyImage"},
    },
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}, "_meta": {"title": "Invert Image"}},
    "3": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "x", "images": ["2", 0]},
        "_meta": {"title": "Save Image"},
    },
}


@pytest.mark.parametrize("schema", [old, new])
def test_both_schemas_give_the_graph_that_the_editor_would_send(schema: Any) -> None:
    file = schema([empty(1), invert(2, 1), save(3, 2)], [link(1, 1, 0, 2, 0), link(2, 2, 0, 3, 0)])

    assert graph_of(file) == TINY


def test_a_title_of_its_own_goes_into_the_metadata() -> None:
    assert graph_of(chain(invert(2, 1, title="Negative")))["2"]["_meta"] == {"title": "Negative"}


def test_links_at_the_input_count_where_the_slot_of_the_link_is_another() -> None:
    scaled = node(
        2,
        "ImageScale",
        [socket("image", "IMAGE", 1), socket("height", "INT", 2, widget=True)],
        ["IMAGE"],
        ["nearest-exact", 32, 32, "disabled"],
    )
    file = old(
        [empty(1), scaled, node(4, "PrimitiveInt", outputs=["INT"], values=[7, "fixed"]), save(3, 3)],
        [link(1, 1, 0, 2, 0), link(2, 4, 0, 2, 9), link(3, 2, 0, 3, 0)],
    )

    assert inputs_of(file)["2"] == {
        "image": ["1", 0],
        "upscale_method": "nearest-exact",
        "width": 32,
        "height": ["4", 0],
        "crop": "disabled",
    }


def test_reroutes_vanish_however_many_follow_each_other() -> None:
    file = chain(*(node(key, "Reroute", [socket("", "*", key - 1)], ["IMAGE"]) for key in (2, 3, 4)))

    assert inputs_of(file) == {"1": TINY["1"]["inputs"], "99": {"filename_prefix": "x", "images": ["1", 0]}}


def test_native_reroutes_are_only_drawn() -> None:
    file = new(
        [empty(1), save(3, 1)],
        [{**link(1, 1, 0, 3, 0), "parentId": 5}],
        reroutes=[{"id": 5, "pos": [0, 0], "linkIds": [1]}],
    )

    assert inputs_of(file)["3"]["images"] == ["1", 0]


def test_notes_and_groups_leave_nothing_behind() -> None:
    file = chain(invert(2, 1))
    file["nodes"] += [node(7, "Note", values=["read me"]), node(8, "MarkdownNote", values=["# read me"])]
    file["groups"] = [{"title": "All", "bounding": [0, 0, 10, 10]}]

    assert sorted(graph_of(file)) == ["1", "2", "99"]


def test_a_bypassed_node_lets_its_input_through() -> None:
    conversion = convert(chain(invert(2, 1), invert(3, 2, mode=4)), object_info())

    assert "3" not in conversion.graph
    assert conversion.graph["99"]["inputs"]["images"] == ["2", 0]
    assert [(note.node_id, note.kind) for note in conversion.notes] == [("3", "bypassed")]


def test_a_bypassed_node_lets_through_the_first_input_of_the_type_if_the_one_at_its_height_does_not_fit() -> None:
    masked = node(
        2,
        "ImageCompositeMasked",
        [socket("destination", "IMAGE", 1), socket("source", "IMAGE", None), socket("mask", "MASK", 4)],
        ["IMAGE"],
        [0, 0, False],
    )
    to_mask = node(3, "ImageToMask", [socket("image", "IMAGE", 2)], ["MASK"], ["red"], mode=4)
    back = node(4, "MaskToImage", [socket("mask", "MASK", 3)], ["IMAGE"])
    file = old(
        [empty(1), {**masked, "mode": 4}, to_mask, back, save(9, 6)],
        [link(1, 1, 0, 2, 0), link(2, 2, 0, 3, 0), link(3, 3, 0, 4, 0), link(6, 4, 0, 9, 0)],
    )
    conversion = convert(file, object_info())

    # a mask cannot come out of a node that takes pictures only
    assert conversion.graph["4"]["inputs"] == {}
    assert any(
        "'mask' is required and left out" in note.message and "node 3" in note.message for note in conversion.notes
    )


def test_what_depends_on_a_muted_node_keeps_its_widget_or_goes_without() -> None:
    scaled = node(
        2,
        "ImageScale",
        [socket("image", "IMAGE", 1), socket("width", "INT", 2, widget=True)],
        ["IMAGE"],
        ["nearest-exact", 32, 16, "disabled"],
    )
    muted = node(4, "PrimitiveInt", outputs=["INT"], values=[7, "fixed"], mode=2)
    file = old([empty(1), scaled, muted, save(3, 3)], [link(1, 1, 0, 2, 0), link(2, 4, 0, 2, 2), link(3, 2, 0, 3, 0)])
    conversion = convert(file, object_info())

    assert conversion.graph["2"]["inputs"]["width"] == 32
    assert any("node 4 (PrimitiveInt), which it comes from, is muted" in str(note) for note in conversion.notes)


def test_a_required_input_of_a_muted_node_is_left_out_and_named() -> None:
    conversion = convert(chain(invert(2, 1, mode=2)), object_info())

    assert conversion.graph["99"]["inputs"] == {"filename_prefix": "x"}
    assert [note.message for note in conversion.notes if note.node_id == "99"] == [
        "node 99 (SaveImage): 'images' is required and left out: node 2 (ImageInvert), which it comes from, is muted"
    ]


def test_a_primitive_puts_its_value_into_every_widget_that_it_is_linked_to() -> None:
    primitive = node(4, "PrimitiveNode", outputs=["INT"], values=[96, "randomize"])
    first = empty(1, inputs=[socket("width", "INT", 1, widget=True), socket("height", "INT", 2, widget=True)])
    file = old([first, primitive, save(3, 3)], [link(1, 4, 0, 1, 0), link(2, 4, 0, 1, 1), link(3, 1, 0, 3, 0)])

    assert inputs_of(file)["1"] == {"width": 96, "height": 96, "batch_size": 1, "color": 0}
    assert sorted(graph_of(file)) == ["1", "3"]


def test_set_and_get_nodes_are_followed_by_their_name() -> None:
    file = old(
        [
            empty(1),
            node(2, "SetNode", [socket("IMAGE", "IMAGE", 1)], ["IMAGE"], ["picture"]),
            node(3, "GetNode", outputs=["IMAGE"], values=["picture"]),
            save(4, 2),
        ],
        [link(1, 1, 0, 2, 0), link(2, 3, 0, 4, 0)],
    )

    assert inputs_of(file)["4"]["images"] == ["1", 0]


def test_a_link_that_goes_in_a_circle_is_refused() -> None:
    one = node(2, "Reroute", [socket("", "*", 2)], ["IMAGE"])
    two = node(3, "Reroute", [socket("", "*", 1)], ["IMAGE"])
    file = old([one, two, save(4, 3)], [link(1, 2, 0, 3, 0), link(2, 3, 0, 2, 0), link(3, 2, 0, 4, 0)])

    with pytest.raises(ConversionError, match=r"node 4 \(SaveImage\) can't be linked at 'images'.*in a circle"):
        convert(file, object_info())


def test_a_link_to_nowhere_is_refused_where_it_is_needed() -> None:
    file = chain(invert(2, 1))
    file["links"] = file["links"][1:]

    with pytest.raises(ConversionError) as caught:
        convert(file, object_info())

    [reason] = caught.value.reasons
    assert (reason.node_id, reason.class_type) == ("2", "ImageInvert")
    assert "its link 1 is not among the links of the workflow" in reason.message
    assert "save it again" in reason.hint


def test_an_output_that_the_server_does_not_have_is_refused() -> None:
    file = chain(invert(2, 1))
    file["links"][1][2] = 1

    with pytest.raises(ConversionError, match=r"node 2 \(ImageInvert\) has no output number 2 on this server"):
        convert(file, object_info())


def test_an_input_that_the_class_does_not_know_keeps_its_link() -> None:
    file = chain(invert(2, 1))
    file["nodes"][1]["inputs"].append(socket("grown_2", "IMAGE", 77))
    file["links"].append([77, 1, 0, 2, 1, "IMAGE"])

    assert inputs_of(file)["2"] == {"image": ["1", 0], "grown_2": ["1", 0]}


@pytest.mark.parametrize(
    ("kind", "says", "hint"),
    [
        ("ImageInvers", "doesn't have; near it: 'ImageInvert'", "install the pack"),
        ("workflow>Mine", "is a group node", "turns group nodes into subgraphs"),
        ("workflow/Mine", "is a group node", "turns group nodes into subgraphs"),
        ("Anything Everywhere?", "draws links when the editor queues", "real ones"),
    ],
)
def test_a_class_that_no_server_has_is_refused_by_name(kind: str, says: str, hint: str) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(chain(node(2, kind, [socket("image", "IMAGE", 1)], ["IMAGE"])), object_info())

    [reason] = caught.value.reasons
    assert reason.node_id == "2"
    assert kind in reason.message
    assert says in reason.message
    assert hint in reason.hint


def test_all_reasons_are_listed_at_once() -> None:
    with pytest.raises(ConversionError) as caught:
        convert(
            chain(node(2, "NoSuch", [socket("i", "IMAGE", 1)], ["IMAGE"]), invert(3, None), node(4, "Neither")),
            object_info(),
        )

    assert [reason.node_id for reason in caught.value.reasons] == ["2", "4"]
    assert caught.value.context == {"nodes": ["2", "4"]}
    assert "2 reasons" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ([], "an array, not a JSON object"),
        (None, "null, not a JSON object"),
        ({}, "no list 'nodes'"),
        (TINY, "in the API format already"),
        ({"nodes": [5]}, "node number 1 of the workflow is a number"),
        ({"nodes": [{"id": 1}]}, "node number 1 of the workflow has no 'id' or no 'type'"),
        ({"nodes": [], "links": [[1, 2]]}, "link number 1 of the workflow names no origin"),
        ({"nodes": []}, "no node is left"),
        ({"nodes": [node(1, "Note")]}, "no node is left"),
    ],
)
def test_what_is_no_file_of_the_editor_is_refused(file: Any, says: str) -> None:
    with pytest.raises(ConversionError, match="can't be converted") as caught:
        convert(file, object_info())

    assert says in str(caught.value)
