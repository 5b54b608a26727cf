"""What a tenant's backends have, told as one server would tell it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.comfyui.conftest import Native, picture, ready
from tests.acceptance.conftest import Tenant
from tests.graphs import node, save, tiny
from tests.support.gateway import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.seed("S5-6", "S5-7", "S5-8", "S5-15", "S5-16", "S5-17", "S5-47")


PRIVATE = ("configs", "custom_nodes")


@pytest.fixture(scope="module")
def unlike() -> Iterator[tuple[Sandbox, Sandbox]]:
    """Two servers that differ in what they have."""
    with (
        Sandbox(lacking=["ImageBlur"], checkpoints=["both.safetensors", "sd\\one.safetensors"]) as one,
        Sandbox(lacking=["ImageInvert"], checkpoints=["both.safetensors", "two.safetensors"]) as two,
    ):
        yield one, two


@pytest.fixture
def union(gateway: GatewayProcess, unlike: tuple[Sandbox, Sandbox]) -> Iterator[Native]:
    tenant = Tenant(gateway)
    for sandbox in unlike:
        tenant.register(sandbox.url)
    native = ready(tenant)
    eventually(lambda: {"ImageBlur", "ImageInvert"} <= native.get("/object_info").keys())
    yield native
    tenant.close()


def choices(native: Native) -> list[str]:
    info = native.get("/object_info/CheckpointLoaderSimple")["CheckpointLoaderSimple"]
    return list(info["input"]["required"]["ckpt_name"][0])


def test_node_classes_of_all_backends_are_there_and_their_choices_together(union: Native) -> None:
    assert choices(union) == ["both.safetensors", "sd\\one.safetensors", "two.safetensors"]
    assert union.get("/models/checkpoints") == choices(union)
    everything = union.get("/api/object_info")
    assert everything["ImageBlur"]["output"] == ["IMAGE"]
    assert union.get("/object_info/ImageBlur") == {"ImageBlur": everything["ImageBlur"]}
    assert union.get("/object_info/Nobody") == {}


def test_a_graph_runs_on_the_backend_that_has_what_it_needs(union: Native) -> None:
    assert union.run(tiny())["status"]["status_str"] == "success"
    blurred = {"1": tiny()["1"], "2": node("ImageBlur", image=["1", 0], blur_radius=1, sigma=1.0), "3": save("2")}
    assert union.run(blurred)["status"]["status_str"] == "success"


def test_the_list_of_an_upload_holds_ones_own_files_alone(comfyui: Native, other: Native) -> None:
    comfyui.upload("b.png", picture())
    comfyui.upload("a.jpg", picture())
    comfyui.upload("notes.txt", b"text")
    comfyui.upload("deep.png", picture(), subfolder="sub")
    other.upload("theirs.png", picture())
    for path in ("/object_info", "/object_info/LoadImage", "/api/object_info"):
        assert comfyui.get(path)["LoadImage"]["input"]["required"]["image"] == [
            ["a.jpg", "b.png"],
            {"image_upload": True},
        ]
        assert other.get(path)["LoadImage"]["input"]["required"]["image"][0] == ["theirs.png"]


def test_models_and_embeddings_are_listed(comfyui: Native) -> None:
    folders = comfyui.get("/models")
    assert "checkpoints" in folders
    assert comfyui.get("/models/checkpoints")
    assert comfyui.get("/models/loras") == []
    assert comfyui.get("/embeddings") == []
    for folder in ("nobody", "a%2fb", "..%2fprompt", "..%5cprompt"):
        assert comfyui.raw("GET", f"/models/{folder}").status_code == 404
    assert comfyui.raw("GET", "/view_metadata/checkpoints?filename=a.safetensors").status_code == 404
    with Wire(comfyui.url, comfyui.key) as wire:  # which leaves a path as it is
        wire.head("GET", "/models/..")
        assert wire.answer()[0] == 404


def test_folders_of_models_tell_nothing_of_the_hosts(comfyui: Native) -> None:
    told = comfyui.get("/experiment/models")
    assert {"name": "checkpoints", "folders": ["checkpoints"]} in told
    assert not [each for each in told if each["name"] in PRIVATE]


@pytest.mark.parametrize("folder", PRIVATE)
def test_folders_without_models_are_the_hosts_own(comfyui: Native, folder: str) -> None:
    assert folder not in comfyui.get("/models")
    for path in (
        f"/models/{folder}",
        f"/experiment/models/{folder}",
        f"/view_metadata/{folder}?filename=a.safetensors",
    ):
        assert comfyui.raw("GET", path).status_code == 404


def test_the_devices_of_all_backends_are_told_and_nothing_of_the_hosts(union: Native) -> None:
    stats = union.get("/system_stats")
    assert [device["index"] for device in stats["devices"]] == [0, 1]
    assert all(device["vram_total"] for device in stats["devices"])
    assert stats["system"]["comfyui_version"] == "0.3.75"
    assert stats["system"]["argv"] == []


def test_a_tenant_without_backends_has_nothing(acme: Tenant) -> None:
    native = Native(acme)
    assert native.get("/object_info") == {}
    assert native.get("/models") == []
    assert native.get("/system_stats")["devices"] == []


def test_a_tenants_silent_backend_takes_nobody_elses_turn(lone: tuple[Native, Sandbox], other: Native) -> None:
    silent, sandbox = lone
    sandbox.set(slow_requests={"/view_metadata": 3})
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(silent.raw, "GET", f"/view_metadata/loras?filename={number}") for number in range(40)]
        time.sleep(0.5)
        began = time.monotonic()
        assert len(other.get("/system_stats")["devices"]) == 1
        assert time.monotonic() - began < 2
        sandbox.set(slow_requests={})
    assert {each.result().status_code for each in asked} == {404}


def test_a_backend_that_is_silent_delays_nobody_for_long(union: Native, unlike: tuple[Sandbox, Sandbox]) -> None:
    one, _ = unlike
    one.set(fail_requests={"/models/loras": 1})
    assert union.get("/models/loras") == []
