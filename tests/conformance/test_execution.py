"""Runs: the order of messages, the history, the cache, previews, errors and interruption."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
import websocket

from tests.conformance.client import ComfyUI, Message, of_type, parse, types
from tests.graphs import Graph, empty, failing, node, save, sleeping, slow, speaking, tiny


def fresh() -> str:
    """A file prefix that no cache knows."""
    return uuid.uuid4().hex


def color() -> int:
    """A colour that no cache knows."""
    return uuid.uuid4().int & 0xFFFFFF


def node_messages(node_id: str, *, ui: bool = False) -> list[tuple[str, str]]:
    kinds = ["progress_state", "executing", *(["executed"] if ui else []), "progress_state"]
    return [(kind, node_id) for kind in kinds]


def outline(messages: list[Message]) -> list[tuple[str, str]]:
    """Type and node of each message; for ``progress_state`` the node that was touched last."""
    told = []
    for message in messages:
        data = message["data"]
        last = next(reversed(data["nodes"])) if message["type"] == "progress_state" else data.get("node") or ""
        told.append((message["type"], last))
    return told


def test_the_messages_of_a_prompt_come_in_this_order(comfyui: ComfyUI) -> None:
    messages, entry = comfyui.run(tiny(color=color(), prefix=fresh()))
    assert outline(messages) == [
        ("execution_start", ""),
        ("execution_cached", ""),
        *node_messages("1"),
        *node_messages("2"),
        *node_messages("3", ui=True),
        ("execution_success", ""),
        ("executing", ""),
    ]
    assert of_type(messages, "execution_cached")[0]["nodes"] == []
    prompt_id = entry["prompt"][1]
    assert {message["data"]["prompt_id"] for message in messages} == {prompt_id}
    for kind in ("execution_start", "execution_cached", "execution_success"):
        assert isinstance(of_type(messages, kind)[0]["timestamp"], int)


def test_the_first_status_has_the_client_id_and_the_others_count(comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        greeting = listener.messages[0]
        assert greeting == {
            "type": "status",
            "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": listener.client_id},
        }
        listener.until_end(comfyui.submit(tiny(color=color()), client_id=listener.client_id))
        counts = [data["status"]["exec_info"]["queue_remaining"] for data in of_type(listener.messages[1:], "status")]
        assert counts[:2] == [1, 1]
        assert counts[-1] == 0
        assert all("sid" not in data for data in of_type(listener.messages[1:], "status"))
        assert types(listener.messages)[-2:] == ["status", "executing"]


def test_a_socket_without_client_id_is_given_one(comfyui: ComfyUI) -> None:
    socket = websocket.create_connection(f"ws{comfyui.url[4:]}/ws", timeout=10)
    try:
        assert len(json.loads(socket.recv())["data"]["sid"]) == 32
    finally:
        socket.close()


def test_executing_and_executed_name_their_node(comfyui: ComfyUI) -> None:
    prefix = fresh()
    messages, entry = comfyui.run(tiny(color=color(), prefix=prefix))
    prompt_id = entry["prompt"][1]
    assert of_type(messages, "executing") == [
        *({"node": each, "display_node": each, "prompt_id": prompt_id} for each in ("1", "2", "3")),
        {"node": None, "prompt_id": prompt_id},
    ]
    output = {"images": [{"filename": f"{prefix}_00001_.png", "subfolder": "", "type": "output"}]}
    assert of_type(messages, "executed") == [
        {"node": "3", "display_node": "3", "output": output, "prompt_id": prompt_id}
    ]
    assert entry["outputs"] == {"3": output}


def test_progress_state_tells_all_nodes_so_far(comfyui: ComfyUI) -> None:
    messages, entry = comfyui.run(tiny(color=color(), prefix=fresh()))
    states = of_type(messages, "progress_state")
    assert [list(state["nodes"]) for state in states] == [["1"]] * 2 + [["1", "2"]] * 2 + [["1", "2", "3"]] * 2
    last = {name: each["state"] for name, each in states[-1]["nodes"].items()}
    assert last == dict.fromkeys("123", "finished")
    assert states[0]["nodes"]["1"] == {
        "value": 0.0,
        "max": 1.0,
        "state": "running",
        "node_id": "1",
        "prompt_id": entry["prompt"][1],
        "display_node_id": "1",
        "parent_node_id": None,
        "real_node_id": "1",
    }


def test_the_history_tells_prompt_outputs_status_and_meta(comfyui: ComfyUI) -> None:
    graph = tiny(color=color(), prefix=fresh())
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(graph, client_id=listener.client_id, extra_data={"mine": [1]})
        messages = listener.until_end(prompt_id)
    entry = comfyui.entry(prompt_id)
    assert set(entry) == {"prompt", "outputs", "status", "meta"}
    number, told_id, prompt, extra_data, outputs = entry["prompt"]
    assert isinstance(number, int)
    assert (told_id, prompt, outputs) == (prompt_id, graph, ["3"])
    assert isinstance(extra_data.pop("create_time"), int)
    assert extra_data == {"mine": [1], "client_id": listener.client_id}
    assert entry["meta"] == {"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}
    kept = ("execution_start", "execution_cached", "execution_success")
    assert entry["status"] == {
        "status_str": "success",
        "completed": True,
        "messages": [[message["type"], message["data"]] for message in messages if message["type"] in kept],
    }


def test_keys_of_the_caller_are_not_told_to_others(comfyui: ComfyUI) -> None:
    extra = {"api_key_comfy_org": "secret-1", "auth_token_comfy_org": "secret-2"}
    prompt_id = comfyui.submit(tiny(color=color()), extra_data=extra)
    assert "secret" not in str(comfyui.entry(prompt_id))


def test_a_repeated_prompt_runs_nothing_and_tells_the_earlier_result(comfyui: ComfyUI) -> None:
    graph = tiny(color=color(), prefix=fresh())
    _, first = comfyui.run(graph)
    messages, second = comfyui.run(graph)
    assert outline(messages) == [
        ("execution_start", ""),
        ("execution_cached", ""),
        ("executed", "3"),
        ("progress_state", "3"),
        ("execution_success", ""),
        ("executing", ""),
    ]
    assert of_type(messages, "execution_cached")[0]["nodes"] == ["1", "2", "3"]
    assert second["outputs"] == first["outputs"]
    assert second["meta"] == first["meta"]


def test_a_repeated_prompt_without_client_has_no_outputs_in_the_history(comfyui: ComfyUI) -> None:
    graph = tiny(color=color(), prefix=fresh())
    assert comfyui.entry(comfyui.submit(graph))["outputs"] != {}
    again = comfyui.entry(comfyui.submit(graph))
    assert again["outputs"] == {}
    assert again["status"]["status_str"] == "success"


def test_only_what_changed_runs_again(comfyui: ComfyUI) -> None:
    shade = color()
    comfyui.run(tiny(color=shade, prefix=fresh()))
    messages, _ = comfyui.run(tiny(color=shade, prefix=fresh()))
    assert of_type(messages, "execution_cached")[0]["nodes"] == ["1", "2"]
    assert [data["node"] for data in of_type(messages, "executing")] == ["3", None]


def test_the_cache_holds_only_the_last_prompt(comfyui: ComfyUI) -> None:
    graph = tiny(color=color(), prefix=fresh())
    comfyui.run(graph)
    comfyui.run(speaking(fresh()))
    messages, _ = comfyui.run(graph)
    assert of_type(messages, "execution_cached")[0]["nodes"] == []


def test_the_cache_does_not_care_about_node_ids(comfyui: ComfyUI) -> None:
    shade, prefix = color(), fresh()
    comfyui.run(tiny(color=shade, prefix=prefix))
    renamed = {"a": empty(shade), "b": node("ImageInvert", image=["a", 0]), "c": save("b", prefix)}
    messages, entry = comfyui.run(renamed)
    assert of_type(messages, "execution_cached")[0]["nodes"] == ["a", "b", "c"]
    assert entry["meta"]["c"]["node_id"] == "3"


def test_two_equal_nodes_in_one_prompt_run_once(comfyui: ComfyUI) -> None:
    shade, prefix = color(), fresh()
    graph = {"1": empty(shade), "2": save("1", prefix), "3": save("1", prefix)}
    messages, entry = comfyui.run(graph)
    ran = [data["node"] for data in of_type(messages, "executing")]
    assert len(ran) == 3
    assert ran[0] == "1"
    assert entry["outputs"]["2"] == entry["outputs"]["3"]


def test_freeing_memory_empties_the_cache(comfyui: ComfyUI) -> None:
    graph = tiny(color=color(), prefix=fresh())
    comfyui.run(graph)
    assert comfyui.post("/free", json={"unload_models": True, "free_memory": True}).status_code == 200
    # The worker heeds the wish between two prompts, so not surely before the next one.
    for _ in range(50):
        messages, _ = comfyui.run(graph)
        if of_type(messages, "execution_cached")[0]["nodes"] == []:
            return
    raise AssertionError("the cache was never emptied")


def test_progress_is_told_step_by_step(comfyui: ComfyUI) -> None:
    messages, entry = comfyui.run(slow(steps=3, seconds=0.01, color=color()))
    prompt_id = entry["prompt"][1]
    assert of_type(messages, "progress") == [
        {"value": step, "max": 3, "prompt_id": prompt_id, "node": "2"} for step in (1, 2, 3)
    ]
    at_two = [state["nodes"]["2"] for state in of_type(messages, "progress_state") if "2" in state["nodes"]]
    assert [(each["value"], each["max"], each["state"]) for each in at_two[:5]] == [
        (0, 1, "running"),
        (1, 3, "running"),
        (2, 3, "running"),
        (3, 3, "running"),
        (3, 3, "finished"),
    ]


def test_previews_come_as_kind_1(comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        graph = slow(steps=3, seconds=0.01, preview=True, color=color())
        listener.until_end(comfyui.submit(graph, client_id=listener.client_id))
    previews = [parse(frame) for frame in listener.frames]
    assert [preview.kind for preview in previews] == [1, 1, 1]
    assert [preview.picture.size for preview in previews] == [(64, 64)] * 3
    for preview, shade in zip(previews, (85, 170, 255), strict=True):
        got = preview.picture.convert("L").getpixel((32, 32))
        assert isinstance(got, int)
        assert abs(got - shade) <= 2


def test_previews_come_with_metadata_to_those_who_ask_for_it(comfyui: ComfyUI) -> None:
    with comfyui.listen(supports_preview_metadata=True) as listener:
        flags = listener.messages[-1]
        assert flags["data"] == {"supports_preview_metadata": True, "max_upload_size": 104857600}
        graph = slow(steps=2, seconds=0.01, preview=True, color=color())
        prompt_id = comfyui.submit(graph, client_id=listener.client_id)
        listener.until_end(prompt_id)
    previews = [parse(frame) for frame in listener.frames]
    assert [preview.kind for preview in previews] == [4, 4]
    assert previews[0].about == {
        "node_id": "2",
        "prompt_id": prompt_id,
        "display_node_id": "2",
        "parent_node_id": None,
        "real_node_id": "2",
        "image_type": "image/jpeg",
    }


@pytest.mark.parametrize("client_id", [5, "", True])
def test_a_client_id_that_is_no_text_harms_nobody(comfyui: ComfyUI, client_id: Any) -> None:
    comfyui.post("/prompt", json={"prompt": tiny(color=color()), "client_id": client_id})
    _, entry = comfyui.run(tiny(color=color()))
    assert entry["status"]["status_str"] == "success"


def test_half_a_character_is_kept(comfyui: ComfyUI) -> None:
    body = json.dumps({"prompt": speaking("half \ud83d of it")})
    response = comfyui.post("/prompt", data=body, headers={"Content-Type": "application/json"})
    entry = comfyui.entry(response.json()["prompt_id"])
    assert entry["outputs"]["1"]["text"] == ["half \ud83d of it"]


def test_a_text_is_an_output(comfyui: ComfyUI) -> None:
    text = fresh()
    messages, entry = comfyui.run(speaking(text))
    assert of_type(messages, "executed")[0]["output"] == {"text": [text]}
    assert entry["outputs"] == {"1": {"text": [text]}}


def test_a_failing_node_ends_the_prompt(comfyui: ComfyUI) -> None:
    shade = color()
    messages, entry = comfyui.run(failing("out of paint", shade))
    assert outline(messages)[-2:] == [("execution_error", ""), ("executing", "")]
    [told] = of_type(messages, "execution_error")
    assert told["node_id"] == "2"
    assert told["node_type"] == "TestFail"
    assert told["executed"] == ["1"]
    assert told["exception_message"] == "out of paint\n"
    assert told["exception_type"] == "ValueError"
    assert told["current_inputs"]["message"] == ["out of paint"]
    assert sorted(told["current_outputs"]) == ["1", "2", "3"]
    assert any("ValueError(message)" in line for line in told["traceback"])
    assert isinstance(told["timestamp"], int)
    assert entry["outputs"] == {}
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["completed"] is False
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_error",
    ]
    assert entry["status"]["messages"][-1][1] == told


def test_what_was_saved_before_a_failure_is_in_the_history(comfyui: ComfyUI) -> None:
    graph: Graph = {**failing(color=color()), "5": save("1", fresh())}
    _, entry = comfyui.run(graph)
    assert entry["status"]["status_str"] == "error"
    assert list(entry["outputs"]) == ["5"]


def test_a_broken_picture_fails_when_it_is_loaded(comfyui: ComfyUI) -> None:
    name = comfyui.upload(f"{fresh()}.png", b"no picture")["name"]
    messages, _ = comfyui.run({"1": node("LoadImage", image=name), "3": save("1", fresh())})
    [told] = of_type(messages, "execution_error")
    assert told["exception_type"] == "PIL.UnidentifiedImageError"
    assert "cannot identify image file" in told["exception_message"]


def test_saving_outside_the_folder_fails(comfyui: ComfyUI) -> None:
    messages, _ = comfyui.run({"1": empty(color()), "3": save("1", "../../escape")})
    [told] = of_type(messages, "execution_error")
    assert "Saving image outside the output folder is not allowed." in told["exception_message"]


def test_partial_targets_run_only_what_they_need(comfyui: ComfyUI) -> None:
    graph = {**tiny(color=color(), prefix=fresh()), "4": save("1", fresh())}
    messages, entry = comfyui.run(graph, partial_execution_targets=["4"])
    assert [data["node"] for data in of_type(messages, "executing")] == ["1", "4", None]
    assert entry["prompt"][4] == ["4"]
    assert list(entry["outputs"]) == ["4"]


def test_outputs_run_as_soon_as_they_can(comfyui: ComfyUI) -> None:
    graph = {
        "1": empty(color()),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("ImageInvert", image=["2", 0]),
        "4": save("3", fresh()),
        "5": save("1", fresh()),
    }
    messages, _ = comfyui.run(graph)
    assert [data["node"] for data in of_type(messages, "executing")] == ["1", "5", "2", "3", "4", None]


@pytest.mark.parametrize("targeted", [True, False])
def test_an_interrupt_stops_what_runs(comfyui: ComfyUI, targeted: bool) -> None:
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(sleeping(60, color()), client_id=listener.client_id)
        listener.until(lambda message: message["data"].get("node") == "2")
        response = comfyui.post("/interrupt", json={"prompt_id": prompt_id} if targeted else {})
        assert (response.status_code, response.content) == (200, b"")
        messages = listener.until_end(prompt_id)
    [told] = of_type(messages, "execution_interrupted")
    assert isinstance(told.pop("timestamp"), int)
    assert told == {"prompt_id": prompt_id, "node_id": "2", "node_type": "TestSleep", "executed": ["1"]}
    entry = comfyui.entry(prompt_id)
    assert entry["outputs"] == {}
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_a_node_with_progress_can_be_interrupted(comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(slow(steps=1000, seconds=0.02, color=color()), client_id=listener.client_id)
        listener.until_type("progress")
        comfyui.post("/interrupt", json={"prompt_id": prompt_id})
        assert of_type(listener.until_end(prompt_id), "execution_interrupted")


def test_an_interrupt_of_another_prompt_stops_nothing(comfyui: ComfyUI) -> None:
    prompt_id = comfyui.start(slow(steps=10, seconds=0.03, color=color()), node="2")
    assert comfyui.post("/interrupt", json={"prompt_id": "another"}).status_code == 200
    assert comfyui.entry(prompt_id)["status"]["status_str"] == "success"


def test_an_interrupt_of_nothing_is_forgotten(comfyui: ComfyUI) -> None:
    comfyui.post("/interrupt", json={})
    _, entry = comfyui.run(tiny(color=color()))
    assert entry["status"]["status_str"] == "success"


def test_what_was_done_before_an_interrupt_stays_cached(comfyui: ComfyUI) -> None:
    shade = color()
    prompt_id = comfyui.start(sleeping(60, shade), node="2")
    comfyui.post("/interrupt", json={})
    comfyui.entry(prompt_id)
    messages, _ = comfyui.run(sleeping(0, shade))
    assert of_type(messages, "execution_cached")[0]["nodes"] == ["1"]


def test_messages_go_to_their_client_only(comfyui: ComfyUI) -> None:
    with comfyui.listen() as mine, comfyui.listen() as other:
        prompt_id = comfyui.submit(tiny(color=color(), prefix=fresh()), client_id=mine.client_id)
        assert len(mine.until_end(prompt_id)) > 10
        assert other.rest() == []


def test_without_client_only_progress_is_told_to_everybody(comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(slow(steps=2, seconds=0.01, color=color()))
        comfyui.entry(prompt_id)
        listener.rest()
    heard = set(types(listener.messages))
    assert heard == {"status", "progress_state", "progress"}


def test_an_interruption_is_told_to_everybody_when_there_is_no_client(comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(sleeping(60, color()))
        comfyui.wait_running(prompt_id)
        told = threading.Event()
        # a prompt is listed as running just before the server clears an interrupt that came early: so it is said again
        repeating = threading.Thread(target=_interrupt_until, args=(comfyui, told))
        repeating.start()
        try:
            assert listener.until_type("execution_interrupted")["data"]["prompt_id"] == prompt_id
        finally:
            told.set()
            repeating.join()


def _interrupt_until(comfyui: ComfyUI, told: threading.Event) -> None:
    while not told.is_set():
        comfyui.post("/interrupt", json={})
        told.wait(0.5)


def test_after_a_reconnect_the_running_node_is_told_without_prompt_id(comfyui: ComfyUI) -> None:
    name = fresh()
    with comfyui.listen(name) as first:
        prompt_id = comfyui.submit(sleeping(60, color()), client_id=name)
        first.until(lambda message: message["data"].get("node") == "2")
    with comfyui.listen(name) as second:
        told = second.until_type("executing")
        assert told == {"type": "executing", "data": {"node": "2"}}
        comfyui.post("/interrupt", json={"prompt_id": prompt_id})
        second.until_end(prompt_id)


def test_a_second_socket_with_the_same_client_id_takes_over(comfyui: ComfyUI) -> None:
    name = fresh()
    with comfyui.listen(name) as first, comfyui.listen(name) as second:
        prompt_id = comfyui.submit(tiny(color=color(), prefix=fresh()), client_id=name)
        assert second.until_end(prompt_id)
        assert first.rest() == []


def test_when_the_first_of_two_such_sockets_ends_the_second_hears_nothing_more(comfyui: ComfyUI) -> None:
    name = fresh()
    with comfyui.listen(name) as first, comfyui.listen(name) as second:
        first.socket.close()
        prompt_id = comfyui.submit(tiny(color=color(), prefix=fresh()), client_id=name)
        comfyui.entry(prompt_id)
        assert second.rest() == []


def test_success_is_told_before_the_history_has_it(comfyui: ComfyUI) -> None:
    """The trap for those who read the history at once: it may be empty, but after the end it never is."""
    for _ in range(5):
        with comfyui.listen() as listener:
            prompt_id = comfyui.submit(tiny(color=color(), prefix=fresh()), client_id=listener.client_id)
            listener.until_type("execution_success")
            early: dict[str, Any] = comfyui.get(f"/history/{prompt_id}").json()
            assert early == {} or prompt_id in early
            listener.until_end(prompt_id)
            assert prompt_id in comfyui.get(f"/history/{prompt_id}").json()
