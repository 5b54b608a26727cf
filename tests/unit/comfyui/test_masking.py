"""What proves who we are shows in no error, and hiding it spoils none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from comfyone.comfyui import ComfyUIClient
from comfyone.errors import ComfyUIError, PromptRejectedError
from tests.graphs import tiny
from tests.unit.comfyui.conftest import FAST
from tests.unit.sdk.conftest import Reply, Server

REJECTED: dict[str, Any] = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "no true token", "details": "", "extra_info": {}},
    "node_errors": {
        "3": {
            "class_type": "SaveImage",
            "dependent_outputs": ["3"],
            "errors": [
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": "image: 'h\u00fct-t\u00f6k-token'",
                    "extra_info": {"input_name": "image", "required": True, "given": None, "most": 1.5},
                }
            ],
        }
    },
}


@pytest.fixture
def client(server: Server) -> Iterator[ComfyUIClient]:
    headers = {"X-Debug": "true", "X-Null": "null", "X-Word": "error", "X-Token": "t0k-token"}
    with ComfyUIClient(url=server.url, headers=headers, tracker=None, policy=FAST) as client:
        yield client


def test_a_header_whose_value_is_a_word_of_json_spoils_no_rejection(client: ComfyUIClient, server: Server) -> None:
    server.script.append(Reply(REJECTED, 400))
    with pytest.raises(PromptRejectedError) as caught:
        client.queue_prompt(tiny())
    assert caught.value.problems[0].input_name == "image"
    assert caught.value.node_errors["3"]["errors"][0]["extra_info"] == {
        "input_name": "image",
        "required": True,
        "given": None,
        "most": 1.5,
    }
    assert caught.value.reason["message"] == "no *** token"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(REJECTED).replace("no true", "no t0k-token"),
        json.dumps(REJECTED).replace("no true", "no t\\u0030k\\u002dtoken"),
        json.dumps({"error": "t0k-token", "ünsent": "\ud800 t0k-token"}),
        json.dumps(["t0k-token", {"a": {"t0k-token": 1}}]),
        '{"error": "t0k-token", ',
        '["t0k-token", ' + "[" * 100_000,
        "who is t0k-token?",
        "\xff t0k-token",
    ],
    ids=range(8),
)
def test_whatever_a_server_repeats_no_error_shows_it(client: ComfyUIClient, server: Server, body: str) -> None:
    server.script.append(Reply(body.encode("latin-1"), 403))
    with pytest.raises(ComfyUIError) as caught:
        client.get_queue()
    told = f"{caught.value} {caught.value!r} {caught.value.args} {vars(caught.value)}"
    assert "t0k-token" not in told
    assert "***" in told
