"""The knobs: what each of them does to a client."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
import requests
import websocket

from comfyone.emulator import Sandbox, ScenarioError
from tests.conformance.client import ComfyUI, of_type, types
from tests.graphs import sleeping, slow, text_to_image, tiny

GONE = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def patch(comfyui: ComfyUI, **knobs: Any) -> requests.Response:
    return comfyui.session.patch(f"{comfyui.url}/sandbox/scenario", json=knobs, timeout=10)


def until_gone(socket: websocket.WebSocket) -> list[str | bytes]:
    """Read until the connection is cut, and give what came."""
    got: list[str | bytes] = []
    while True:
        try:
            got.append(socket.recv())
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return got


def test_the_knobs_can_be_read_set_and_reset(comfyui: ComfyUI) -> None:
    before = comfyui.get("/sandbox/scenario").json()
    assert before["step_time"] == 0.0
    changed = patch(comfyui, step_time=0.5, node_error={"KSampler": "no"}).json()
    assert changed == {**before, "step_time": 0.5, "node_error": {"KSampler": "no"}}
    assert comfyui.get("/sandbox/scenario").json() == changed
    comfyui.session.delete(f"{comfyui.url}/sandbox/scenario", timeout=10)
    assert comfyui.get("/sandbox/scenario").json() == before


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"step_tim": 1}, "step_tim"),
        ({"step_time": "fast"}, "step_time"),
        ({"step_time": -1}, "step_time"),
        ({"node_error": ["KSampler"]}, "node_error"),
        ({"fail_status": 200}, "fail_status"),
        ({"hang": "KSampler"}, "hang"),
        ({"lose_answers": 1.5}, "lose_answers"),
    ],
)
def test_a_bad_knob_is_refused_by_name_and_sets_nothing(
    sandbox: Sandbox, comfyui: ComfyUI, knobs: dict[str, Any], named: str
) -> None:
    response = patch(comfyui, silent_sockets=True, **knobs)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "bad_scenario"
    assert named in response.json()["error"]["message"]
    assert sandbox.scenario.silent_sockets is False
    with pytest.raises(ScenarioError, match=named):
        sandbox.set(**knobs)


@pytest.mark.parametrize("body", ["{broken", "[1]", "5", "null"])
def test_a_body_that_is_no_object_is_refused(comfyui: ComfyUI, body: str) -> None:
    response = comfyui.session.patch(f"{comfyui.url}/sandbox/scenario", data=body, timeout=10)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "bad_scenario"


def test_knobs_can_be_set_at_the_start() -> None:
    with Sandbox(step_time=0.25) as sandbox:
        assert sandbox.scenario.step_time == 0.25
    with pytest.raises(ScenarioError, match="stp"):
        Sandbox(stp=1)


def test_a_node_can_be_made_to_fail(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(node_error={"KSampler": "out of memory"})
    messages, entry = comfyui.run(text_to_image("an owl"))
    [told] = of_type(messages, "execution_error")
    assert (told["node_id"], told["node_type"]) == ("3", "KSampler")
    assert (told["exception_type"], told["exception_message"]) == ("RuntimeError", "out of memory\n")
    assert entry["status"]["status_str"] == "error"
    sandbox.set(node_error={})
    assert comfyui.run(text_to_image("an owl"))[1]["status"]["status_str"] == "success"


def test_a_node_can_hang_until_it_is_interrupted(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(hang=["ImageInvert"])
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(tiny(), client_id=listener.client_id)
        listener.until(lambda message: message["data"].get("node") == "2")
        assert listener.rest(0.2) == []
        assert comfyui.queue()[0] == [prompt_id]
        comfyui.post("/interrupt", json={"prompt_id": prompt_id})
        assert of_type(listener.until_end(prompt_id), "execution_interrupted")[0]["node_type"] == "ImageInvert"
    assert sandbox.records.of(prompt_id)[0].outcome == "interrupted"


def test_sockets_can_be_cut_after_some_messages(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(drop_sockets_after=4)
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(tiny(), client_id=listener.client_id)
        assert len(until_gone(listener.socket)) == 3, "the greeting was the first of four"
    assert comfyui.entry(prompt_id)["status"]["status_str"] == "success"


def test_sockets_can_be_cut_now_and_once(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    with comfyui.listen() as first:
        sandbox.drop_sockets()
        assert until_gone(first.socket) == []
    with comfyui.listen() as second:
        comfyui.post("/sandbox/drop_sockets")
        assert until_gone(second.socket) == []
    with comfyui.listen() as third:
        assert third.until_end(comfyui.submit(tiny(), client_id=third.client_id))


def test_sockets_can_be_cut_until_further_notice(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    with comfyui.listen() as listener:
        sandbox.set(drop_sockets_after=0)
        assert until_gone(listener.socket) == []
    socket = websocket.create_connection(f"ws{comfyui.url[4:]}/ws?clientId=x", timeout=10)
    assert until_gone(socket) == []
    socket.close()
    sandbox.set(drop_sockets_after=None)
    with comfyui.listen() as listener:
        assert listener.messages


def test_sockets_can_be_silent(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(silent_sockets=True)
    socket = websocket.create_connection(f"ws{comfyui.url[4:]}/ws?clientId=x", timeout=0.3)
    prompt_id = comfyui.submit(tiny(), client_id="x")
    comfyui.entry(prompt_id)
    with pytest.raises(websocket.WebSocketTimeoutException):
        socket.recv()
    socket.close()


def test_the_end_can_come_long_after_success(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(late_end=0.4)
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(tiny(), client_id=listener.client_id)
        listener.until_type("execution_success")
        assert comfyui.get(f"/history/{prompt_id}").json() == {}
        assert comfyui.queue()[0] == [prompt_id]
        listener.until_end(prompt_id)
        assert prompt_id in comfyui.get(f"/history/{prompt_id}").json()


def test_the_history_can_come_long_after_the_end(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(late_history=0.4)
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(tiny(), client_id=listener.client_id)
        listener.until_end(prompt_id)
        assert comfyui.get(f"/history/{prompt_id}").json() == {}
        assert comfyui.queue() == ([], [])
    assert comfyui.entry(prompt_id)["status"]["status_str"] == "success"


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_some_next_requests_can_fail(sandbox: Sandbox, comfyui: ComfyUI, prefix: str) -> None:
    sandbox.set(fail_requests={"/queue": 2}, fail_status=503)
    assert comfyui.get("/history").status_code == 200
    assert [comfyui.get(f"{prefix}/queue").status_code for _ in range(3)] == [503, 503, 200]


def test_a_failed_request_does_nothing(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(fail_requests={"/prompt": 1})
    assert comfyui.post("/prompt", json={"prompt": tiny()}).status_code == 500
    assert len(sandbox.records) == 0


def test_requests_can_be_slow(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(slow_requests={"/history": 0.3})
    began = time.monotonic()
    comfyui.get("/history/x")
    assert time.monotonic() - began >= 0.3


def test_a_slow_prompt_is_taken_although_its_sender_has_hung_up(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(slow_requests={"/prompt": 0.5})
    mine = str(uuid.uuid4())
    with pytest.raises(requests.exceptions.Timeout):
        requests.post(f"{comfyui.url}/prompt", json={"prompt": tiny(), "prompt_id": mine}, timeout=(5, 0.1))
    assert comfyui.entry(mine)["status"]["status_str"] == "success"


def test_an_answer_can_be_lost_although_the_prompt_was_taken(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(lose_answers=1)
    mine = str(uuid.uuid4())
    with pytest.raises(GONE):
        comfyui.post("/prompt", json={"prompt": tiny(), "prompt_id": mine})
    assert comfyui.entry(mine)["status"]["status_str"] == "success"
    assert len(sandbox.records.of(mine)) == 1
    assert comfyui.submit(tiny())


def test_a_refused_prompt_does_not_use_up_a_lost_answer(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(lose_answers=1)
    comfyui.refuse({})
    assert sandbox.scenario.lose_answers == 1


def test_connections_can_be_reset(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(reset_connections=True)
    with pytest.raises(GONE):
        comfyui.post("/prompt", json={"prompt": tiny()})
    assert len(sandbox.records) == 0
    with pytest.raises((websocket.WebSocketException, ConnectionError)):
        websocket.create_connection(f"ws{comfyui.url[4:]}/ws", timeout=5)
    assert patch(comfyui, reset_connections=False).status_code == 200
    assert comfyui.get("/queue").status_code == 200


def test_connections_can_be_refused_while_work_goes_on(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    prompt_id = comfyui.submit(slow(steps=5, seconds=0.02))
    with comfyui.listen() as listener:
        sandbox.stop_listening()
        assert until_gone(listener.socket) is not None
    with pytest.raises(requests.ConnectionError):
        comfyui.get("/queue")
    sandbox.listen()
    assert comfyui.entry(prompt_id)["status"]["status_str"] == "success"


def test_connections_can_be_refused_for_a_while_over_http(comfyui: ComfyUI) -> None:
    assert comfyui.post("/sandbox/refuse?seconds=0.3").status_code == 202
    refused = False
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            comfyui.get("/queue")
            if refused:
                return
        except GONE:
            refused = True
        time.sleep(0.01)
    raise AssertionError(f"refused: {refused}, and never back")


def test_a_restart_forgets_queue_history_and_cache_but_not_files(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    uploaded = comfyui.upload("kept.png", b"bytes")["name"]
    done = comfyui.submit(tiny())
    saved = comfyui.entry(done)["outputs"]["3"]["images"][0]
    running, waiting = comfyui.submit(sleeping(600)), comfyui.submit(tiny(color=3))
    comfyui.wait_running(running)
    url = sandbox.url
    with comfyui.listen() as listener:
        sandbox.restart()
        until_gone(listener.socket)
    assert sandbox.url == url
    assert comfyui.queue() == ([], [])
    assert comfyui.get("/history").json() == {}
    assert comfyui.get("/view", params={"filename": uploaded, "type": "input"}).content == b"bytes"
    assert comfyui.view(saved).size == (64, 64)
    outcomes = {record.prompt_id: (record.outcome, record.started is not None) for record in sandbox.records}
    assert outcomes == {done: ("success", True), running: ("lost", True), waiting: ("lost", False)}
    messages, _ = comfyui.run(tiny())
    assert of_type(messages, "execution_cached")[0]["nodes"] == []


def test_a_restart_over_http_takes_the_time_that_is_asked_for(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    prompt_id = comfyui.submit(sleeping(600))
    comfyui.wait_running(prompt_id)
    assert comfyui.post("/sandbox/restart?seconds=0.2").json() == {"seconds": 0.2}
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if comfyui.queue() == ([], []):
                return
        except GONE:
            pass
        time.sleep(0.01)
    raise AssertionError("it never came back")


@pytest.mark.parametrize("seconds", ["soon", "nan", "-1", "inf"])
def test_a_restart_wants_a_number(comfyui: ComfyUI, seconds: str) -> None:
    response = comfyui.post("/sandbox/restart", params={"seconds": seconds})
    assert response.status_code == 400
    assert seconds in response.json()["error"]["message"]


def test_object_info_can_be_slow_and_huge(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    normal = comfyui.get("/object_info")
    sandbox.set(object_info_delay=0.2, object_info_padding=3)
    began = time.monotonic()
    padded = comfyui.get("/object_info")
    assert time.monotonic() - began >= 0.2
    assert 3e6 <= len(padded.content) - len(normal.content) <= 3.2e6
    assert normal.json().items() <= padded.json().items()


def test_a_socket_that_does_not_read_is_cut_and_harms_nobody(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    with comfyui.listen() as deaf, comfyui.listen() as listener:
        for _ in range(4):
            comfyui.submit(slow(steps=10_000, seconds=0, color=uuid.uuid4().int & 0xFFFFFF), client_id=deaf.client_id)
        last = comfyui.submit(tiny(), client_id=listener.client_id)
        assert "execution_success" in types(listener.until_end(last))
        assert len(until_gone(deaf.socket)) < 4 * 30_000, "three messages for each step were meant for it"


def test_a_server_can_lack_node_classes(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(lacking=["ImageInvert"])
    assert "ImageInvert" not in comfyui.get("/object_info").json()
    assert comfyui.get("/object_info/ImageInvert").json() == {}
    assert comfyui.refuse(tiny())["error"]["message"] == "Cannot execute because node ImageInvert does not exist."
    sandbox.set(lacking=[])
    assert comfyui.submit(tiny())


def test_a_server_can_have_checkpoints_of_its_own(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(checkpoints=["sd\\one.safetensors"])
    loader = comfyui.get("/object_info/CheckpointLoaderSimple").json()["CheckpointLoaderSimple"]
    assert loader["input"]["required"]["ckpt_name"][0] == ["sd\\one.safetensors"]
    assert comfyui.get("/models/checkpoints").json() == ["sd\\one.safetensors"]
    graph = text_to_image("an owl", width=64, height=64)
    errors = comfyui.refuse(graph)["node_errors"]["4"]["errors"]
    assert [error["type"] for error in errors] == ["value_not_in_list"]
    graph["4"]["inputs"]["ckpt_name"] = "sd\\one.safetensors"
    assert comfyui.run(graph)[1]["status"]["status_str"] == "success"


def test_a_prompt_can_be_taken_long_after_its_answer_was_lost(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(lose_answers=1, late_prompts=0.3)
    mine = str(uuid.uuid4())
    with pytest.raises(GONE):
        comfyui.post("/prompt", json={"prompt": tiny(), "prompt_id": mine})
    assert sandbox.records.of(mine) == []
    assert comfyui.entry(mine)["status"]["status_str"] == "success"


def test_an_interrupt_can_hit_whatever_runs(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    running = comfyui.submit(sleeping(600))
    comfyui.wait_running(running)
    comfyui.post("/interrupt", json={"prompt_id": "another"})
    assert comfyui.queue()[0] == [running]
    sandbox.set(untargeted_interrupts=True)
    comfyui.post("/interrupt", json={"prompt_id": "another"})
    assert comfyui.entry(running)["status"]["status_str"] == "error"
    assert sandbox.records.of(running)[0].outcome == "interrupted"
