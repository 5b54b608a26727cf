"""What validation says: every fault by itself, where it is, and what to write in its place.

Whether its verdict is the server's is proved in ``tests/conformance/test_graph_validation.py``.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.graph.catalog import CatalogError
from comfyone.graph.document import Problem
from comfyone.graph.structure import find_cycles
from comfyone.graph.validate import errors_of, validate
from tests.graphs import node, save, text_to_image, tiny
from tests.unit.graph.strategies import graphs

STEPS = ["INT", {"default": 20, "min": 1, "max": 100}]
OBJECT_INFO: dict[str, Any] = {
    "Make": {
        "input": {
            "required": {
                "width": ["INT", {"default": 512, "min": 1, "max": 64}],
                "strength": ["FLOAT", {"max": 1.0}],
                "text": ["STRING", {}],
                "flag": ["BOOLEAN", {"default": True}],
                "model": [["SD\\owl.safetensors", "fox.safetensors"]],
                "mode": ["COMBO", {"options": ["fast", "slow"]}],
            },
            "optional": {"mask": ["MASK"], "many": ["COMBO", {"options": ["a", "b"], "multiselect": True}]},
            "hidden": {"unique_id": "UNIQUE_ID"},
        },
        "output": ["IMAGE", "MASK"],
        "output_name": ["IMAGE", "MASK"],
    },
    "Show": {"input": {"required": {"image": ["IMAGE"]}}, "output": [], "output_node": True},
    "Load": {"input": {"required": {"image": [["owl.png"], {"image_upload": True}]}}, "output": ["IMAGE"]},
    "Any": {"input": {"required": {"x": ["*"]}}, "output": ["*"], "output_node": True},
    "Number": {"input": {"required": {"x": ["INT,FLOAT", {"min": 0}]}}, "output": ["FLOAT"], "output_node": True},
    "Choose": {"input": {"required": {"x": [["a", "b"]]}}, "output": [["a", "b"], "COMBO"], "output_node": True},
    "Grow": {
        "input": {"required": {"images": ["COMFY_AUTOGROW_V3", {}]}},
        "output": [],
        "output_node": True,
    },
    "Empty": {"input": {"required": {"name": [[]], "kind": ["COMBO", {"options": []}]}}, "output": ["IMAGE"]},
}
MADE = {"width": 8, "strength": 0.5, "text": "", "flag": False, "model": "fox.safetensors", "mode": "fast"}


def made(**inputs: Any) -> dict[str, Any]:
    return {"1": node("Make", **{**MADE, **inputs}), "2": node("Show", image=["1", 0])}


def only(graph: Any, object_info: Any = OBJECT_INFO) -> Problem:
    [problem] = validate(graph, object_info)
    return problem


def test_a_sound_graph_has_no_problems() -> None:
    assert validate(made(), OBJECT_INFO) == []
    assert validate({**made(), "3": node("Any", x=["1", 1])}, OBJECT_INFO) == []
    assert validate(made(many={"__value__": ["a", "b"]}), OBJECT_INFO) == []
    assert validate(text_to_image("an owl")) == []


@pytest.mark.parametrize(
    ("value", "message", "suggestions"),
    [
        (0, "is 0, and its minimum is 1", (1,)),
        (65, "is 65, and its maximum is 64", (64,)),
        ("wide", "is 'wide', which is no whole number", (512,)),
        (None, "is None, which is no whole number", (512,)),
        (float("inf"), "is inf, which is no whole number", (512,)),
    ],
)
def test_a_number_that_does_not_fit_is_an_error(value: Any, message: str, suggestions: tuple[Any, ...]) -> None:
    problem = only(made(width=value))
    assert problem == Problem(f"input 'width' of node '1' (Make) {message}", "1", "width", "error", suggestions)


@pytest.mark.parametrize(
    ("name", "value", "expected", "suggestions"),
    [
        ("width", 8.9, "cuts it to 8", (8,)),
        ("strength", float("nan"), "not a finite number", ()),
        ("flag", "false", "takes for true", (False,)),
        ("text", {"a": 1}, "makes the text", ("",)),
        ("text", None, "makes the text 'None'", ("",)),
    ],
)
def test_what_comfyui_makes_of_a_value_without_a_word_is_a_warning(
    name: str, value: Any, expected: str, suggestions: tuple[Any, ...]
) -> None:
    problem = only(made(**{name: value}))
    assert problem.severity == "warning"
    assert expected in problem.message
    assert problem.suggestions == suggestions


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("model", "fox.safetensor", "fox.safetensors"),
        ("model", "OTHER/owl.safetensors", "SD\\owl.safetensors"),
        ("model", "FOX.safetensors", "fox.safetensors"),
        ("mode", "fats", "fast"),
    ],
)
def test_a_choice_that_is_none_has_the_nearest_one_beside_it(name: str, value: str, nearest: str) -> None:
    problem = only(made(**{name: value}))
    assert problem.severity == "error"
    assert problem.suggestions[0] == nearest
    assert f"near it: {nearest!r}" in problem.message


def test_a_choice_like_none_has_all_of_them_beside_it() -> None:
    assert only(made(mode=3)).suggestions == ("fast", "slow")
    assert "its choices are 'fast', 'slow'" in only(made(mode="xyz")).message
    assert "'c'" in only(made(many={"__value__": ["a", "c"]})).message


def test_a_path_with_other_separators_is_a_warning() -> None:
    problem = only(made(model="SD/owl.safetensors"))
    assert (problem.severity, problem.suggestions) == ("warning", ("SD\\owl.safetensors",))


def test_a_server_without_any_model_says_so() -> None:
    graph = {"1": node("Empty", name="x", kind="y"), "2": node("Show", image=["1", 0])}
    assert ["a model is missing" in problem.message for problem in validate(graph, OBJECT_INFO)] == [True, True]


@pytest.mark.parametrize("name", ["deep/fox.png", "deep\\fox.png", "fox.png [output]"])
def test_files_that_a_server_has_without_listing_them_are_let_through(name: str) -> None:
    assert validate({"1": node("Load", image=name), "2": node("Show", image=["1", 0])}, OBJECT_INFO) == []


def test_a_file_that_the_server_does_not_have_is_an_error() -> None:
    problem = only({"1": node("Load", image="owls.png"), "2": node("Show", image=["1", 0])})
    assert "upload it first; near it: 'owl.png'" in problem.message


def test_a_missing_input_is_named_with_what_it_takes() -> None:
    graph = made()
    del graph["1"]["inputs"]["width"]
    assert "'width' of node '1' (Make) is missing; it takes a value (INT)" in only(graph).message
    assert only(graph).suggestions == (512,)
    assert "it takes a link to an output of type IMAGE" in only({"2": node("Show")}).message


def test_an_input_that_the_class_lacks_is_a_warning_with_the_nearest() -> None:
    problem = only(made(widht=8))
    assert (problem.severity, problem.suggestions) == ("warning", ("width",))
    assert validate(made(unique_id="1"), OBJECT_INFO) == []


def test_a_link_to_nothing_in_an_input_that_the_class_lacks_is_an_error() -> None:
    problem = only(made(more=["77", 0]))
    assert problem.severity == "error"
    assert "its worker breaks on it" in problem.message


def test_inputs_that_stand_for_others_are_let_through() -> None:
    assert validate({**made(), "3": node("Grow", **{"images.image0": ["1", 0]})}, OBJECT_INFO) == []


def test_an_unknown_class_has_the_nearest_one_beside_it() -> None:
    [problem] = errors_of(validate({**made(), "3": node("Shwo", image=["1", 0])}, OBJECT_INFO))
    assert problem.suggestions == ("Show",)
    assert "node '3' is of class 'Shwo'" in problem.message


def test_a_link_of_the_wrong_type_names_both_and_the_right_one() -> None:
    problem = only({**made(), "2": node("Show", image=["1", 1])})
    assert "takes IMAGE, and output 1 of node '1' (Make) gives MASK" in problem.message
    assert problem.suggestions == (["1", 0],)


def test_a_link_to_an_output_too_many_says_how_many_there_are() -> None:
    problem = only({**made(), "2": node("Show", image=["1", 2])})
    assert "links to output 2 of node '1' (Make), which has 2" in problem.message
    assert problem.suggestions == (["1", 0],)


@pytest.mark.parametrize(
    ("link", "expected", "suggestions"),
    [
        (["77", 0], "links to node '77', which is not there", ()),
        (["11", 0], "'11', which is not there", (["1", 0],)),
        ([1, 0], "the id of a node is a text", (["1", 0],)),
        ([[], 0], "the id of a node is a text", ()),
        (["1", -1], "outputs count from 0", (["1", 0],)),
        (["1", "0"], "a whole number", ()),
        (["1", True], "a whole number", ()),
        (["1"], "is a list of 1; a list is read as a link", ()),
        (["1", 0, 0], '{"__value__": [...]}', ()),
    ],
)
@pytest.mark.parametrize("object_info", [None, OBJECT_INFO])
def test_a_link_that_is_none_is_an_error(
    link: list[Any], expected: str, suggestions: tuple[Any, ...], object_info: Any
) -> None:
    problem = errors_of(validate({**made(), "2": node("Show", image=link)}, object_info))[0]
    assert expected in problem.message
    assert problem.suggestions == suggestions
    assert (problem.node_id, problem.input_name) == ("2", "image")


@pytest.mark.parametrize(
    ("class_type", "source", "index", "fits"),
    [
        ("Any", "Make", 0, True),
        ("Show", "Any", 0, True),
        ("Number", "Number", 0, True),
        ("Number", "Make", 0, False),
        ("Choose", "Choose", 0, True),
        ("Choose", "Choose", 1, False),
        ("Choose", "Make", 0, False),
    ],
)
def test_types_fit_as_comfyui_says(class_type: str, source: str, index: int, fits: bool) -> None:
    sources: dict[str, dict[str, Any]] = {"Make": MADE, "Any": {"x": 1}, "Number": {"x": 1}, "Choose": {"x": "a"}}
    name = "image" if class_type == "Show" else "x"
    graph = {"1": node(source, **sources[source]), "2": node(class_type, **{name: ["1", index]})}
    assert (errors_of(validate(graph, OBJECT_INFO)) == []) is fits


def test_what_cannot_be_compared_with_its_limits_is_an_error() -> None:
    assert "can't be compared" in only({"1": node("Number", x="many")}).message


def test_a_value_where_only_a_link_can_be_is_an_error() -> None:
    assert "takes a link to an output of type IMAGE" in only({"2": node("Show", image="owl.png")}).message
    assert validate(made(mask=None), OBJECT_INFO) == []


def test_circles_are_told_once_each_with_their_way() -> None:
    graph = {"1": node("A", x=["2", 0]), "2": node("A", x=["1", 0]), "3": node("A", x=["3", 0]), "4": node("A")}
    messages = [problem.message for problem in validate(graph)]
    assert len(messages) == 2
    assert any("'1' → '2' → '1' form a cycle" in message or "'2' → '1' → '2' form" in message for message in messages)
    assert any("node '3' is linked to itself" in message for message in messages)


def test_a_thousand_circles_are_found_in_a_moment() -> None:
    pairs = [(f"a{number}", f"b{number}") for number in range(1000)]
    graph = {one: node("A", x=[other, 0]) for pair in pairs for one, other in (pair, pair[::-1])}
    assert len(find_cycles(graph)) == 1000


@given(graph=graphs(max_size=8), data=st.data())
def test_a_circle_is_found_wherever_it_is_and_nowhere_else(graph: dict[str, Any], data: st.DataObject) -> None:
    assert find_cycles(graph) == []
    ids = data.draw(st.lists(st.sampled_from(list(graph)), min_size=1, unique=True))
    for here, there in zip(ids, [*ids[1:], ids[0]], strict=True):
        graph[here]["inputs"]["around"] = [there, 0]
    cycles = find_cycles(graph)
    assert cycles
    for cycle in cycles:
        for giver, taker in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert any(value[:1] == [giver] for value in graph[taker]["inputs"].values() if isinstance(value, list))


def test_outputs_that_would_be_dropped_are_named_with_the_cause() -> None:
    graph = {**made(), "3": node("Make", **{**MADE, "width": 0}), "4": node("Show", image=["3", 0])}
    cause, dropped = validate(graph, OBJECT_INFO)
    assert (cause.node_id, dropped.node_id) == ("3", "4")
    assert dropped.message == "node '4' (Show) would be left out without a word, since node '3' (Make) can't run"


def test_what_no_output_needs_is_no_error() -> None:
    graph = {**made(), "3": node("Make", **{**MADE, "width": 0}), "4": node("Make", **{**MADE, "mask": ["77", 1]})}
    problems = validate(graph, OBJECT_INFO)
    assert {problem.severity for problem in problems} == {"warning"}
    assert [problem.node_id for problem in problems if "needed by no output" in problem.message] == ["3", "4"]


def test_a_graph_without_outputs_is_an_error() -> None:
    assert "no node of the graph is an output" in only({"1": node("Make", **MADE)}).message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"prompt": tiny(), "client_id": "x"}, "under 'prompt'"),
        ({"output": tiny(), "workflow": {}}, "under 'output'"),
        ({"workflow": {"nodes": []}}, "ComfyUI's editor"),
        ([5, "id", tiny(), {}, ["3"]], "third item"),
        (save("1"), "this is one node"),
        ('{"1": {}}', "this is its text; read it with json.loads"),
        ('{"1": ', "no JSON either"),
        ({3: save("1")}, "the id of node 3 is a number"),
        ({"3": {"inputs": {}}}, "has no 'class_type'"),
        (7, "not a number"),
    ],
)
@pytest.mark.parametrize("object_info", [None, OBJECT_INFO])
def test_what_is_no_graph_is_told_with_the_usual_mistake(given: Any, expected: str, object_info: Any) -> None:
    [problem] = errors_of(validate(given, object_info))
    assert expected in problem.message


def test_a_description_of_classes_that_is_none_is_refused() -> None:
    with pytest.raises(CatalogError):
        validate(tiny(), {"KSampler": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(graph=JSON | st.dictionaries(st.text(), st.fixed_dictionaries({"class_type": JSON, "inputs": JSON})))
def test_anything_at_all_gets_an_answer(graph: Any) -> None:
    before = copy.deepcopy(graph)
    for object_info in (None, OBJECT_INFO):
        assert all(isinstance(problem.message, str) for problem in validate(graph, object_info))
    assert repr(graph) == repr(before)


@given(inputs=st.dictionaries(st.sampled_from([*MADE, "mask", "many", "more"]), JSON))
def test_any_value_of_any_input_gets_an_answer(inputs: dict[str, Any]) -> None:
    assert all(problem.message for problem in validate(made(**inputs), OBJECT_INFO))


@given(object_info=st.dictionaries(st.sampled_from(["Make", "Show"]), st.dictionaries(st.text(), JSON)))
def test_any_description_of_classes_gets_an_answer(object_info: dict[str, Any]) -> None:
    assert isinstance(validate(made(), object_info), list)
