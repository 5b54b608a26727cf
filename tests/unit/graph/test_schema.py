"""Declared inputs, as JSON Schema and as a Python function."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.graph.declared import DeclarationError, DeclaredInput, Kind, declare, declared_inputs
from comfyone.graph.edit import NodeNotFoundError
from comfyone.graph.function import function_source
from comfyone.graph.schema import json_schema
from comfyone.graph.structure import GraphError
from comfyone.wire.v1 import IOType, WorkflowInput
from tests.graphs import node, text_to_image

OBJECT_INFO: dict[str, Any] = {
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"min": 0, "max": 2**64 - 1, "tooltip": "Where chance begins."}],
                "steps": ["INT", {"min": 1, "max": 100}],
                "cfg": ["FLOAT", {"min": 0.0}],
                "sampler_name": [["euler", "heun"]],
                "mixed": ["COMBO", {"options": [1, 2.5]}],
                "odd": ["COMBO", {"options": [1, "a"]}],
            }
        }
    },
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
}
PAINTING = text_to_image("an owl", seed=7)


def test_the_inputs_of_a_stored_workflow_are_read() -> None:
    stored = [
        WorkflowInput(id="6", type=IOType.STRING, name="text", required=True, title="prompt"),
        {"id": 3, "type": "number", "name": "seed"},
        {"id": "3", "type": "number", "name": "steps", "minimum": 1, "maximum": 3},
        {"id": "1", "type": "image", "name": "image"},
    ]
    prompt, seed, steps, image = declared_inputs(stored, PAINTING)
    assert (prompt.kind, prompt.required, prompt.default, prompt.title) == ("string", True, "an owl", "prompt")
    assert (seed.kind, seed.required, seed.default) == ("integer", False, 7)
    assert (steps.kind, steps.default) == ("number", None)  # the graph's own value is out of range
    assert (image.kind, image.required) == ("image", True)
    assert declared_inputs(stored, PAINTING, OBJECT_INFO)[2].kind == "integer"
    assert declared_inputs(stored)[0].default is None


@pytest.mark.parametrize(
    "declared", [None, {}, {"id": "1", "name": "x", "type": "video"}, {"id": "1", "type": "image"}]
)
def test_what_declares_nothing_is_refused(declared: Any) -> None:
    with pytest.raises(DeclarationError, match="declared as"):
        declared_inputs([declared])


def test_inputs_of_a_graph_are_declared_by_name() -> None:
    seed, steps, cfg, sampler = declare(PAINTING, ["3.seed", "3.steps", "3.cfg", "3.sampler_name"], OBJECT_INFO)
    assert (seed.kind, seed.default, seed.minimum, seed.description) == ("integer", 7, 0, "Where chance begins.")
    assert (steps.kind, steps.maximum) == ("integer", 100)
    assert (cfg.kind, cfg.maximum) == ("number", None)
    assert (sampler.kind, sampler.choices, sampler.default) == ("string", ("euler", "heun"), "euler")
    assert [each.kind for each in declare(PAINTING, ["3.seed", "3.steps"])] == ["integer", "number"]
    assert declare(PAINTING, ["3.mixed"], OBJECT_INFO)[0].kind == "number"


def test_callers_may_have_names_of_their_own() -> None:
    [prompt] = declare(PAINTING, {"prompt": "6.text"})
    assert (prompt.title, prompt.name, prompt.node_id) == ("prompt", "text", "6")
    graph = {**PAINTING, "6": {**PAINTING["6"], "_meta": {"title": "Positive"}}}
    assert [each.title for each in declare(graph, ["6.text", "7.text", "3.seed"])] == ["Positive text", "text 7", None]


def test_a_picture_must_be_given() -> None:
    [image] = declare({"1": node("LoadImage", image="a.png")}, ["1.image"], OBJECT_INFO)
    assert (image.kind, image.required, image.default, image.choices) == ("image", True, None, None)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("6", "names no input"),
        ("6.", "names no input"),
        ("6.txt", "is not there; near it: 'text'"),
        ("3.model", "linked to node '4'"),
        ("3.odd", "takes what no caller can give"),
    ],
)
def test_what_no_caller_can_give_is_refused(place: str, expected: str) -> None:
    with pytest.raises(DeclarationError, match=expected):
        declare(PAINTING, [place], OBJECT_INFO)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(GraphError):
        declare({"nodes": []}, ["1.x"])  # type: ignore[dict-item]
    with pytest.raises(NodeNotFoundError, match="'66'"):
        declare(PAINTING, ["66.text"])


def test_a_declaration_is_what_the_sdk_takes() -> None:
    for each in declare(PAINTING, ["3.seed", "3.sampler_name", "6.text"], OBJECT_INFO):
        assert declared_inputs([WorkflowInput(**each.to_dict())], PAINTING, OBJECT_INFO) == [each]


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan")], ids=["huge", "low", "inf", "nan"])
def test_a_number_that_is_none_to_others_is_not_taken(value: float) -> None:
    [strength] = declared_inputs([{"id": "1", "type": "number", "name": "strength"}], {"1": node("A", strength=value)})
    assert strength.default is None
    assert strength.takes(2**64)


def test_the_schema_says_all_that_is_known() -> None:
    inputs = declared_inputs(
        [
            {"id": "6", "type": "string", "name": "text", "title": "prompt", "required": True},
            {"id": "3", "type": "number", "name": "steps", "minimum": 1, "maximum": 100, "description": "How many."},
            {"id": "3", "type": "string", "name": "sampler_name", "choices": ["euler", "heun"]},
            {"id": "1", "type": "image", "name": "image", "required": False},
        ],
        PAINTING,
    )
    assert json_schema("portrait", inputs, "Paints.") == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "portrait",
        "description": "Paints.",
        "type": "object",
        "properties": {
            "prompt": {
                "type": "string",
                "title": "prompt",
                "default": "an owl",
                "x-comfyone": {"id": "6", "name": "text"},
            },
            "steps": {
                "type": "number",
                "description": "How many.",
                "minimum": 1,
                "maximum": 100,
                "default": 4,
                "x-comfyone": {"id": "3", "name": "steps"},
            },
            "sampler_name": {
                "type": "string",
                "enum": ["euler", "heun"],
                "default": "euler",
                "x-comfyone": {"id": "3", "name": "sampler_name"},
            },
            "image": {
                "type": "string",
                "contentMediaType": "image/*",
                "x-comfyone": {"id": "1", "name": "image"},
            },
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }


def test_inputs_of_the_same_name_stay_apart() -> None:
    inputs = declared_inputs([{"id": each, "type": "string", "name": "text"} for each in ("6", "7")])
    assert list(json_schema("x", inputs)["properties"]) == ["6.text", "7.text"]


class Recorder:
    """Takes what a function sends."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def run(self, workflow: str, *, inputs: list[dict[str, Any]]) -> str:
        self.sent += [workflow, {each["id"]: each["params"] for each in inputs}]
        return "result"


