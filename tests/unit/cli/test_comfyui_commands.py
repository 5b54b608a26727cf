"""``comfyone send|batch|validate|queue…``: straight to one ComfyUI, as a person or a script uses them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.graphs import CHECKPOINT, failing, slow, text_to_image, tiny
from tests.support.command import Done, comfyone, command
from tests.support.gateway import COMMAND, GatewayProcess, clean_environment
from tests.support.pictures import opened

Run = Callable[..., Done]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A server of this test, and an empty folder to be in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Sandbox() as running:
        yield running


@pytest.fixture
def run(box: Sandbox) -> Run:
    """Runs a command against the server."""

    def run(*arguments: Any) -> Done:
        return comfyone(*arguments, environment={"COMFYONE_COMFYUI_URL": box.url})

    return run


def saved(graph: object, name: str = "graph.json") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(graph))
    return path


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can have."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        yield mute.getsockname()[1]


# send


@pytest.mark.seed("S2-7", "S2-13", "S2-18", "S2-93", "S2-94", "S2-95")
def test_send_waits_and_leaves_the_pictures_and_a_description_of_the_run(run: Run, box: Sandbox) -> None:
    done = run("send", saved(tiny(color=0x336699)), "--wait", "--json").json
    assert done["state"] == "succeeded"
    [output] = done["outputs"]
    picture = opened(Path(output["path"]).read_bytes())
    assert picture.convert("RGB").getpixel((5, 5)) == (0xCC, 0x99, 0x66)
    assert Path(output["path"]).parent == Path("outputs")
    described = json.loads(Path("outputs", f"{done['prompt_id']}_metadata.json").read_text())
    assert described["prompt_id"] == done["prompt_id"]
    assert described["workflow"] == tiny(color=0x336699)
    assert [record.outcome for record in box.records.of(done["prompt_id"])] == ["success"]


def test_send_without_waiting_prints_the_id_and_returns_at_once(run: Run, box: Sandbox) -> None:
    done = run("send", saved(slow(steps=1200, seconds=0.05)))
    assert done.code == 0
    [record] = box.records
    assert record.prompt_id in done.out
    assert record.outcome is None


@pytest.mark.seed("S2-14")
def test_updates_are_read_as_json_or_kept_as_text(run: Run, box: Sandbox) -> None:
    file = saved(tiny())
    done = run(
        "send", file, "-u", "1.color=255", "--update", "3.filename_prefix=a beautiful=landscape", "-w", "--json"
    ).json
    assert done["outputs"][0]["filename"].startswith("a beautiful=landscape")
    assert opened(Path(done["outputs"][0]["path"]).read_bytes()).convert("RGB").getpixel((0, 0)) == (255, 255, 0)
    assert json.loads(file.read_text()) == tiny()


@pytest.mark.parametrize("text", ["1=2", "color", "=5", "1.=5", ".color=5"])
def test_an_update_that_is_none_is_refused_before_anything_is_sent(run: Run, box: Sandbox, text: str) -> None:
    run("send", saved(tiny()), "-u", text).fails(2, text, "NODE.INPUT=VALUE")
    assert len(box.records) == 0


def test_an_update_of_a_node_that_is_not_there_is_refused_with_those_that_are(run: Run, box: Sandbox) -> None:
    run("send", saved(tiny()), "-u", "9.color=1").fails(1, "'9'", "EmptyImage")
    assert len(box.records) == 0


@pytest.mark.seed("S2-18")
def test_send_fails_with_code_1_and_names_the_node_when_the_run_fails(run: Run) -> None:
    run("send", saved(failing()), "--wait").fails(1, "TestFail")


@pytest.mark.seed("S4-21", "S5-50")
def test_what_the_server_has_against_a_graph_is_told_node_by_node(run: Run) -> None:
    wrong = tiny()
    wrong["1"]["inputs"]["width"] = "wide"
    run("send", saved(wrong)).fails(1, "node 1", "EmptyImage", "width")
    said = run("send", saved(wrong), "--json")
    assert said.code == 1
    [problem] = json.loads(said.out)["error"]["node_errors"]
    assert (problem["node_id"], problem["input"]) == ("1", "width")


@pytest.mark.seed("S2-91")
def test_a_workflow_that_cannot_run_is_refused_before_it_is_sent_unless_the_settings_say_otherwise(
    run: Run, box: Sandbox
) -> None:
    broken = saved({"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}})
    run("send", broken).fails(1, "7")
    assert len(box.records) == 0
    assert run("--set", "workflow.validate_before_send=false", "send", broken).code == 1  # now the server says no


@pytest.mark.seed("S2-92")
def test_without_auto_queue_a_workflow_is_only_prepared(run: Run, box: Sandbox) -> None:
    done = run("--set", "workflow.auto_queue=false", "send", saved(tiny()), "--json").json
    assert (done["state"], done["prompt_id"]) == ("prepared", None)
    assert len(box.records) == 0


@pytest.mark.seed("S2-93", "S2-95")
def test_results_and_their_description_can_be_left_where_they_are(run: Run) -> None:
    options = ("--set", "output.download_results=false", "--set", "output.save_metadata=false")
    done = run(*options, "send", saved(tiny()), "-w", "--json").json
    assert done["outputs"][0]["path"] is None
    assert not Path("outputs").exists()


@pytest.mark.seed("S2-88", "S2-105")
def test_without_the_socket_the_same_comes_out(run: Run, box: Sandbox) -> None:
    done = run("--set", "websocket.enable=false", "send", saved(tiny()), "-w", "--json").json
    assert done["state"] == "succeeded"
    assert box.sockets_opened == 0


def test_random_seeds_are_drawn_and_told(run: Run, box: Sandbox) -> None:
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "an owl", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 1, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0],
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "seeded"}},
    }  # fmt: skip
    first, second = (run("send", saved(graph), "--random-seeds", "-w", "--json").json for _ in range(2))
    assert first["seeds"].keys() == {"4.seed"}
    assert first["seeds"] != second["seeds"]
    described = json.loads(Path(first["metadata"]).read_text())
    assert described["workflow"]["4"]["inputs"]["seed"] == first["seeds"]["4.seed"]


@pytest.mark.seed("S2-108")
def test_a_file_of_the_editor_is_told_from_one_for_the_api(run: Run) -> None:
    run("send", saved({"nodes": [], "links": [], "version": 0.4})).fails(1, "API", "comfyone convert")
    run("validate", saved({"nodes": [], "links": [], "version": 0.4})).fails(1, "API")


def test_half_written_json_is_an_error_with_its_place(run: Run) -> None:
    Path("half.json").write_text('{"1": {"class_type": "EmptyImage", ')
    run("send", Path("half.json")).fails(1, "half.json", "line 1")


def test_a_missing_file_is_named(run: Run) -> None:
    run("send", "nowhere.json").fails(1, "nowhere.json")


def test_a_missing_model_is_named(run: Run) -> None:
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "not-there.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["1", 1]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    run("send", saved(graph)).fails(1, "not-there.safetensors")


def without_room(*arguments: Any, **environment: str) -> Done:
    """Runs a command that may write no byte: what a full disk says in a word of its own, the system says in another."""
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from comfyone.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", limited, "--set", "logging.file=null", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**environment),
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_disk_that_is_full_leaves_nothing_half_written_and_loses_nothing(box: Sandbox) -> None:
    done = without_room("send", saved(tiny()), "--wait", COMFYONE_COMFYUI_URL=box.url)
    [record] = box.records
    done.fails(1, "outputs", f"comfyone wait {record.prompt_id}")
    assert not list(Path("outputs").iterdir())
    picked = comfyone("wait", record.prompt_id, "--json", environment={"COMFYONE_COMFYUI_URL": box.url}).json
    assert Path(picked["outputs"][0]["path"]).stat().st_size > 0


def test_a_disk_that_is_full_loses_nothing_of_a_gateways_either(box: Sandbox, gateway: GatewayProcess) -> None:
    environment = {"COMFYONE_API_KEY": gateway.key("full"), "COMFYONE_DOMAIN": gateway.url}
    comfyone("backends", "add", "box", "--url", box.url, environment=environment)
    comfyone("workflows", "add", "flat", saved(tiny()), environment=environment)
    for number, command_ in enumerate(
        [("send", "graph.json", "--wait", "--gateway", gateway.url), ("jobs", "submit", "flat", "--save", "outputs")]
    ):
        done = without_room(*command_, **environment)
        job = comfyone("jobs", "list", "--json", environment=environment).json[0]["id"]
        done.fails(1, "can't be saved in outputs", f"comfyone jobs save {job} outputs --gateway {gateway.url}")
        assert not list(Path("outputs").iterdir())
        [path] = comfyone("jobs", "save", job, f"again-{number}", "--json", environment=environment).json
        assert Path(path).stat().st_size > 0


def test_a_folder_that_cannot_be_made_is_named(run: Run) -> None:
    Path("outputs").write_text("a file where the folder should be")
    run("send", saved(tiny()), "--wait").fails(1, "outputs")
    assert Path("outputs").read_text() == "a file where the folder should be"


@pytest.mark.parametrize("arguments", [("send", "graph.json"), ("queue",), ("info",), ("history",), ("models",)])
def test_a_server_that_is_down_is_named_without_a_traceback(
    arguments: tuple[str, ...], box: Sandbox, dead_port: int
) -> None:
    saved(tiny())
    comfyone("--set", f"comfyui.port={dead_port}", *arguments).fails(1, str(dead_port))


@pytest.mark.seed("S2-84", "S2-85", "S2-86")
def test_host_port_and_protocol_of_the_settings_lead_to_the_server(box: Sandbox) -> None:
    port = box.url.rpartition(":")[2]
    place = ("--set", "comfyui.host=localhost", "--set", f"comfyui.port={port}")
    assert comfyone(*place, "info", "--json").json["url"] == f"http://localhost:{port}"
    comfyone(*place, "--set", "comfyui.protocol=https", "info").fails(1, f"https://localhost:{port}")


@pytest.mark.seed("S2-87")
def test_the_timeout_of_the_settings_bounds_the_wait_for_an_answer(run: Run, box: Sandbox) -> None:
    box.set(slow_requests={"/queue": 30.0})
    began = time.monotonic()
    run("--set", "comfyui.timeout=0.5", "queue").fails(1, "no answer in time")
    assert time.monotonic() - began < 15


def test_what_answers_but_is_no_comfyui_is_told_as_such(box: Sandbox, tmp_path: Path) -> None:
    pages = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        comfyone("info", "--server", f"http://127.0.0.1:{server.server_port}").fails(1, "ComfyUI")
        server.shutdown()


def test_ctrl_c_during_a_wait_prints_the_id_and_the_prompt_can_be_picked_up_again(box: Sandbox) -> None:
    file = saved(slow(steps=200, seconds=0.05))
    process = subprocess.Popen(
        [*COMMAND, "send", str(file), "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(COMFYONE_COMFYUI_URL=box.url),
    )
    assert process.stderr is not None
    said = process.stderr.readline()  # the id, as soon as the server has the prompt
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    err = said + err
    [record] = box.records
    assert process.returncode == 130, (out, err)
    assert record.prompt_id in out + err
    assert "Traceback" not in err
    picked = command("wait", record.prompt_id, "--json", environment={"COMFYONE_COMFYUI_URL": box.url}).json
    assert picked["state"] == "succeeded"
    assert Path(picked["outputs"][0]["path"]).is_file()


def test_a_time_that_is_over_stops_the_waiting_and_not_the_prompt(run: Run, box: Sandbox) -> None:
    done = run("send", saved(slow(steps=1200, seconds=0.05)), "--wait", "--timeout", "1")
    [record] = box.records
    done.fails(1, record.prompt_id, "comfyone wait")
    assert record.outcome is None


# batch


@pytest.mark.seed("S2-15", "S2-18")
def test_a_batch_runs_every_file_under_the_name_of_its_stem(run: Run) -> None:
    for name, color in (("red", 0x00FFFF), ("green", 0xFF00FF), ("blue", 0xFFFF00)):
        saved(tiny(color=color, prefix=name), f"jobs/{name}.json")
    done = run("batch", "jobs", "--timeout", 60, "--json").json
    assert (done["total"], done["completed"], done["failed"]) == (3, 3, 0)
    assert {job["job_id"] for job in done["jobs"]} == {"red", "green", "blue"}
    [red] = [job for job in done["jobs"] if job["job_id"] == "red"]
    assert opened(Path(red["files"][0]).read_bytes()).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.seed("S2-18")
def test_a_batch_with_a_failure_ends_with_code_1_and_says_which(run: Run) -> None:
    saved(tiny(), "jobs/good.json")
    saved(failing(), "jobs/bad.json")
    done = run("--set", "batch.max_retries=0", "batch", "jobs")
    assert done.code == 1
    assert "bad" in done.out
    assert "1 failed" in done.out


def test_a_batch_checks_its_files_before_anything_runs(run: Run, box: Sandbox) -> None:
    saved(tiny(), "jobs/good.json")
    saved({"1": {"class_type": "SaveImage"}}, "jobs/broken.json")
    run("batch", "jobs").fails(1, "broken")
    assert len(box.records) == 0


def test_a_batch_that_takes_too_long_ends_with_code_1(run: Run) -> None:
    saved(slow(steps=100, seconds=0.1), "jobs/slow.json")
    began = time.monotonic()
    assert run("batch", "jobs", "-t", "1").code == 1
    assert time.monotonic() - began < 8


def test_an_empty_folder_is_no_batch(run: Run) -> None:
    Path("jobs").mkdir()
    run("batch", "jobs").fails(1, "jobs")
    run("batch", "nowhere").fails(1, "nowhere")


@pytest.mark.seed("S2-96", "S2-97", "S2-98")
def test_the_batch_settings_take_effect(run: Run, box: Sandbox) -> None:
    saved(failing(), "jobs/bad.json")
    run("--set", "batch.max_retries=2", "batch", "jobs")
    assert len(box.records) == 3
    run("--set", "batch.retry_on_failure=false", "batch", "jobs")
    assert len(box.records) == 4


# validate


@pytest.mark.seed("S2-16")
def test_validate_needs_no_server_and_no_settings_and_counts_nodes(box: Sandbox) -> None:
    done = comfyone("validate", saved(tiny()))
    assert done.code == 0
    assert "3 nodes" in done.out
    comfyone("validate", saved({"1": {"inputs": {}}})).fails(1, "class_type")


def test_validate_against_a_server_knows_its_classes_and_values(box: Sandbox) -> None:
    wrong = tiny()
    wrong["2"]["class_type"] = "ImageInvrt"
    assert comfyone("validate", saved(wrong)).code == 0
    comfyone("validate", saved(wrong), "--server", box.url).fails(1, "ImageInvrt", "ImageInvert")
    said = comfyone("validate", saved(wrong), "--server", box.url, "--json")
    assert said.code == 1
    assert json.loads(said.out)["valid"] is False


# the rest


@pytest.mark.seed("S2-17", "S2-18")
def test_queue_counts_what_runs_and_waits(run: Run, box: Sandbox) -> None:
    for _ in range(3):
        run("send", saved(slow(steps=1200, seconds=0.05)))
    deadline = time.monotonic() + 10
    while not (done := run("queue").out).startswith("running 1, pending 2") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert done.startswith("running 1, pending 2")
    verbose = run("queue", "-v").out
    assert "queue_running" in verbose
    assert len(run("queue", "--json").json["pending"]) == 2


def test_interrupt_stops_exactly_one_prompt(run: Run, box: Sandbox) -> None:
    first, second = (run("send", saved(slow(steps=1200, seconds=0.05)), "--json").json["prompt_id"] for _ in range(2))
    assert run("interrupt", second, "--json").json["done"] is True
    assert [record.outcome for record in box.records.of(second)] == ["deleted"]
    assert run("interrupt", first).code == 0
    assert run("interrupt", "unknown-id").code == 1


def test_history_tells_what_ran(run: Run) -> None:
    sent = run("send", saved(tiny()), "--wait", "--json").json
    [entry] = run("history", "--json").json["entries"]
    assert (entry["prompt_id"], entry["status"]) == (sent["prompt_id"], "success")
    assert sent["outputs"][0]["filename"] in run("history").out
    run("history", "unknown").fails(1, "unknown")


def test_upload_and_download_bring_the_same_bytes_back(run: Run) -> None:
    source = Path(__file__).parents[3] / "examples" / "assets" / "grace_hopper.jpg"
    up = run("upload", source, "--json").json
    assert up["value"] == "grace_hopper.jpg"
    down = run("download", up["name"], "--type", "input", "--output", "back.jpg", "--json").json
    assert Path(down["path"]).read_bytes() == source.read_bytes()
    run("download", "nothing.png").fails(1, "nothing.png")
    run("upload", "nothing.png").fails(1, "nothing.png")


def test_models_nodes_info_and_free_speak_of_the_server(run: Run) -> None:
    assert "checkpoints" in run("models").out.split()
    assert CHECKPOINT in run("models", "checkpoints", "--json").json["names"]
    assert "KSampler" in run("nodes", "--json").json["names"]
    assert "denoise" in run("nodes", "KSampler").out
    assert run("nodes", "ksamp", "--json").json["names"][0].startswith("KSampler")
    run("nodes", "NoSuchNode").fails(1, "NoSuchNode")
    assert run("info", "--json").json["system"]["comfyui_version"]
    assert "ComfyUI" in run("info").out
    assert run("free", "--json").json["done"] is True


def test_config_shows_each_value_with_its_origin(run: Run) -> None:
    Path("config.yaml").write_text("batch:\n  max_retries: 9\n")
    found = {one["name"]: one for one in run("config", "--json").json["settings"]}
    assert (found["batch.max_retries"]["value"], found["batch.max_retries"]["origin"]) == (9, "file config.yaml")
    assert found["comfyui.url"]["origin"] == "the environment"
    assert found["output.output_dir"]["origin"] == "the defaults"
    assert "batch.max_retries" in run("config").out


@pytest.mark.seed("S2-99", "S2-100", "S2-101", "S4-20")
def test_the_log_goes_where_the_settings_say(run: Run) -> None:
    run("send", saved(tiny()), "--wait")
    assert "is connected" in Path("comfyui_api.log").read_text()
    run("--set", "logging.file=logs/mine.log", "--set", "logging.level=DEBUG", "send", saved(tiny()), "--wait")
    assert "POST prompt" in Path("logs/mine.log").read_text()
    quiet = run("--set", "logging.console=false", "send", saved(tiny()), "--wait")
    assert "is connected" not in quiet.err


@pytest.mark.seed("S2-18")
def test_no_command_prints_the_help_and_ends_with_code_1() -> None:
    done = comfyone()
    assert done.code == 1
    assert "Usage" in done.out


@pytest.mark.seed("S2-18")
def test_the_settings_file_is_named_before_the_command(box: Sandbox) -> None:
    Path("mine.yaml").write_text(f"comfyui:\n  url: {box.url}\noutput:\n  output_dir: mine\n")
    done = comfyone("--config", "mine.yaml", "send", saved(tiny()), "-w", "--json").json
    assert Path(done["outputs"][0]["path"]).parent == Path("mine")
    comfyone("-c", "none.yaml", "queue").fails(1, "none.yaml")


def test_keys_and_passwords_appear_nowhere(run: Run, dead_port: int) -> None:
    secret = "hidden-word"
    options = ("--set", f"comfyui.auth=me:{secret}", "--set", f"comfyui.headers={{X-Key: {secret}}}")
    outputs = [run(*options, "send", saved(tiny()), "-w"), run(*options, "config"), run(*options, "config", "--json")]
    outputs.append(comfyone(*options, "--set", f"comfyui.port={dead_port}", "queue"))
    for done in outputs:
        assert secret not in done.out + done.err
    for file in Path().rglob("*"):
        assert not file.is_file() or file.suffix == ".png" or secret not in file.read_text(errors="replace")
    assert os.listdir()


# through a gateway


def test_send_and_queue_also_go_through_a_gateway(box: Sandbox, gateway: GatewayProcess) -> None:
    environment = {"COMFYONE_API_KEY": gateway.key("through")}
    through = ("--gateway", gateway.url)
    comfyone("backends", "add", "box", "--url", box.url, *through, environment=environment)
    done = comfyone("send", saved(tiny(color=0x336699)), "-w", "--json", *through, environment=environment).json
    assert done["state"] == "succeeded"
    picture = opened(Path(done["outputs"][0]["path"]).read_bytes())
    assert picture.convert("RGB").getpixel((5, 5)) == (0xCC, 0x99, 0x66)
    box.set(step_time=1.0)
    held = text_to_image("an owl", steps=100, width=64, height=64)
    sent = comfyone("send", saved(held), "--json", *through, environment=environment).json
    queue = comfyone("queue", "--json", *through, environment=environment).json
    assert sent["prompt_id"] in {entry["prompt_id"] for entry in [*queue["running"], *queue["pending"]]}
    box.set(step_time=0)
    comfyone("send", saved(failing()), "-w", *through, environment=environment).fails(1, "TestFail")
    comfyone("send", saved(tiny()), *through).fails(2, "API key")


def test_a_batch_goes_through_a_gateway_to_all_of_its_servers(box: Sandbox, gateway: GatewayProcess) -> None:
    environment = {"COMFYONE_API_KEY": gateway.key("many")}
    through = ("--gateway", gateway.url)
    with Sandbox() as other:
        for name, url in (("box", box.url), ("other", other.url)):
            comfyone("backends", "add", name, "--url", url, *through, environment=environment)
        for number in range(6):
            saved(tiny(color=number), f"jobs/{number}.json")
        settings = ("--set", "batch.max_concurrent=6", "--set", "comfyui.auth=for-another:server")
        done = comfyone(*settings, "batch", "jobs", "--json", *through, environment=environment).json
        assert (done["completed"], done["failed"]) == (6, 0)
        assert all(Path(job["files"][0]).is_file() for job in done["jobs"])
        assert len(box.records) + len(other.records) == 6
        assert min(len(box.records), len(other.records)) > 0
        again = comfyone(*settings, "batch", "jobs", "--json", *through, environment=environment).json
        assert again["completed"] == 6
        assert len(box.records) + len(other.records) == 6
    saved(tiny(), "more/new.json")
    strange = comfyone("batch", "more", "--json", *through, "--api-key", "sk-unknown")
    assert strange.code == 1
    assert "the API key is not known" in json.loads(strange.out)["jobs"][0]["error"]
    comfyone("batch", "more", *through).fails(2, "API key")


def test_what_a_gateway_knows_a_workflow_is_checked_converted_and_waited_for_by(
    box: Sandbox, gateway: GatewayProcess
) -> None:
    environment = {"COMFYONE_API_KEY": gateway.key("knowing")}
    through = ("--gateway", gateway.url)
    comfyone("backends", "add", "box", "--url", box.url, *through, environment=environment)
    checked = comfyone("validate", saved(tiny()), "--json", *through, environment=environment).json
    assert (checked["valid"], checked["checked_against"]) == (True, gateway.url)
    wrong = tiny() | {"2": {"class_type": "ImageInverted", "inputs": {"image": ["1", 0]}}}
    comfyone("validate", saved(wrong), *through, environment=environment).fails(1, "ImageInvert")
    saved(DRAWN, "drawn.json")
    comfyone("convert", "drawn.json", "-o", "converted.json", *through, environment=environment)
    sent = comfyone("send", "converted.json", "--json", *through, environment=environment).json
    waited = comfyone("wait", sent["prompt_id"], "--json", *through, environment=environment).json
    assert waited["state"] == "succeeded"
    assert Path(waited["outputs"][0]["path"]).is_file()


def test_whoever_the_server_does_not_know_is_not_kept_waiting(box: Sandbox, gateway: GatewayProcess) -> None:
    through = ("--gateway", gateway.url, "--api-key", "sk-unknown")
    comfyone("wait", "1", "--timeout", "60", *through).fails(1, "the API key is not known", "credentials")


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "graph.json"),
        ("queue",),
        ("wait", "1"),
        ("validate", "graph.json"),
        ("convert", "graph.json"),
        ("batch", "graph.json", "--sweep", "1.color=[1]"),
    ],
)
def test_a_server_and_a_gateway_at_once_are_refused(run: Run, box: Sandbox, arguments: tuple[str, ...]) -> None:
    saved(tiny())
    both = ("--server", box.url, "--gateway", "http://127.0.0.1:1")
    run(*arguments, *both).fails(2, "--server and --gateway", "drop --server", "drop --gateway")
    done = run(*arguments, *both, "--json")
    assert (done.code, json.loads(done.out)["error"]["type"]) == (2, "CommandError")
    assert len(box.records) == 0


# what needs no run


def test_a_picture_that_comfyui_made_is_sent_again(run: Run, box: Sandbox) -> None:
    first = run("send", saved(tiny(color=0x336699)), "-w", "--json").json
    picture = first["outputs"][0]["path"]
    again = run("send", picture, "-u", "1.color=255", "-w", "--json").json
    assert opened(Path(again["outputs"][0]["path"]).read_bytes()).convert("RGB").getpixel((0, 0)) == (255, 255, 0)


def test_a_template_gives_inputs_names_and_fills_them_in(box: Sandbox) -> None:
    saved(tiny())
    given = ("template", "graph.json", "-p", "color=1.color", "-p", "name=3.filename_prefix")
    assert comfyone(*given, "--json").json["parameters"] == {"color": 0x336699, "name": "tiny"}
    comfyone(*given, "-V", "color=255", "-V", "name=an owl", "-o", "filled.json")
    filled = json.loads(Path("filled.json").read_text())
    assert (filled["1"]["inputs"]["color"], filled["3"]["inputs"]["filename_prefix"]) == (255, "an owl")
    comfyone(*given, "-V", "colour=1").fails(1, "colour", "color")
    comfyone("template", "graph.json", "-p", "color=1").fails(2, "NODE.INPUT")


DRAWN = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "EmptyImage", "mode": 0, "widgets_values": [64, 64, 1, 255], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]},
        {"id": 2, "type": "ImageInvert", "mode": 0, "inputs": [{"name": "image", "type": "IMAGE", "link": 1}], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}]},
        {"id": 3, "type": "SaveImage", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "widgets_values": ["drawn"]},
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
}  # fmt: skip


def test_a_file_of_the_editor_is_converted_compared_and_runs(run: Run) -> None:
    saved(DRAWN, "drawn.json")
    run("convert", "drawn.json", "-o", "graph.json")
    graph = json.loads(Path("graph.json").read_text())
    assert graph["1"]["inputs"] == {"width": 64, "height": 64, "batch_size": 1, "color": 255}
    assert run("convert", "drawn.json", "--diff", "graph.json").out == "the same as graph.json\n"
    graph["1"]["inputs"]["color"] = 1
    saved(graph, "other.json")
    assert "1 EmptyImage.color: 1 → 255" in run("convert", "drawn.json", "--diff", "other.json").out
    done = run("send", "graph.json", "-w", "--json").json
    assert opened(Path(done["outputs"][0]["path"]).read_bytes()).convert("RGB").getpixel((0, 0)) == (255, 255, 0)


def test_what_cannot_be_converted_for_certain_is_refused_with_the_node(run: Run) -> None:
    unknown = {**DRAWN, "nodes": [*DRAWN["nodes"], {"id": 9, "type": "NoSuchNode", "mode": 0, "widgets_values": [1]}]}  # type: ignore[misc]
    run("convert", saved(unknown, "unknown.json"), "-o", "graph.json").fails(1, "9", "NoSuchNode")
    assert not Path("graph.json").exists()


def test_a_saved_object_info_stands_in_for_the_server(run: Run, box: Sandbox) -> None:
    known = run("nodes", "--json").json["names"]
    infos = {
        name: run("nodes", name, "--json").json["info"]
        for name in [*known[:3], "EmptyImage", "ImageInvert", "SaveImage"]
    }
    saved(infos, "info.json")
    saved(DRAWN, "drawn.json")
    assert (
        json.loads(comfyone("convert", "drawn.json", "--object-info", "info.json").out)["3"]["class_type"]
        == "SaveImage"
    )
    comfyone("convert", "drawn.json", "--object-info", "drawn.json").fails(1, "drawn.json")


def test_a_sweep_runs_every_combination_and_draws_a_sheet_of_them(run: Run, box: Sandbox) -> None:
    saved(tiny(), "one.json")
    options = ("--sweep", "1.color=[255, 65280]", "--sweep", "1.width=[32, 64]", "--contact-sheet")
    done = run("batch", "one.json", *options, "--json").json
    assert (done["total"], done["completed"]) == (4, 4)
    assert opened(Path(done["contact_sheet"]).read_bytes()).width > 100
    assert run("batch", "one.json", *options, "--json").json["completed"] == 4
    assert len(box.records) == 4  # what is done is not run again
    run("batch", "one.json", *options, "--again")
    assert len(box.records) == 8
    run("batch", "one.json", "--sweep", "1.color=5").fails(2, "1.color=5")
    run("batch", "one.json").fails(1, "--sweep")


# what a program reads


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("history", "unknown-id"), 1, "unknown-id"),
        (("nodes", "NoSuchNode"), 1, "NoSuchNode"),
        (("download", "nothing.png"), 1, "nothing.png"),
        (("send", "graph.json", "-u", "nonsense"), 2, "NODE.INPUT=VALUE"),
        (("send", "graph.json", "--gateway", "http://127.0.0.1:1"), 2, "API key"),
        (("send", "graph.json", "--gateway", "http://127.0.0.1:1", "--api-key", "k"), 1, "refused"),
        (("batch", "graph.json", "--sweep", "1.color=[1]", "--sweep", "1.color=[2]"), 2, "twice"),
    ],
)
def test_with_json_every_failure_is_a_document(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    saved(tiny())
    done = run(*arguments, "--json")
    assert done.code == code, done
    error = json.loads(done.out)["error"]
    assert words in error["message"]
    assert error["type"]


def test_a_time_that_is_over_names_the_prompt_in_the_document(run: Run, box: Sandbox) -> None:
    done = run("send", saved(slow(steps=100, seconds=0.1)), "--wait", "--timeout", "0.5", "--json")
    [record] = box.records
    error = json.loads(done.out)["error"]
    assert (done.code, error["prompt_id"], error["hint"]) == (1, record.prompt_id, f"comfyone wait {record.prompt_id}")
    assert error["message"].endswith("has not ended within 0.5 s")


def test_the_timeout_also_holds_through_a_gateway(box: Sandbox, gateway: GatewayProcess) -> None:
    environment = {"COMFYONE_API_KEY": gateway.key("patient")}
    through = ("--gateway", gateway.url)
    comfyone("backends", "add", "box", "--url", box.url, *through, environment=environment)
    sent = ("send", saved(slow(steps=200, seconds=0.1)), "--wait", "--timeout", "1", *through)
    began = time.monotonic()
    comfyone(*sent, environment=environment).fails(1, "comfyone jobs save")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(("given", "folder"), [("models-v1.0", "models-v1.0"), (".", "here")])
def test_the_results_of_a_batch_bear_the_whole_name_of_their_folder(run: Run, given: str, folder: str) -> None:
    saved(tiny(), f"{given}/one.json")
    [job] = run("batch", given, "--json").json["jobs"]
    assert Path(job["files"][0]).parent == Path("outputs", folder)


def test_what_needs_saved_results_says_so(run: Run) -> None:
    saved(tiny(), "jobs/one.json")
    unsaved = ("--set", "output.download_results=false", "batch", "jobs")
    run(*unsaved, "--contact-sheet").fails(1, "--contact-sheet", "output.download_results")
    assert run(*unsaved).code == 0


def test_the_queue_is_told_in_the_order_in_which_it_will_run(run: Run, box: Sandbox) -> None:
    sent = [run("send", saved(slow(steps=100, seconds=0.1)), "--json").json["prompt_id"] for _ in range(6)]
    assert [entry["prompt_id"] for entry in run("queue", "--json").json["pending"]] == sent[1:]


def test_half_a_character_is_printed_and_ends_nothing(box: Sandbox) -> None:
    graph = tiny(prefix="half \ud83d")
    Path("half.json").write_text(json.dumps(graph))
    done = command("template", "half.json", "-p", "name=3.filename_prefix", "--json")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
