"""``comfyone backends``, ``workflows`` and ``jobs``: through HTTP, to a running gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyone import ComfyOne
from comfyone.emulator import Sandbox
from tests.graphs import failing, invert_upload, slow, tiny
from tests.support.command import comfyone
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened, png
from tests.unit.cli.conftest import Run


def saved(folder: Path, graph: object, name: str = "graph.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(graph))
    return path


def test_a_backend_is_added_listed_changed_and_removed(run: Run, sandbox: Sandbox) -> None:
    added = run("backends", "add", "gpu-1", "--url", sandbox.url, "--weight", 3, "--label", "gpu=a100", "--json").json
    assert (added["name"], added["url"], added["weight"], added["labels"]) == ("gpu-1", sandbox.url, 3, {"gpu": "a100"})
    assert run("backends", "list", "--json").json == [added]
    table = run("backends", "list").out
    assert {"gpu-1", sandbox.url, "running"} <= set(table.split())
    assert run("backends", "set", "gpu-1", "draining", "--json").json["status"] == "draining"
    assert "draining" in run("backends", "list").out
    assert run("backends", "remove", "gpu-1").out == "removed gpu-1\n"
    assert run("backends", "list", "--json").json == []
    assert run("backends", "list").code == 0


def test_a_backend_that_is_off_is_added_with_down_alone(run: Run) -> None:
    with Sandbox() as gone:
        url = gone.url
    run("backends", "add", "later", "--url", url).fails(1, url, "hint")
    assert run("backends", "add", "later", "--url", url, "--down", "--json").json["state"] == "down"


def test_a_workflow_and_a_job_go_their_whole_way(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    run("backends", "add", sandbox.url)
    photo = tmp_path / "photo.png"
    photo.write_bytes(png())
    graph = saved(tmp_path, invert_upload("any.png"))
    made = run("workflows", "add", "invert", graph, "--input", "1:image:image", "--output", "3", "--json").json
    assert (made["name"], made["version"], made["outputs"]) == ("invert", 1, ["3"])
    done = run("jobs", "submit", "invert", f"image=@{photo}", "--save", tmp_path / "out", "--json").json
    assert done["state"] == "succeeded"
    (path,) = done["saved"]
    assert opened(Path(path).read_bytes()).getpixel((8, 8)) == (55, 155, 205)
    assert [job["id"] for job in run("jobs", "list", "--json").json] == [done["id"]]
    assert run("jobs", "show", done["id"]).json["images"]
    again = run("jobs", "save", done["id"], tmp_path / "again", "--json").json
    assert Path(again[0]).read_bytes() == Path(path).read_bytes()
    assert "succeeded" in run("jobs", "list").out
    run("jobs", "cancel", done["id"]).fails(1, "succeeded", "hint")


def test_values_are_json_where_they_are_json_and_text_elsewhere(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    run("backends", "add", sandbox.url)
    graph = saved(tmp_path, tiny())
    run("workflows", "add", "flat", graph, "--input", "1:color:number", "--input", "3:filename_prefix:string")
    done = run("jobs", "submit", "flat", "color=255", "filename_prefix=a=b owl", "--wait", "--json").json
    assert done["state"] == "succeeded"
    assert done["inputs"] == {"1": {"color": 255}, "3": {"filename_prefix": "a=b owl"}}
    run("jobs", "submit", "flat", "color=red").fails(1, "'color'", "number")
    run("jobs", "submit", "flat", "color").fails(2, "NAME=VALUE")
    run("jobs", "submit", "nothing").fails(1, "nothing")
    run("jobs", "submit", "flat", f"color=@{tmp_path}/absent.png").fails(1, "absent.png")


def test_an_update_is_the_next_version_and_a_removed_workflow_is_gone(run: Run, tmp_path: Path) -> None:
    graph = saved(tmp_path, tiny())
    run("workflows", "add", "flat", graph)
    run("workflows", "add", "flat", graph).fails(1, "flat", "already")
    assert run("workflows", "add", "flat", graph, "--update", "--json").json["version"] == 2
    assert run("workflows", "show", "flat").json["workflow"] == tiny()
    assert "flat" in run("workflows", "list").out
    run("workflows", "remove", "flat")
    run("workflows", "show", "flat").fails(1, "flat")
    assert run("workflows", "list", "--json").json == []


def test_a_file_that_is_no_graph_is_told(run: Run, tmp_path: Path) -> None:
    run("workflows", "add", "w", saved(tmp_path, {"nodes": [], "links": []})).fails(1, "API format")
    run("workflows", "add", "w", saved(tmp_path, [1])).fails(1, "no graph", "API format")
    run("workflows", "add", "w", tmp_path / "absent.json").fails(1, "absent.json")
    (tmp_path / "broken.json").write_text("{broken")
    run("workflows", "add", "w", tmp_path / "broken.json").fails(1, "broken.json", "not JSON")
    graph = saved(tmp_path, tiny())
    run("workflows", "add", "w", graph, "--input", "1:color:colour").fails(2, "NODE:NAME:TYPE", "number")
    run("workflows", "add", "w", graph, "--input", "7:color:number").fails(1, "'7'")


def test_a_running_job_is_cancelled(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    run("backends", "add", sandbox.url)
    run("workflows", "add", "slow", saved(tmp_path, slow(steps=200, seconds=0.05)), "--output", "3")
    job = run("jobs", "submit", "slow", "--json").json["id"]
    assert run("jobs", "cancel", job, "--json").json["cancelling"]


def test_a_job_that_fails_is_told_with_its_reason(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    run("backends", "add", sandbox.url)
    run("workflows", "add", "bad", saved(tmp_path, failing("the glue was dry")), "--output", "3")
    waited = run("jobs", "submit", "bad", "--wait", "--json").json
    assert (waited["state"], waited["error"]["node_id"]) == ("failed", "2")
    run("jobs", "submit", "bad", "--save", tmp_path / "out").fails(1, "the glue was dry")


def test_without_a_backend_a_job_is_refused_with_the_way_out(run: Run, tmp_path: Path) -> None:
    run("workflows", "add", "flat", saved(tmp_path, tiny()))
    run("jobs", "submit", "flat").fails(1, "no backend", "POST /v1/backends")


def test_a_key_is_asked_for_and_never_shown(gateway: GatewayProcess) -> None:
    comfyone("jobs", "list", "--gateway", gateway.url).fails(2, "no API key", "COMFYONE_API_KEY")
    done = comfyone("jobs", "list", "--gateway", gateway.url, "--api-key", "co_secret-and-wrong")
    done.fails(1, "API key", "comfyone keys create")
    assert "secret-and-wrong" not in done.err


def test_a_gateway_that_is_away_is_told(run: Run) -> None:
    with Sandbox() as gone:
        url = gone.url
    done = comfyone("jobs", "list", "--gateway", url, "--api-key", "co_any")
    done.fails(1, "connection refused", "check the domain")


@pytest.mark.parametrize("group", ["tenants", "keys", "backends", "workflows", "jobs"])
def test_a_group_without_a_command_shows_what_it_has(group: str) -> None:
    done = comfyone(group)
    assert "list" in done.out + done.err
    assert "Traceback" not in done.err


def test_a_stored_workflow_is_exported_as_a_schema_and_as_a_function_that_runs(
    sandbox: Sandbox, gateway: GatewayProcess, tmp_path: Path
) -> None:
    key = gateway.key("exporter")
    environment = {"COMFYONE_DOMAIN": gateway.url, "COMFYONE_API_KEY": key}
    graph = saved(tmp_path, tiny(color=0x336699))
    declared = ("--input", "1:color:number", "--output", "3")
    comfyone("backends", "add", "box", "--url", sandbox.url, environment=environment)
    comfyone("workflows", "add", "paint it", graph, *declared, environment=environment)
    schema = comfyone("workflows", "schema", "paint it", environment=environment).json
    assert (schema["title"], schema["properties"]["color"]["default"]) == ("paint it", 0x336699)
    assert "async def paint_it" in comfyone("workflows", "function", "paint it", "--async", environment=environment).out
    made: dict[str, Any] = {}
    exec(comfyone("workflows", "function", "paint it", environment=environment).out, made)
    with ComfyOne(key, domain=gateway.url) as client:
        [picture] = made["paint_it"](client, color=255).images
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 0)
