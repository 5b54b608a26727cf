"""The queue and the history: order, deletion, limits."""

from __future__ import annotations

import uuid

import pytest

from tests.conformance.client import ComfyUI, Message, of_type
from tests.graphs import sleeping, tiny


@pytest.fixture
def busy(comfyui: ComfyUI) -> str:
    """The id of a prompt that runs for as long as the test."""
    return comfyui.start(sleeping(600, uuid.uuid4().int & 0xFFFFFF), node="2")


def test_a_prompt_is_answered_with_its_id_and_number(comfyui: ComfyUI) -> None:
    first, second = (comfyui.post("/prompt", json={"prompt": tiny()}).json() for _ in range(2))
    assert set(first) == {"prompt_id", "number", "node_errors"}
    assert str(uuid.UUID(first["prompt_id"])) == first["prompt_id"]
    assert second["number"] == first["number"] + 1


def test_the_caller_may_choose_the_prompt_id(comfyui: ComfyUI, busy: str) -> None:
    mine = str(uuid.uuid4())
    assert comfyui.submit(tiny(), prompt_id=mine) == mine
    assert comfyui.queue() == ([busy], [mine])


def test_the_same_prompt_id_can_be_queued_twice(comfyui: ComfyUI, busy: str) -> None:
    mine = str(uuid.uuid4())
    comfyui.submit(tiny(), prompt_id=mine)
    comfyui.submit(tiny(), prompt_id=mine)
    assert comfyui.queue() == ([busy], [mine, mine])


def test_a_queued_prompt_is_told_as_five_items(comfyui: ComfyUI, busy: str) -> None:
    graph = tiny()
    prompt_id = comfyui.submit(graph, client_id="me", extra_data={"more": True})
    body = comfyui.get("/queue").json()
    [running], [waiting] = body["queue_running"], body["queue_pending"]
    assert running[1] == busy
    number, told_id, prompt, extra_data, outputs = waiting
    assert isinstance(number, int)
    assert (told_id, prompt, outputs) == (prompt_id, graph, ["3"])
    assert isinstance(extra_data.pop("create_time"), int)
    assert extra_data == {"more": True, "client_id": "me"}
    assert comfyui.get("/prompt").json() == {"exec_info": {"queue_remaining": 2}}


def test_front_goes_before_the_others(comfyui: ComfyUI, busy: str) -> None:
    late = comfyui.submit(tiny(color=1))
    front = comfyui.post("/prompt", json={"prompt": tiny(color=2), "front": True}).json()
    assert front["number"] < 0
    pending = comfyui.get("/queue").json()["queue_pending"]
    assert [item[1] for item in sorted(pending)] == [front["prompt_id"], late]


def test_a_chosen_number_decides_the_order(comfyui: ComfyUI, busy: str) -> None:
    late = comfyui.submit(tiny(color=1))
    chosen = comfyui.post("/prompt", json={"prompt": tiny(color=2), "number": -7.5}).json()
    assert chosen["number"] == -7.5
    comfyui.post("/interrupt", json={})
    ids = [chosen["prompt_id"], late]
    starts = [comfyui.entry(prompt_id)["status"]["messages"][0][1]["timestamp"] for prompt_id in ids]
    assert starts == sorted(starts)
    history = list(comfyui.get("/history").json())
    assert history.index(ids[0]) < history.index(ids[1])


def test_a_waiting_prompt_can_be_deleted(comfyui: ComfyUI, busy: str) -> None:
    first, second = comfyui.submit(tiny(color=1)), comfyui.submit(tiny(color=2))
    response = comfyui.post("/queue", json={"delete": [first, "no-such-prompt"]})
    assert (response.status_code, response.content) == (200, b"")
    assert comfyui.queue() == ([busy], [second])
    assert comfyui.get(f"/history/{first}").json() == {}


def test_a_running_prompt_cannot_be_deleted(comfyui: ComfyUI, busy: str) -> None:
    assert comfyui.post("/queue", json={"delete": [busy]}).status_code == 200
    assert comfyui.queue() == ([busy], [])


def test_clearing_takes_all_that_waits(comfyui: ComfyUI, busy: str) -> None:
    for color in range(3):
        comfyui.submit(tiny(color=color))
    assert comfyui.post("/queue", json={"clear": True}).status_code == 200
    assert comfyui.queue() == ([busy], [])


def test_everybody_is_told_about_the_length_of_the_queue(comfyui: ComfyUI, busy: str) -> None:
    with comfyui.listen() as listener:
        comfyui.submit(tiny())
        listener.until(lambda message: message == _length(2))
        comfyui.post("/queue", json={"clear": True})
        listener.until(lambda message: message == _length(1))


def _length(remaining: int) -> Message:
    """What tells how many prompts run or wait."""
    return {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}}}


def test_an_interrupt_starts_the_next_prompt(comfyui: ComfyUI, busy: str) -> None:
    with comfyui.listen() as listener:
        prompt_id = comfyui.submit(tiny(), client_id=listener.client_id)
        comfyui.post("/interrupt", json={"prompt_id": busy})
        assert of_type(listener.until_end(prompt_id), "execution_success")
    assert comfyui.entry(busy)["status"]["status_str"] == "error"


def test_an_interrupt_of_a_waiting_prompt_does_nothing(comfyui: ComfyUI, busy: str) -> None:
    waiting = comfyui.submit(tiny())
    comfyui.post("/interrupt", json={"prompt_id": waiting})
    assert comfyui.queue() == ([busy], [waiting])


def test_history_can_be_read_in_parts(comfyui: ComfyUI) -> None:
    comfyui.post("/history", json={"clear": True})
    assert comfyui.get("/history").json() == {}
    ids = [comfyui.submit(tiny(color=color)) for color in range(4)]
    comfyui.entry(ids[-1])

    def part(**query: int) -> list[str]:
        return list(comfyui.get("/history", params=query).json())

    assert part() == ids
    assert part(max_items=2) == ids[-2:]
    assert part(max_items=9) == ids
    assert part(offset=1) == ids[1:]
    assert part(offset=1, max_items=2) == ids[1:3]
    assert part(offset=9) == []


def test_history_entries_can_be_deleted(comfyui: ComfyUI) -> None:
    ids = [comfyui.submit(tiny(color=color)) for color in range(2)]
    for prompt_id in ids:
        comfyui.entry(prompt_id)
    response = comfyui.post("/history", json={"delete": [ids[0], "no-such-prompt"]})
    assert (response.status_code, response.content) == (200, b"")
    assert comfyui.get(f"/history/{ids[0]}").json() == {}
    assert list(comfyui.get(f"/history/{ids[1]}").json()) == [ids[1]]


def test_the_same_works_under_api(comfyui: ComfyUI, busy: str) -> None:
    prompt_id = comfyui.post("/api/prompt", json={"prompt": tiny()}).json()["prompt_id"]
    assert [item[1] for item in comfyui.get("/api/queue").json()["queue_pending"]] == [prompt_id]
    comfyui.post("/api/queue", json={"delete": [prompt_id]})
    comfyui.post("/api/interrupt", json={"prompt_id": busy})
    comfyui.entry(busy)
    assert list(comfyui.get(f"/api/history/{busy}").json()) == [busy]