def made(source: str) -> Any:
    """The function that a source defines."""
    module: dict[str, Any] = {}
    exec(compile(source, "made.py", "exec"), module)  # the source is what is tested
    [name] = module["__all__"]
    return module[name]


def test_a_function_sends_what_it_is_given_by_node() -> None:
    inputs = declared_inputs(
        [
            {"id": "6", "type": "string", "name": "text", "title": "prompt", "required": True},
            {"id": "3", "type": "number", "name": "seed"},
            {"id": "1", "type": "image", "name": "image", "required": False},
        ],
        PAINTING,
    )
    source = function_source("portrait", inputs)
    assert (
        "prompt: str,\n    seed: int = 7,\n    image: str | PathLike[str] | bytes | BinaryIO | None = None," in source
    )
    portrait, client = made(source), Recorder()
    assert portrait(client, prompt="a fox") == "result"
    assert client.sent == ["portrait", {"6": {"text": "a fox"}, "3": {"seed": 7}}]
    portrait(client, prompt="a fox", seed=8, image=b"...")
    assert client.sent[-1] == {"6": {"text": "a fox"}, "3": {"seed": 8}, "1": {"image": b"..."}}
    with pytest.raises(TypeError, match="prompt"):
        portrait(client)


def test_a_function_may_be_async_and_run_another_workflow() -> None:
    source = function_source("portrait", [], workflow="wf_1", asynchronous=True)
    assert "async def portrait(\n    client: AsyncComfyOne,\n) -> AsyncResult:" in source
    assert "await client.run('wf_1', inputs=_inputs({}))" in source


