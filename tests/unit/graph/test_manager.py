"""`WorkflowManager`: every promise of the seed, and what the original overlooked."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import ComfyOneError, ValidationError
from comfyone.graph.files import MAX_FILE, GraphFileError, GraphFileNotFoundError, GraphWriteError
from comfyone.graph.manager import UnknownNameError, WorkflowManager
from tests.graphs import node, text_to_image, tiny
from tests.unit.graph.strategies import graphs


@pytest.fixture
def manager() -> WorkflowManager:
    return WorkflowManager()


@pytest.mark.seed("S2-44", "S2-45", "S2-46", "S5-31")
@pytest.mark.parametrize("kind", [str, Path])
def test_a_workflow_that_is_saved_can_be_loaded(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "new" / "folder" / "owl.json"
    WorkflowManager.save_workflow(text_to_image("une chouette élégante"), kind(path))
    assert WorkflowManager.load_workflow(kind(path)) == text_to_image("une chouette élégante")
    assert path.read_text().startswith('{\n  "3": {\n    "class_type"')
    assert "élégante" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["owl.json"]


@given(graph=graphs() | st.dictionaries(st.text(), st.recursive(st.none() | st.text(), lambda inner: st.lists(inner))))
def test_any_workflow_survives_a_file(tmp_path_factory: pytest.TempPathFactory, graph: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    WorkflowManager.save_workflow(graph, path)
    assert WorkflowManager.load_workflow(path) == graph


def test_half_a_character_survives_a_file(tmp_path: Path) -> None:
    graph = {"1": node("A", text="half \ud83d of it")}
    WorkflowManager.save_workflow(graph, tmp_path / "half.json")
    assert WorkflowManager.load_workflow(tmp_path / "half.json") == graph


@pytest.mark.seed("S2-45")
def test_a_file_that_is_not_there_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "owl.json").write_text("{}")
    with pytest.raises(GraphFileNotFoundError, match=r"owls.json.*beside it there are: owl.json") as caught:
        WorkflowManager.load_workflow(tmp_path / "owls.json")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ValidationError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(tmp_path / "owls.json")
    with pytest.raises(FileNotFoundError, match="no folder"):
        WorkflowManager.load_workflow(tmp_path / "none" / "owl.json")


@pytest.mark.seed("S2-45")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"1": {\n  "class_type": "A",\n', "line 3, column 1.*saved to its end"),
        (b'{"1": {\n  "class_type": A}}', "line 2, column 17, near"),
        (b"", "empty"),
        (b"[1, 2]", "an array, not an object"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture.*read_workflow"),
        (b'{"1": "\xff"}', "no text in UTF-8: byte 7 is 0xff"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"1": ' + b"9" * 5000 + b"}", "a number that is too long"),
    ],
)
def test_a_file_that_is_no_workflow_says_where(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(GraphFileError, match=f"(?s)bad.json.*{expected}") as caught:
        WorkflowManager.load_workflow(path)
    assert isinstance(caught.value, ValueError)


def test_a_folder_or_a_giant_is_no_workflow(tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match="can't be read"):
        WorkflowManager.load_workflow(tmp_path)
    with (tmp_path / "giant.json").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(GraphFileError, match="bytes"):
        WorkflowManager.load_workflow(tmp_path / "giant.json")


def test_a_mark_at_the_beginning_and_numbers_that_are_none_are_read(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b'\xef\xbb\xbf{"1": {"class_type": "A", "inputs": {"x": NaN, "y": Infinity}}}')
    assert WorkflowManager.load_workflow(path)["1"]["inputs"]["y"] == float("inf")


def test_what_json_has_no_words_for_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "owl.json"
    path.write_text("before")
    with pytest.raises(GraphFileError, match="can't be written as JSON"):
        WorkflowManager.save_workflow({"1": node("A", picture=object())}, path)
    assert path.read_text() == "before"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files fails a write just as a full disk does."""
    path = tmp_path / "owl.json"
    path.write_text("before")
    program = f"""
import resource, signal
from comfyone.graph.manager import WorkflowManager
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    WorkflowManager.save_workflow({{"1": {{"class_type": "A", "inputs": {{"text": "x" * 5000}}}}}}, {str(path)!r})
except OSError as error:
    print(type(error).__name__, error.errno)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["GraphWriteError", str(errno.EFBIG)]
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["owl.json"]


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphWriteError, match="can't be written") as caught:
        WorkflowManager.save_workflow(tiny(), tmp_path / "file" / "owl.json")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ComfyOneError)


@pytest.mark.seed("S2-47")
def test_a_sound_workflow_is_valid() -> None:
    assert WorkflowManager.validate_workflow(text_to_image("an owl")) == (True, [])


@pytest.mark.seed("S2-47")
@pytest.mark.parametrize(
    ("workflow", "expected"),
    [
        ([], "a graph is a JSON object, not an array"),
        (None, "not null"),
        ({}, "no nodes"),
        (("a", "b"), "not a Python tuple"),
        (PurePosixPath("flow.json"), "not a Python PurePosixPath"),
        ("[" * 200_000, "this is its text (which is nested too deeply"),
        ({"1": "node"}, "node '1' is a string, not an object"),
        ({"1": {"inputs": {}}}, "node '1' has no 'class_type'"),
        ({"1": {"class_type": "A"}}, "node '1' has no 'inputs' object"),
        ({"1": {"class_type": "A", "inputs": []}}, "node '1' has no 'inputs' object"),
        ({"1": node("A", x=["7", 0])}, "links to node '7', which is not there"),
    ],
)
def test_a_broken_workflow_is_not(workflow: Any, expected: str) -> None:
    valid, errors = WorkflowManager.validate_workflow(workflow)
    assert not valid
    assert expected in errors[0]


@pytest.mark.seed("S2-108")
@pytest.mark.parametrize("workflow", [{"nodes": [], "links": []}, {"workflow": {"nodes": []}}])
def test_a_file_of_the_editor_is_known_with_the_way_out(workflow: Any) -> None:
    valid, [message] = WorkflowManager.validate_workflow(workflow)
    assert not valid
    assert "Save (API format)" in message
    assert "comfyone convert" in message


def test_all_faults_are_told_at_once_and_more_with_the_classes_of_a_server(manager: WorkflowManager) -> None:
    object_info = {"A": {"input": {"required": {"x": ["INT", {"min": 1}]}}, "output_node": True}}
    _, errors = manager.validate_workflow({"1": {"inputs": {}}, "2": "x"})
    assert len(errors) == 2
    assert manager.validate_workflow({"1": node("A", x=0)}) == (True, [])
    assert manager.validate_workflow({"1": node("A", x=0)}, object_info)[0] is False
    [problem] = manager.find_problems({"1": node("A", x=0)}, object_info)
    assert (problem.node_id, problem.input_name, problem.suggestions) == ("1", "x", (1,))


@pytest.mark.seed("S2-48", "S2-49", "S2-56")
def test_what_is_registered_is_nobody_elses(manager: WorkflowManager) -> None:
    workflow = tiny()
    manager.register_workflow("tiny", workflow)
    workflow["1"]["inputs"]["width"] = 1
    manager.get_workflow("tiny")["1"]["inputs"]["width"] = 2
    assert manager.get_workflow("tiny") == tiny()
    assert manager.list_workflows() == ["tiny"]


@pytest.mark.seed("S2-49", "S2-53")
def test_an_unknown_name_is_a_key_error_that_tells_the_known_ones(manager: WorkflowManager) -> None:
    with pytest.raises(KeyError, match="there is no workflow yet"):
        manager.get_workflow("portrait")
    manager.register_workflow("portrait", tiny())
    with pytest.raises(UnknownNameError, match="near it: 'portrait'"):
        manager.get_workflow("potrait")
    with pytest.raises(KeyError, match="no template is registered as 'portrait'"):
        manager.instantiate_template("portrait", {})
    with pytest.raises(UnknownNameError):
        manager.get_template("portrait")


@pytest.mark.seed("S2-50")
def test_an_input_is_updated_in_place() -> None:
    workflow = tiny()
    assert WorkflowManager.update_node_input(workflow, "1", "width", 8) is workflow
    assert workflow["1"]["inputs"]["width"] == 8
    bare: dict[str, Any] = {"1": {"class_type": "A"}}
    assert WorkflowManager.update_node_input(bare, "1", "x", 5)["1"]["inputs"] == {"x": 5}
    with pytest.raises(KeyError, match="no node '9'"):
        WorkflowManager.update_node_input(workflow, "9", "x", 5)


@pytest.mark.seed("S2-51", "S2-54")
def test_a_workflow_is_searched_and_counted(manager: WorkflowManager) -> None:
    workflow = text_to_image("an owl")
    assert manager.find_nodes_by_type(workflow, "CLIPTextEncode") == ["6", "7"]
    assert manager.find_nodes(workflow, inputs={"text": "an owl"}) == ["6"]
    assert manager.get_workflow_info(workflow) == {
        "total_nodes": 7,
        "node_types": {
            "KSampler": 1,
            "CheckpointLoaderSimple": 1,
            "EmptyLatentImage": 1,
            "CLIPTextEncode": 2,
            "VAEDecode": 1,
            "SaveImage": 1,
        },
        "node_ids": ["3", "4", "5", "6", "7", "8", "9"],
    }
    assert list(manager.extract_subgraph(workflow, "6")) == ["4", "6"]


@pytest.mark.seed("S2-6", "S2-52", "S2-53")
def test_a_template_is_filled_with_what_is_given(manager: WorkflowManager) -> None:
    base = text_to_image("an owl")
    manager.create_template(
        "paint",
        base,
        {"prompt": {"node_id": "6", "input_name": "text"}, "seed": {"node_id": "3", "input_name": "seed"}},
    )
    base["6"]["inputs"]["text"] = "changed afterwards"
    filled = manager.instantiate_template("paint", {"prompt": "a fox", "unknown": 1})
    assert filled == text_to_image("a fox")
    filled["6"]["inputs"]["text"] = "changed"
    assert manager.instantiate_template("paint", {}) == text_to_image("an owl")
    assert manager.list_templates() == ["paint"]
    assert list(manager.get_template("paint").parameters) == ["prompt", "seed"]
    with pytest.raises(ValueError, match="declared as"):
        manager.create_template("paint", base, {"prompt": "6.text"})


@pytest.mark.seed("S2-55")
def test_workflows_are_merged_under_a_prefix() -> None:
    first, second = tiny(), text_to_image("an owl")
    before = copy.deepcopy((first, second))
    merged = WorkflowManager.merge_workflows(first, second)
    assert merged["merged_8"]["inputs"]["samples"] == ["merged_3", 0]
    assert merged["2"]["inputs"]["image"] == ["1", 0]
    assert "b_9" in WorkflowManager.merge_workflows(first, second, node_id_prefix="b_")
    assert (first, second) == before


def test_seeds_are_set_and_told(manager: WorkflowManager) -> None:
    workflow = text_to_image("an owl")
    seeded = manager.randomize_seeds(workflow, random.Random(1))
    assert manager.set_seeds(workflow, seeded.seeds) == seeded
    assert workflow == text_to_image("an owl")


@pytest.mark.seed("S2-44")
@pytest.mark.parametrize(
    "name",
    [
        "load_workflow",
        "save_workflow",
        "validate_workflow",
        "update_node_input",
        "find_nodes_by_type",
        "get_workflow_info",
        "merge_workflows",
    ],
)
def test_what_was_static_is_callable_on_the_class(name: str) -> None:
    assert isinstance(vars(WorkflowManager)[name], staticmethod)


def test_importing_it_is_cheap() -> None:
    program = "import sys, comfyone.graph.manager as m; print(sorted({'pydantic', 'PIL', 'aiohttp', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
