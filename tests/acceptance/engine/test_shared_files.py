"""On a backend that all tenants share, a job reads no file but what was placed for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import Graph, invert_upload, node, save, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import png
from tests.support.v1 import V1

SECRET = "private_00001_.png"
"""How a server names the first picture that somebody saves as ``private``."""

PLACED = "comfyone/" + "0" * 32 + ".png"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory, server: Sandbox) -> Iterator[tuple[Lab, Lab]]:
    """Two tenants with nothing but one shared backend, where the first has saved a picture."""
    with GatewayProcess(tmp_path_factory.mktemp("shared") / "state") as gateway:
        with closing(V1(gateway.url, gateway.key("operator", scopes=["admin", "jobs"]))) as operator:
            operator.post("/admin/v1/backends", {"name": "pool", "url": server.url})
        alpha, beta = Lab(gateway, "alpha"), Lab(gateway, "beta")
        eventually(lambda: "SaveImage" in beta.v1.raw("GET", "/object_info").json())
        alpha.submit(tiny(prefix="private")).result(20)
        yield alpha, beta
        for lab in (alpha, beta):
            lab.sdk.close()
            lab.v1.close()


def steal(image: Any) -> Graph:
    return {"1": node("LoadImage", image=image), "2": save("1", "stolen")}


def submissions(graph: Graph) -> list[tuple[str, dict[str, Any]]]:
    """The ways in which each dialect takes a graph."""
    return [
        ("/api/v2/jobs", {"workflow": graph}),
        ("/api/v1/tasks", {"workflow_id": "x", "payload": graph}),
        ("/v1/prompts_workflow", {"workflow": graph, "outputs": ["2"]}),
        ("/prompt", {"prompt": graph}),
    ]


@pytest.mark.parametrize(
    "image",
    [
        f"{SECRET} [output]",
        "example.png",
        "x.png [input]",
        "x.png [temp]",
        PLACED,
        f"../output/{SECRET}",
        {"__value__": f"{SECRET} [output]"},
        ["3", 0],
    ],
)
def test_no_dialect_takes_a_name_of_the_servers_own_files(
    tenants: tuple[Lab, Lab], server: Sandbox, image: Any
) -> None:
    _, beta = tenants
    before = len(list(server.records))
    for path, body in submissions({**steal(image), "3": node("TestText", text=f"{SECRET} [output]")}):
        answer = beta.v1.raw("POST", path, json=body)
        told = answer.json()
        refused = answer.status_code in (400, 422) or told.get("error") == "asset_unknown"
        assert refused, (path, answer.status_code, answer.text)
    assert len(list(server.records)) == before


@pytest.mark.parametrize(
    "loading",
    [
        node("LoadLatent", latent="a.latent"),
        node("LoadImageMask", image=f"{SECRET} [output]", channel="red"),
        node("LoadImageDataSetFromFolder", folder="comfyone"),
        node("LoadTrainingDataset", folder_name="theirs"),
        node("SaveImageDataSetToFolder", images=["1", 0], folder_name="../input/comfyone", filename_prefix="image"),
        node("WebcamCapture", image=f"{SECRET} [output]", width=0, height=0, capture_on_queue=True),
        node(
            "Load3D", model_file=None, image={"image": f"{SECRET} [output]", "mask": "", "normal": "", "recording": ""}
        ),
        node("Preview3D", model_file="", camera_info={"filename": SECRET, "subfolder": "", "type": "output"}),
    ],
    ids=lambda loading: loading["class_type"],
)
def test_no_class_that_works_on_the_servers_folders_gets_round_it(tenants: tuple[Lab, Lab], loading: Any) -> None:
    _, beta = tenants
    body = {"workflow": {**tiny(), "4": loading}, "outputs": ["3"]}
    assert beta.v1.raw("POST", "/v1/prompts_workflow", json=body).json()["error"] == "asset_unknown"


def test_constants_of_a_stored_workflow_are_looked_at_too(tenants: tuple[Lab, Lab]) -> None:
    _, beta = tenants
    stored = {"name": "theft", "inputs": [], "outputs": ["2"], "workflow": steal(f"{SECRET} [output]")}
    beta.v1.post("/v1/workflows", stored)
    answer = beta.v1.raw("POST", "/v1/prompts", json={"workflow_id": "theft", "inputs": []})
    assert answer.json()["error"] == "asset_unknown"


def test_what_was_uploaded_is_loaded_there_as_ever(tenants: tuple[Lab, Lab]) -> None:
    _, beta = tenants
    path = str(beta.api.upload_file(png((10, 20, 30)), name="photo.png").data["Path"])
    assert color_of(beta.submit(invert_upload(path))) == inverted(0x0A141E)


def test_what_came_before_the_server_had_said_anything_fails_unsent(tenants: tuple[Lab, Lab], server: Sandbox) -> None:
    alpha, beta = tenants
    server.stop_listening()
    alpha.gateway.restart()
    graph = steal(f"{SECRET} [output]")
    accepted = beta.v1.raw("POST", "/prompt", json={"prompt": graph})
    assert accepted.status_code == 200, accepted.text
    honest = beta.submit(tiny(color=0x010203))
    before = {record.prompt_id for record in server.records}
    server.listen()
    job = beta.sdk.job(accepted.json()["prompt_id"])
    status = job.wait(40)
    assert status.error is not None
    assert (status.state, status.error["type"]) == ("failed", "input_missing")
    assert honest.wait(40).state == "succeeded"
    assert {record.prompt_id for record in server.records} - before == {beta.prompts(honest)[0][0]}


def test_a_tenant_with_a_backend_of_its_own_uses_the_files_there(tenants: tuple[Lab, Lab]) -> None:
    _, beta = tenants
    with Sandbox() as own:
        (own.files.root / "input" / "mine.png").write_bytes(png((1, 2, 3)))
        own.files.forget()
        beta.api.register_backend("own", url=own.url).raise_for_code()
        eventually(lambda: beta.live("own"))
        jobs = [beta.submit(invert_upload("mine.png", prefix=f"m{number}")) for number in range(6)]
        for job in jobs:
            assert color_of(job) == (254, 253, 252)
        assert {record.prompt_id for record in own.records} == {beta.prompts(job)[0][0] for job in jobs}
        refused = beta.v1.raw(
            "POST",
            "/v1/prompts_workflow",
            json={"workflow": invert_upload("mine.png"), "backend": "pool", "outputs": ["3"]},
        )
        assert refused.json()["error"] == "asset_unknown"
        beta.api.delete_backend("own")