HOSTILE = [
    "class", "def x(): pass", "a b", "1st", "", '"""', "\\", "str", "dict", "client", "_inputs", "Any", "größe", "ﬁ", "fi",
    "None", "__debug__", "\N{SUPERSCRIPT TWO}", "日本", "\n", "\x00", "\ud83d", "\u2028", "print", "self", "match", "Literal",
]  # fmt: skip


def hostile() -> list[DeclaredInput]:
    kinds: list[tuple[Kind, tuple[Any, ...] | None]] = [
        ("string", None),
        ("string", tuple(HOSTILE)),
        ("integer", (1, 2)),
    ]
    return [
        DeclaredInput(f"{number}{text}", text, kind, title=text or None, description=f"{text} {text}", choices=choices)
        for number, text in enumerate(HOSTILE)
        for kind, choices in kinds
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_make_a_function_all_the_same(name: str) -> None:
    function, client = made(function_source(name, hostile(), description=name)), Recorder()
    assert function(client) == "result"
    assert client.sent == [name, {}]


def test_a_function_passes_the_strictest_check_of_types(tmp_path: Path) -> None:
    declared = declare(PAINTING, {"prompt": "6.text", "seed": "3.seed", "sampler": "3.sampler_name"}, OBJECT_INFO)
    sources = {
        "usual": function_source("portrait", declared),
        "hostile": function_source("class", [*hostile(), DeclaredInput("1", "image", "image", required=True)]),
        "later": function_source("portrait", declared, asynchronous=True),
        "bare": function_source("nothing", []),
    }
    calls = "\n".join(
        [
            "from comfyone import ComfyOne, Result",
            "from usual import portrait",
            'client = ComfyOne("key")',
            'good: Result = portrait(client, prompt="a fox", seed=1, sampler="heun")',
            'portrait(client, seed="1")  # type: ignore[arg-type]',
            'portrait(client, sampler="magic")  # type: ignore[arg-type]',
        ]
    )
    for name, source in {**sources, "calls": calls}.items():
        (tmp_path / f"{name}.py").write_bytes(source.encode("utf-8", errors="backslashreplace"))
    line = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*line, *(f"{name}.py" for name in [*sources, "calls"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


KINDS: Any = st.sampled_from(["image", "string", "integer", "number", "boolean"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)


@settings(deadline=None)
@given(
    name=st.text(max_size=6),
    inputs=st.lists(
        st.builds(
            DeclaredInput,
            st.text(max_size=3),
            st.text(max_size=5),
            KINDS,
            required=st.booleans(),
            choices=st.none() | st.lists(VALUES, max_size=3).map(tuple),
            title=st.none() | st.text(max_size=5),
            description=st.none() | st.text(max_size=8),
        ),
        max_size=5,
    ),
)
def test_any_inputs_make_a_function_that_sends_each_to_its_node(name: str, inputs: list[DeclaredInput]) -> None:
    source = function_source(name, inputs)
    tree = ast.parse(source)
    function = next(each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name != "_inputs")
    parameters = [each.arg for each in function.args.kwonlyargs]
    assert len(parameters) == len(inputs)
    client = Recorder()
    made(source)(client, **{parameter: number for number, parameter in enumerate(parameters)})
    expected: dict[str, set[str]] = {}
    for each in inputs:
        expected.setdefault(each.node_id, set()).add(each.name)
    assert {node_id: set(params) for node_id, params in client.sent[1].items()} == expected
    assert len(json_schema(name, inputs)["properties"]) == len(inputs)
