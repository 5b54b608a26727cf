"""The history: rebuilt from what the gateway keeps, and hidden only from those who ask for that."""

from __future__ import annotations

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.comfyui.conftest import Native
from tests.acceptance.conftest import Tenant
from tests.graphs import empty, node, speaking, tiny
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1
from tests.support.waiting import eventually

pytestmark = pytest.mark.seed("S5-10", "S5-11", "S5-56")


def test_pages_of_the_history_are_those_of_comfyui(comfyui: Native) -> None:
    ids = [comfyui.queue(tiny(color=color)) for color in range(5)]
    for prompt_id in ids:
        comfyui.entry(prompt_id)
    assert list(comfyui.get("/history")) == ids
    assert list(comfyui.get("/api/history", max_items=2)) == ids[3:]
    assert list(comfyui.get("/history", max_items=2, offset=1)) == ids[1:3]
    assert list(comfyui.get("/history", offset=3)) == ids[3:]
    assert list(comfyui.get("/history", max_items=2, offset=-1)) == ids[3:]
    assert comfyui.get("/history", max_items=0) == {}
    assert "is not a whole number of at least 0" in comfyui.raw("GET", "/history?max_items=many").text
    assert comfyui.raw("GET", "/history?offset=x").text.endswith("is not a whole number")
    assert comfyui.get("/history/nobody") == {}


def test_what_is_hidden_here_stays_everywhere_else(comfyui: Native, other: Native) -> None:
    hidden, kept = (comfyui.queue(tiny(color=color)) for color in (1, 2))
    entries = {prompt_id: comfyui.entry(prompt_id) for prompt_id in (hidden, kept)}
    other.post("/history", {"clear": True, "delete": [hidden]})
    assert set(comfyui.get("/history")) == {hidden, kept}
    comfyui.post("/history", {"delete": [hidden, "nobody"]})
    assert list(comfyui.get("/history")) == [kept]
    assert comfyui.get(f"/history/{hidden}") == {}
    comfyui.post("/api/history", {"clear": True})
    assert comfyui.get("/history") == {}
    assert comfyui.tenant.status(hidden)["state"] == "succeeded"
    assert comfyui.view(entries[hidden]["outputs"]["3"]["images"][0]).status_code == 200
    later = comfyui.queue(tiny(color=3))
    comfyui.entry(later)
    assert list(comfyui.get("/history")) == [later]


def test_the_history_outlives_a_restart_of_the_server(lone: tuple[Native, Sandbox]) -> None:
    comfyui, sandbox = lone
    before = comfyui.run(tiny(), prompt_id="kept")
    sandbox.restart()
    assert comfyui.get("/history/kept") == {"kept": before}


def test_outputs_of_every_kind_are_told_under_their_own_words(comfyui: Native) -> None:
    graph = {
        **speaking("a word"),
        "2": empty(1, batch_size=3),
        "3": node(
            "SaveAnimatedWEBP",
            images=["2", 0],
            filename_prefix="moving",
            fps=6.0,
            lossless=True,
            quality=80,
            method="default",
        ),
        "4": node("PreviewImage", images=["2", 0]),
    }
    outputs = comfyui.run(graph)["outputs"]
    assert outputs["1"] == {"text": ["a word"]}
    assert outputs["3"]["animated"] == [True]
    assert outputs["3"]["images"][0]["filename"].endswith(".webp")
    assert [image["type"] for image in outputs["4"]["images"]] == ["temp"] * 3
    for image in [*outputs["3"]["images"], *outputs["4"]["images"]]:
        assert comfyui.view(image).status_code == 200


def test_jobs_that_came_in_other_words_are_in_the_same_history(comfyui: Native) -> None:
    graph = tiny(prefix="stored")
    workflow = comfyui.tenant.workflow(graph, [{"id": "1", "type": "number", "name": "width"}])
    job = comfyui.tenant.submit({"workflow_id": workflow["id"], "inputs": [{"id": "1", "params": {"width": 32}}]})
    entry = comfyui.entry(job)
    assert entry["prompt"][2]["1"]["inputs"]["width"] == 32
    [image] = entry["outputs"]["3"]["images"]
    assert comfyui.view(image).status_code == 200
    eventually(lambda: job in comfyui.get("/history"))


def test_a_key_for_some_workflows_is_shown_no_graph_of_the_others(
    comfyui: Native, shop: Tenant, gateway: GatewayProcess
) -> None:
    for name in ("open", "hidden"):
        shop.workflow(tiny(), name=name)
    seen, unseen = (shop.submit({"workflow_id": name}) for name in ("open", "hidden"))
    for job in (seen, unseen):
        comfyui.entry(job)
    key = gateway.key(shop.name, workflows=("open",))
    narrow = V1(shop.url, key)
    told = narrow.raw("GET", "/history").json()
    assert told[seen]["prompt"][2] == tiny()
    assert told[unseen]["prompt"][2] == narrow.raw("GET", f"/history/{unseen}").json()[unseen]["prompt"][2] == {}
    assert comfyui.get(f"/history/{unseen}")[unseen]["prompt"][2] == tiny()
    narrow.close()
