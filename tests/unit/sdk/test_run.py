"""`ComfyOne.run`: one exchange with a gateway, and one job whatever happens to it."""

from __future__ import annotations

import pytest
import requests
import requests_mock
from urllib3.exceptions import NewConnectionError

from comfyone import ComfyOne, ConnectionError, JobFailedError, JobTimeoutError

GATEWAY = "http://127.0.0.1:9"
PROMPTS = f"{GATEWAY}/v1/prompts"


def answer(**status: object) -> dict[str, object]:
    return {"code": 0, "msg": "success", "data": {"id": "j1", "taskId": "j1", "outputs": [], **status}}


def test_a_job_that_ends_in_time_costs_one_call() -> None:
    with requests_mock.Mocker() as wire, ComfyOne("key", domain=GATEWAY) as client:
        wire.post(PROMPTS, json=answer(status="finished", state="succeeded", message="success"))
        assert list(client.run("w", seed=1)) == []
        (call,) = wire.request_history
        assert call.qs == {"wait": ["30"]}
        assert call.json()["inputs"] == {"seed": 1}


def test_a_lost_connection_is_made_anew_with_the_same_key() -> None:
    with requests_mock.Mocker() as wire, ComfyOne("key", domain=GATEWAY, max_retries=1) as client:
        done = answer(status="finished", state="succeeded", message="success")
        wire.post(PROMPTS, [{"exc": requests.exceptions.ReadTimeout}, {"status_code": 502}, {"json": done}])
        client.run("w")
        keys = {call.headers["Idempotency-Key"] for call in wire.request_history}
        assert (len(wire.request_history), len(keys)) == (3, 1)


def test_a_server_that_is_away_for_longer_than_a_call_is_tried_is_waited_for() -> None:
    with requests_mock.Mocker() as wire, ComfyOne("key", domain=GATEWAY, max_retries=1) as client:
        refused = requests.exceptions.ConnectionError(NewConnectionError(None, "refused"))  # type: ignore[arg-type]
        lost = requests.exceptions.ConnectionError("reset")
        done = answer(status="finished", state="succeeded", message="success")
        wire.post(PROMPTS, [{"exc": lost}, {"exc": refused}, {"exc": refused}, {"json": done}])
        client.run("w")
        assert len({call.headers["Idempotency-Key"] for call in wire.request_history}) == 1


def test_a_job_that_takes_longer_is_waited_for_by_its_id() -> None:
    with requests_mock.Mocker() as wire, ComfyOne("key", domain=GATEWAY) as client:
        wire.post(PROMPTS, json=answer(status="running", state="running"))
        error = {"type": "node_error", "message": "no", "node_id": "3"}
        wire.get(f"{PROMPTS}/j1/status", json=answer(status="failed", state="failed", message="no", error=error))
        with pytest.raises(JobFailedError, match="no") as caught:
            client.run("w")
        assert caught.value.job_id == "j1"


def test_a_timeout_names_the_job_and_the_time_that_was_given() -> None:
    with requests_mock.Mocker() as wire, ComfyOne("key", domain=GATEWAY) as client:
        wire.post(PROMPTS, json=answer(status="running", state="running"))
        wire.get(f"{PROMPTS}/j1/status", json=answer(status="running", state="running"))
        with pytest.raises(JobTimeoutError, match=r"within 0\.001 s") as caught:
            client.run("w", timeout=0.001)
        assert caught.value.job_id == "j1"


def test_a_server_that_was_never_there_is_told_at_once() -> None:
    with ComfyOne("key", domain=GATEWAY, max_retries=1) as client, pytest.raises(ConnectionError, match="refused"):
        client.run("w")
