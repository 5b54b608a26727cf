"""The blocking client, row by row of what its seeds promise."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyone.comfyui import ComfyUIClient, FileRef, SystemStats
from comfyone.comfyui.events import Event, ExecutionSuccess, Preview
from comfyone.emulator import Sandbox
from comfyone.errors import (
    ComfyExecutionError,
    ComfyUIError,
    InvalidArgumentError,
    PromptRejectedError,
    PromptTimeoutError,
    ValidationError,
)
from tests.conformance.client import png
from tests.graphs import failing, invert_upload, node, save, sleeping, slow, speaking, text_to_image, tiny
from tests.support.waiting import eventually
from tests.unit.comfyui.conftest import FAST, QUICK
from tests.unit.comfyui.front import Front


@pytest.mark.seed("S2-20", "S5-30")
def test_without_arguments_it_is_the_server_at_home() -> None:
    with ComfyUIClient() as client:
        assert (client.base_url, client.ws_url) == ("http://127.0.0.1:8188", "ws://127.0.0.1:8188/ws")
        assert (client.host, client.port, client.protocol, client.timeout) == ("127.0.0.1", 8188, "http", 300)


@pytest.mark.seed("S2-19", "S2-107")
def test_https_gives_a_secure_socket() -> None:
    with ComfyUIClient("gpu.example", 443, "https", timeout=60) as client:
        assert client.base_url == "https://gpu.example:443"
        assert client.ws_url == "wss://gpu.example:443/ws"


def test_a_path_prefix_is_kept_by_requests_and_socket(sandbox: Sandbox) -> None:
    with Front(sandbox.url, "/gpu/1") as front, ComfyUIClient(url=front.url) as client:
        assert client.ws_url == front.url.replace("http", "ws") + "/ws"
        assert client.execute_workflow(tiny(), timeout=20).images[0].size == (64, 64)
        assert client.ws_running


def test_headers_and_authentication_go_with_requests_and_socket_and_show_nowhere(sandbox: Sandbox) -> None:
    wants = {"Authorization": "Basic bWU6c2VjcmV0LXdvcmQ=", "X-Tenant": "acme-corp"}
    with Front(sandbox.url, wants=wants) as front:
        with ComfyUIClient(url=front.url, auth=("me", "secret-word"), headers={"X-Tenant": "acme-corp"}) as client:
            client.connect_websocket()
            assert client.get_system_stats().system.comfyui_version
            assert "secret-word" not in repr(client) + repr(vars(client))
        with ComfyUIClient(url=front.url) as stranger:
            with pytest.raises(ComfyUIError, match="other credentials") as caught:
                stranger.get_queue()
            assert caught.value.status == 401
            with pytest.raises(ConnectionError):
                stranger.connect_websocket(auto_reconnect=False)


def test_a_token_is_sent_as_a_bearers(sandbox: Sandbox) -> None:
    wants = {"Authorization": "Bearer t0ken-t0ken"}
    with Front(sandbox.url, wants=wants) as front, ComfyUIClient(url=front.url, auth="t0ken-t0ken") as client:
        assert client.get_queue().pending == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 70000},
        {"protocol": "ftp"},
        {"host": "http://x"},
        {"tracker": "pigeon"},
        {"reconnect_attempts": -1},
        {"timeout": 0},
        {"headers": {"X": "a\nb"}},
    ],
)
def test_arguments_that_cannot_be_right_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ComfyUIClient(**wrong)


@pytest.mark.seed("S2-21", "S5-9")
def test_a_prompt_is_queued(client: ComfyUIClient) -> None:
    told = client.queue_prompt(tiny())
    assert set(told) == {"prompt_id", "number", "node_errors"}
    assert told["node_errors"] == {}


@pytest.mark.seed("S5-52", "S5-53", "S5-58")
def test_a_prompt_may_have_an_id_a_place_and_further_data_of_the_callers(
    client: ComfyUIClient, sandbox: Sandbox
) -> None:
    first = client.submit(sleeping(30))
    eventually(lambda: client.get_queue().running)
    client.queue_prompt(tiny(), prompt_id="later")
    client.queue_prompt(tiny(color=1), prompt_id="sooner", front=True, extra_data={"api_key_comfy_org": "k", "note": 1})
    client.queue_prompt(tiny(color=2), prompt_id="middle", number=-0.5, partial_execution_targets=["3"])
    assert [entry.prompt_id for entry in client.get_queue().pending] == ["sooner", "middle", "later"]
    sooner = client.get_queue().pending[0]
    assert sooner.extra_data["note"] == 1
    assert "api_key_comfy_org" not in sooner.extra_data
    assert sooner.outputs_to_execute == ("3",)
    assert first.cancel()


@pytest.mark.seed("S2-21", "S5-50", "S2-9")
def test_a_graph_that_cannot_run_is_refused_with_what_is_wrong_per_input(client: ComfyUIClient) -> None:
    graph = {"1": node("EmptyImage", width="wide", height=64, batch_size=1, color=0), "2": save("1")}
    with pytest.raises(PromptRejectedError) as caught:
        client.queue_prompt(graph)
    error = caught.value
    assert isinstance(error, ConnectionError)
    assert (error.status, error.error) == (400, "prompt_outputs_failed_validation")
    [problem] = error.problems
    assert (problem.node_id, problem.class_type, problem.input_name) == ("1", "EmptyImage", "width")
    assert problem.kind == "invalid_input_type"
    assert "wide" in problem.details
    assert error.node_errors["1"]["class_type"] == "EmptyImage"
    assert "width" in str(error)


def test_a_class_that_the_server_does_not_have_is_named(client: ComfyUIClient) -> None:
    with pytest.raises(PromptRejectedError, match="Nonsense") as caught:
        client.queue_prompt({"7": node("Nonsense"), "8": save("7")})
    assert caught.value.error == "invalid_prompt"
    assert [problem.node_id for problem in caught.value.problems] == ["7"]


@pytest.mark.parametrize("graph", [{}, None, [], "graph"])
def test_what_is_no_graph_is_refused_before_it_is_sent(client: ComfyUIClient, graph: Any) -> None:
    with pytest.raises(ValidationError, match="no graph"):
        client.queue_prompt(graph)


def test_a_file_of_the_editor_is_recognised(client: ComfyUIClient) -> None:
    with pytest.raises(ValidationError, match="UI format") as caught:
        client.submit({"nodes": [], "links": [], "version": 0.4})
    assert "convert" in str(caught.value)


@pytest.mark.seed("S5-51")
def test_outputs_that_the_server_leaves_out_are_told(client: ComfyUIClient) -> None:
    graph = {**tiny(), "8": node("LoadImage", image="missing.png"), "9": save("8")}
    execution = client.execute_workflow(graph, timeout=20)
    assert len(execution.images) == 1
    assert [problem.node_id for problem in execution.problems] == ["8"]
    assert "missing.png" in str(execution.problems[0])


@pytest.mark.seed("S2-22", "S5-12", "S5-55")
def test_the_queue_says_who_runs_and_who_waits(client: ComfyUIClient) -> None:
    running, waiting = client.submit(sleeping(30)), client.queue_prompt(tiny())["prompt_id"]
    eventually(lambda: client.get_queue().running)
    queue = client.get_queue()
    assert [entry.prompt_id for entry in queue.running] == [running.prompt_id]
    assert [entry[1] for entry in queue["queue_pending"]] == [waiting]
    assert client.get_prompt()["exec_info"]["queue_remaining"] == 2
    assert client.cancel_prompts([running.prompt_id, waiting]) == {}
    assert client.get_queue().ids() == {running.prompt_id}
    assert running.cancel()


@pytest.mark.seed("S2-26", "S5-13")
def test_clearing_the_queue_gives_an_empty_answer_and_cancels_what_waited(client: ComfyUIClient) -> None:
    running, waiting = client.submit(sleeping(30)), client.submit(tiny())
    eventually(lambda: client.get_queue().running)
    assert client.clear_queue() == {}
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result(5)
    assert not running.done()
    assert running.cancel()


@pytest.mark.seed("S2-23", "S5-10", "S5-11", "S5-56")
def test_the_history_has_entries_by_id(client: ComfyUIClient) -> None:
    ids = [client.execute_workflow(tiny(color=color), timeout=20).prompt_id for color in range(3)]
    assert list(client.get_history()) == ids
    assert list(client.get_history(ids[1])) == [ids[1]]
    assert list(client.get_history(max_items=1)) == [ids[2]]
    assert list(client.get_history(max_items=1, offset=0)) == [ids[0]]
    assert client.get_history("unknown") == {}
    assert client.remove_from_history([ids[0]]) == {}
    assert list(client.get_history()) == ids[1:]
    assert client.clear_history() == {}
    assert client.get_history() == {}


@pytest.mark.seed("S2-25", "S5-14", "S5-54")
def test_an_interruption_gives_an_empty_answer_and_hits_its_target_only(client: ComfyUIClient) -> None:
    future = client.submit(sleeping(30))
    eventually(lambda: client.get_queue().running)
    assert client.interrupt_execution("another") == {}
    time.sleep(0.1)
    assert not future.done()
    assert client.interrupt_execution() == {}
    with pytest.raises(ComfyExecutionError) as caught:
        future.result(10)
    assert caught.value.interrupted
    assert (caught.value.node_id, caught.value.node_type) == ("2", "TestSleep")


@pytest.mark.seed("S2-24", "S5-6", "S5-47")
def test_system_stats_are_the_servers_document_with_names(client: ComfyUIClient) -> None:
    stats = client.get_system_stats()
    assert stats["system"]["comfyui_version"] == stats.system.comfyui_version == "0.3.75"
    assert stats.system.ram_free > 0
    assert stats.devices[0].vram_free == stats["devices"][0]["vram_free"] > 0


def test_system_stats_of_an_older_server_may_lack_anything() -> None:
    stats = SystemStats({"system": {"os": "nt"}, "devices": [{"name": "gpu"}]})
    assert (stats.system.os, stats.system.ram_total, stats.system.comfyui_version) == ("nt", 0, "")
    assert (stats.devices[0].name, stats.devices[0].index, stats.devices[0].torch_vram_free) == ("gpu", None, 0)
    assert SystemStats({}).devices == []


@pytest.mark.seed("S2-27", "S2-8", "S5-18", "S5-61")
def test_an_upload_is_found_under_the_name_that_the_answer_gives(client: ComfyUIClient, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(path)
    assert client.upload_image(path) == {"name": "red.png", "subfolder": "", "type": "input"}
    assert client.upload_image(str(path)).name == "red.png"  # equal bytes
    other = client.upload_image(png(Image.new("RGB", (8, 8), "blue")), name="red.png")
    assert other.name == "red (1).png"
    deep = client.upload_image(Image.new("RGB", (8, 8), "green"), "some/where", name="green.png")
    assert deep.value == "some/where/green.png"
    over = client.upload_image(png(Image.new("RGB", (8, 8), "lime")), overwrite=True, name="red.png")
    assert over.name == "red.png"
    [picture] = client.execute_workflow(invert_upload(deep.value), timeout=20).images
    assert picture.getpixel((0, 0)) == (255, 127, 255)


@pytest.mark.seed("S2-27")
def test_a_missing_picture_is_a_missing_file(client: ComfyUIClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload_image(tmp_path / "nowhere.png")


def test_any_file_can_be_uploaded_to_any_folder(client: ComfyUIClient) -> None:
    told = client.upload_file(b"words", folder_type="temp", name="words.txt")
    assert told.value == "words.txt [temp]"
    assert client.get_image("words.txt", folder_type="temp") == b"words"
    with pytest.raises(ValidationError, match="type"):
        client.upload_file(b"words", folder_type="attic", name="words.txt")


def test_a_mask_becomes_the_transparency_of_its_original(client: ComfyUIClient) -> None:
    original = client.upload_image(Image.new("RGB", (4, 4), "red"), name="original.png")
    mask = Image.new("RGBA", (4, 4), (0, 0, 0, 77))
    told = client.upload_mask(mask, original, name="masked.png")
    merged = Image.open(io.BytesIO(client.get_image(told.name, folder_type="input")))
    assert merged.getpixel((0, 0)) == (255, 0, 0, 77)


@pytest.mark.seed("S2-28", "S5-19", "S5-60")
def test_a_picture_comes_as_bytes_whole_smaller_or_by_channel(client: ComfyUIClient) -> None:
    [output] = client.execute_workflow(tiny(color=0x336699), timeout=20).outputs
    assert output.file is not None
    whole = client.get_image(output.file.filename, output.file.subfolder, folder_type=output.file.type)
    assert whole.startswith(b"\x89PNG")
    assert client.get_image(output.file.filename, preview="webp;50")[8:12] == b"WEBP"
    assert client.get_image(output.file.filename, channel="a") != whole
    with pytest.raises(ComfyUIError) as caught:
        client.get_image("nowhere.png")
    assert caught.value.status == 404


def test_a_file_is_written_whole_to_a_path_or_into_a_folder(client: ComfyUIClient, tmp_path: Path) -> None:
    told = client.upload_file(b"x" * 300_000, name="large.bin")
    assert client.download({**told, "filename": told.name}, tmp_path / "here.bin") == tmp_path / "here.bin"
    assert client.download(FileRef("large.bin", "", "input"), tmp_path) == tmp_path / "large.bin"
    assert client.download(FileRef("large.bin", "", "input"), tmp_path) == tmp_path / "large (1).bin"
    assert (tmp_path / "large (1).bin").read_bytes() == b"x" * 300_000
    with pytest.raises(ComfyUIError):
        client.download("nowhere.png", tmp_path / "nothing.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.bin", "large (1).bin", "large.bin"]


@pytest.mark.seed(
    "S2-29", "S2-31", "S2-33", "S2-34", "S2-35", "S2-36", "S2-37", "S5-21", "S5-23", "S5-24", "S5-25", "S5-26"
)
def test_callbacks_get_whole_messages_of_their_type(client: ComfyUIClient) -> None:
    heard: dict[str, list[dict[str, Any]]] = {}
    for kind in ("progress", "executing", "executed", "execution_start", "execution_cached", "status"):
        client.on(kind, lambda message: heard.setdefault(message["type"], []).append(message))
    client.on("progress", lambda message: heard.setdefault("again", []).append(message))
    client.connect_websocket()
    prompt_id = client.queue_prompt(slow(3, 0.01))["prompt_id"]
    entry = client.wait_for_completion(prompt_id, 20)
    eventually(lambda: heard.get("executed"))
    assert [message["data"]["value"] for message in heard["progress"]] == [1, 2, 3]
    assert heard["progress"] == heard["again"]
    assert {message["data"]["prompt_id"] for message in heard["progress"]} == {prompt_id}
    assert heard["execution_start"][0]["type"] == "execution_start"
    assert heard["executed"][0]["data"]["output"]["images"] == entry["outputs"]["3"]["images"]
    assert heard["execution_cached"][0]["data"]["nodes"] == []
    assert heard["executing"][0]["data"]["node"] == "1"
    eventually(lambda: heard["executing"][-1]["data"]["node"] is None)


@pytest.mark.seed("S2-38", "S5-27", "S5-43")
def test_a_callback_hears_of_an_error_in_a_node(client: ComfyUIClient) -> None:
    heard: list[dict[str, Any]] = []
    client.on("execution_error", heard.append)
    client.connect_websocket()
    client.wait_for_completion(client.queue_prompt(failing("oh no"))["prompt_id"], 20)
    data = eventually(lambda: heard)[0]["data"]  # the history may have told of the end before the socket did
    assert (data["node_id"], data["node_type"], data["exception_type"]) == ("2", "TestFail", "ValueError")
    assert "oh no" in data["exception_message"]
    assert data["traceback"]


def test_an_unknown_event_is_no_error_and_a_callback_that_raises_disturbs_nobody(client: ComfyUIClient) -> None:
    heard: list[Any] = []

    def broken(message: Any) -> None:
        raise RuntimeError("mine")

    client.on("moon_phase", heard.append)
    client.on("executing", broken)
    client.on("executing", heard.append)
    client.execute_workflow(tiny(), timeout=20)
    assert len(heard) >= 3


@pytest.mark.seed("S5-22")
def test_the_first_message_greets_with_the_sid(client: ComfyUIClient) -> None:
    heard: list[dict[str, Any]] = []
    client.on("status", heard.append)
    client.connect_websocket()
    eventually(lambda: heard)
    assert heard[0]["data"]["sid"] == client.client_id
    assert heard[0]["data"]["status"]["exec_info"]["queue_remaining"] == 0


def test_binary_previews_are_pictures_and_say_whose(client: ComfyUIClient) -> None:
    events: list[Event] = []
    previews: list[dict[str, Any]] = []
    client.listen(events.append)
    client.on("preview", previews.append)
    prompt_id = client.execute_workflow(slow(3, 0.01, preview=True), timeout=20).prompt_id
    seen = [event for event in events if isinstance(event, Preview)]
    assert [event.image.size for event in seen] == [(64, 64)] * 3
    assert {(event.prompt_id, event.node) for event in seen} == {(prompt_id, "2")}
    assert [message["data"] for message in previews] == seen
    assert any(isinstance(event, ExecutionSuccess) and event.prompt_id == prompt_id for event in events)


@pytest.mark.seed("S2-30")
def test_after_an_explicit_disconnect_it_stays_disconnected(client: ComfyUIClient, sandbox: Sandbox) -> None:
    client.connect_websocket()
    assert client.ws_running
    client.disconnect_websocket()
    time.sleep(0.4)
    assert not client.ws_running
    eventually(lambda: sandbox.sockets == 0)
    assert client.execute_workflow(tiny(), timeout=20).images  # by asking
    assert sandbox.sockets_opened == 1
    client.connect_websocket()
    assert client.ws_running


@pytest.mark.seed("S2-29")
def test_connecting_twice_is_once(client: ComfyUIClient, sandbox: Sandbox) -> None:
    client.connect_websocket()
    client.connect_websocket()
    assert sandbox.sockets_opened == 1


@pytest.mark.seed("S2-29", "S2-89")
def test_a_socket_that_cannot_be_had_is_a_connection_error_and_nothing_goes_on_trying() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))  # nobody else can have it, and nobody listens
        with ComfyUIClient(port=mute.getsockname()[1], reconnect_delay=0.01) as client:
            with pytest.raises(ConnectionError):
                client.connect_websocket()
            assert not [thread for thread in threading.enumerate() if thread.name == "comfyui-socket"]


@pytest.mark.seed("S2-29", "S2-90")
def test_a_lost_socket_is_made_anew_unless_that_was_not_wanted(client: ComfyUIClient, sandbox: Sandbox) -> None:
    client.connect_websocket()
    sandbox.drop_sockets()
    eventually(lambda: sandbox.sockets_opened == 2 and client.ws_running)
    with ComfyUIClient(url=sandbox.url, reconnect_delay=0.01) as other:
        other.connect_websocket(auto_reconnect=False)
        sandbox.drop_sockets()
        eventually(lambda: not other.ws_running)
        time.sleep(0.2)
        assert not other.ws_running


@pytest.mark.seed("S2-89")
def test_attempts_to_reconnect_come_to_an_end(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=sandbox.url, reconnect_attempts=2, reconnect_delay=0.01, policy=FAST) as client:
        client.connect_websocket()
        sandbox.stop_listening()
        eventually(lambda: not [each for each in threading.enumerate() if each.name == "comfyui-socket"])
        sandbox.listen()
        time.sleep(0.2)
        assert not client.ws_running
        assert client.execute_workflow(tiny(), timeout=20)  # which tries again
        assert client.ws_running


@pytest.mark.seed("S2-39")
def test_leaving_the_block_disconnects_and_ends_every_wait(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=sandbox.url) as client:
        future = client.submit(sleeping(30))
    eventually(lambda: sandbox.sockets == 0)
    assert future.cancelled()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("comfyui-")]


@pytest.mark.seed("S2-32", "S5-32")
def test_waiting_gives_the_entry_with_and_without_a_socket(client: ComfyUIClient) -> None:
    for color in (1, 2):
        if color == 2:
            client.connect_websocket()
        entry = client.wait_for_completion(client.queue_prompt(tiny(color=color))["prompt_id"])
        assert entry["status"]["status_str"] == "success"
        assert entry["outputs"]["3"]["images"]


@pytest.mark.seed("S2-32", "S2-80")
def test_the_entry_of_a_failure_says_so(client: ComfyUIClient) -> None:
    entry = client.wait_for_completion(client.queue_prompt(failing())["prompt_id"])
    assert entry["status"]["status_str"] == "error"


@pytest.mark.seed("S2-32")
@pytest.mark.parametrize("listening", [False, True])
def test_waiting_in_vain_is_a_timeout_and_the_prompt_goes_on(
    client: ComfyUIClient, sandbox: Sandbox, listening: bool
) -> None:
    if listening:
        client.connect_websocket()
    sandbox.set(step_time=0.1)
    prompt_id = client.queue_prompt(text_to_image("an owl", steps=200, width=64, height=64))["prompt_id"]
    assert min(_seconds_in_vain(client, prompt_id) for _ in range(3)) < 0.9  # the machine may pause once or twice
    assert client.get_history(prompt_id) == {}
    sandbox.set(step_time=0)
    assert client.wait_for_completion(prompt_id, timeout=20)["status"]["completed"]


def _seconds_in_vain(client: ComfyUIClient, prompt_id: str) -> float:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=prompt_id) as caught:
        client.wait_for_completion(prompt_id, timeout=0.2)
    taken = time.monotonic() - began
    assert isinstance(caught.value, PromptTimeoutError)
    assert caught.value.prompt_id == prompt_id
    return taken


@pytest.mark.seed("S5-31", "S5-32", "S5-33", "S5-34")
def test_a_workflow_is_loaded_executed_and_its_pictures_saved(client: ComfyUIClient, tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(text_to_image("an owl")))
    result = client.execute_workflow(client.load_workflow(str(path)))
    [image] = client.get_images(result)
    image.save(tmp_path / "owl.png")
    with Image.open(tmp_path / "owl.png") as saved:
        assert saved.size == (256, 256)
    for same in (result.raw, result.prompt_id, client.future_of(result.prompt_id)):
        assert client.get_images(same)[0].tobytes() == image.tobytes()


@pytest.mark.parametrize("text", ['{"1": {"class_type"', "[1]", ""])
def test_a_file_that_holds_no_workflow_is_named(client: ComfyUIClient, tmp_path: Path, text: str) -> None:
    path = tmp_path / "half.json"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match="half") as caught:
        client.load_workflow(path)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(FileNotFoundError):
        client.load_workflow(tmp_path / "none.json")


def test_every_kind_of_output_is_kept(client: ComfyUIClient, tmp_path: Path) -> None:
    graph = {**tiny(), **{"7": speaking("hello")["1"]}}
    execution = client.execute_workflow(graph, timeout=20)
    assert execution.texts == ["hello"]
    assert {(output.node_id, output.kind, output.media) for output in execution.outputs} == {
        ("3", "images", "image"),
        ("7", "text", "text"),
    }
    [path] = execution.save(tmp_path / "new" / "folder")
    with Image.open(path) as picture:
        assert picture.size == (64, 64)
    [text] = [output for output in execution.outputs if output.kind == "text"]
    assert text.read() == b"hello"
    with pytest.raises(ValidationError):
        text.save(tmp_path)


@pytest.mark.seed("S5-7", "S5-8", "S5-15", "S5-16", "S5-17", "S5-20", "S5-49", "S2-1")
def test_what_the_server_knows_is_asked(client: ComfyUIClient) -> None:
    assert "KSampler" in client.get_object_info()
    assert list(client.get_object_info("KSampler")) == ["KSampler"]
    assert client.get_object_info("Nonsense") == {}
    assert "checkpoints" in client.get_models()
    assert client.get_models("checkpoints")
    with pytest.raises(ComfyUIError) as caught:
        client.get_models("nonsense")
    assert caught.value.status == 404
    with pytest.raises(ComfyUIError):
        client.get_metadata("checkpoints", "x.safetensors")
    assert client.get_embeddings() == []
    assert client.get_extensions() == []
    assert client.get_features()["supports_preview_metadata"]
    assert client.free_memory(unload_models=True, free_memory=True) == {}
    assert "ComfyUI" in client.get_index()


def test_it_works_while_a_loop_runs_in_this_thread(client: ComfyUIClient) -> None:
    async def notebook_cell() -> int:
        return len(client.execute_workflow(tiny(), timeout=20).images)

    assert asyncio.run(notebook_cell()) == 1


def test_it_serves_many_threads(client: ComfyUIClient) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda color: client.execute_workflow(tiny(color=color), timeout=60), range(40)))
    for color, execution in enumerate(results):
        assert execution.images[0].getpixel((0, 0)) == (255, 255, 255 - color)


def test_a_prompts_end_costs_one_look_into_the_history_and_nothing_is_polled(sandbox: Sandbox) -> None:
    with Front(sandbox.url) as front, ComfyUIClient(url=front.url) as client:
        client.connect_websocket()
        before = len(front.seen)
        client.execute_workflow(slow(10, 0.1), timeout=20)
        assert [method for method, _ in front.seen[before:]] == ["POST", "GET"]
        assert front.count("GET", "/history/") == 1


def test_asking_takes_one_request_for_all_and_one_for_each_that_ended(sandbox: Sandbox) -> None:
    with Front(sandbox.url) as front, ComfyUIClient(url=front.url, tracker="http", terms=QUICK) as client:
        futures = [client.submit(sleeping(0.05, color)) for color in range(5)]
        for future in futures:
            future.result(20)
        assert front.count("GET", "/history/") == 5
        assert front.count("GET", "/history?") == 0
        assert ("GET", "/history") not in front.seen
        assert 0 < front.count("GET", "/queue") < 40
        assert front.count("GET", "/ws") == 0
