"""ComfyUI's own words, read into the engine's. What is read here was recorded from a real server (0.3.75)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from comfyone.gateway.domain.evidence import Ending, FileRef, Hint, HintKind, Produced, Where, Whereabouts
from comfyone.gateway.domain.jobs import Failure
from comfyone.gateway.drivers.messages import (
    ending_of,
    hint_of,
    left_out,
    node_errors_of,
    produced_of,
    refusal_of,
    where_in_queue,
)

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text())

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def hints(name: str) -> list[Hint]:
    return [hint for message in RECORDED[name]["messages"] if (hint := hint_of(message))]


def ending(name: str) -> Ending:
    seen = ending_of(RECORDED[name]["history"][name])
    assert seen.where is Where.ENDED
    assert seen.ending is not None
    return seen.ending


def saved(node_id: str, filename: str) -> Produced:
    return Produced(node_id, "images", file=FileRef(filename, "", "output"))


def test_a_run_begins_reports_its_output_announces_its_end_and_is_over() -> None:
    kinds = [hint.kind for hint in hints("run")]
    assert kinds[0] is HintKind.BEGUN
    assert kinds[-2:] == [HintKind.ENDING, HintKind.OVER]
    assert [hint.produced for hint in hints("run") if hint.kind is HintKind.OUTPUT] == [
        (saved("3", "tiny_00001_.png"),)
    ]
    assert {hint.prompt_id for hint in hints("run")} == {"run"}


def test_a_cached_run_names_its_nodes_as_done_and_its_earlier_files() -> None:
    begun, cached, output, *_ = hints("cached")
    assert (begun.kind, cached.kind, output.kind) == (HintKind.BEGUN, HintKind.PROGRESS, HintKind.OUTPUT)
    assert cached.done == {"1", "2", "3"}
    assert output.produced == (saved("3", "tiny_00001_.png"),)


def test_a_node_that_reports_its_steps_is_a_growing_fraction() -> None:
    told = [hint.fractions["2"] for hint in hints("steps") if "2" in hint.fractions]
    assert told == sorted(told)
    assert {1 / 3, 2 / 3, 1.0} <= set(told)
    assert hints("steps")[-3].done == {"1", "2", "3"}


@pytest.mark.parametrize("name", ["error", "interrupted"])
def test_a_failed_and_an_interrupted_run_announce_an_end_too(name: str) -> None:
    assert [hint.kind for hint in hints(name)][-2:] == [HintKind.ENDING, HintKind.OVER]


def test_messages_about_no_prompt_say_nothing() -> None:
    status = [message for message in RECORDED["run"]["messages"] if message["type"] == "status"]
    assert [hint_of(message) for message in status] == [None] * len(status)
    after_a_reconnect = {"type": "executing", "data": {"node": "2", "display_node": "2"}}
    assert hint_of(after_a_reconnect) is None
    assert hint_of({"type": "executing", "data": {"node": None}}) is None


def test_the_history_names_what_a_run_produced() -> None:
    assert ending("run") == Ending(produced=(saved("3", "tiny_00001_.png"),))
    assert ending("cached") == ending("run")
    assert ending("text") == Ending(produced=(Produced("1", "text", value="hello"),))


def test_a_remark_about_files_is_no_output_of_its_own() -> None:
    remarked = replace(saved("2", "anim_00001_.webp"), remarks={"animated": [True]})
    assert ending("animated") == Ending(produced=(remarked,))


def test_a_node_error_names_the_node_and_its_message() -> None:
    failure = ending("error").failure
    assert failure == Failure(
        "node_error",
        "node '2' (TestFail): on purpose",
        "2",
        "TestFail",
        exception="ValueError",
        traceback=("trimmed",),
    )
    assert failure.reason == "on purpose"


@pytest.mark.parametrize("lines", [None, "a text", ["x" * 9999] * 9999])
def test_however_a_server_tells_a_traceback_few_and_short_lines_of_it_are_kept(lines: Any) -> None:
    entry = {"status": {"status_str": "error", "messages": [["execution_error", {"node_id": "1", "traceback": lines}]]}}
    seen = ending_of(entry).ending
    assert seen is not None
    assert seen.failure is not None
    assert sum(map(len, seen.failure.traceback)) <= 100_000


def test_an_interrupted_run_is_neither_failed_nor_done() -> None:
    assert ending("interrupted") == Ending(interrupted=True, node_id="2", node_type="TestSleep")


def test_the_queue_says_what_runs_and_what_waits() -> None:
    queue = RECORDED["interrupted"]["queue"]
    assert where_in_queue(queue, "interrupted") is Where.RUNNING
    assert where_in_queue(queue, "interrupted-waits") is Where.PENDING
    assert where_in_queue(queue, "another") is Where.ABSENT
    assert where_in_queue({}, "another") is Where.ABSENT


def test_a_refusal_names_the_node_and_the_input() -> None:
    failure = refusal_of(RECORDED["refused"])
    assert failure == Failure(
        "rejected", "node '2' (ImageInvert): Required input is missing: image", "2", "ImageInvert"
    )


def test_a_refusal_without_node_errors_gives_the_servers_words() -> None:
    assert (
        refusal_of(RECORDED["unknown"]).message == "Cannot execute because node NoSuchNode does not exist. Node ID '#2'"
    )
    assert refusal_of(RECORDED["no_output"]).message == "Prompt has no outputs"
    assert refusal_of({"error": "plain text"}).message == "plain text"
    assert refusal_of({}).message == "the server refused the graph"


def test_an_accepted_graph_says_which_outputs_it_leaves_out() -> None:
    errors = RECORDED["partial"]["node_errors"]
    why = Failure("rejected", "node '4' (SaveImage): Required input is missing: images", "4", "SaveImage")
    assert left_out(errors) == {"4": why}
    assert node_errors_of(errors) == [why]
    assert left_out(RECORDED["run"]["answer"]["node_errors"]) == {}


def test_an_output_is_left_out_for_a_fault_in_a_node_before_it() -> None:
    assert left_out(RECORDED["refused"]["node_errors"]).keys() == {"3"}
    assert left_out(RECORDED["refused"]["node_errors"])["3"].node_id == "2"


def test_files_keep_folder_and_type_and_values_stay_as_they_are() -> None:
    output = {
        "images": [
            {"filename": "a.png", "subfolder": "b", "type": "temp"},
            {"filename": "c.png", "format": "x/y", "fullpath": "/srv"},
        ],
        "text": ["one", {"two": 2}],
        "count": 3,
        "animated": [True],
        "audio": [],
    }
    remarks = {"animated": [True], "audio": []}
    assert list(produced_of("9", output)) == [
        Produced("9", "images", file=FileRef("a.png", "b", "temp"), remarks=remarks),
        Produced("9", "images", file=FileRef("c.png", "", "output"), remarks=remarks, more={"format": "x/y"}),
        Produced("9", "text", value="one", remarks=remarks),
        Produced("9", "text", value={"two": 2}, remarks=remarks),
        Produced("9", "count", value=3, remarks=remarks, single=True),
    ]


def test_a_history_entry_without_a_status_counts_as_done() -> None:
    assert ending_of({"outputs": {}}) == Whereabouts(Where.ENDED, Ending())


@given(st.fixed_dictionaries({"type": st.text(max_size=12), "data": anything}))
def test_a_message_of_another_kind_says_nothing(message: dict[str, Any]) -> None:
    assert hint_of(message) is None
