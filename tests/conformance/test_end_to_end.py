"""The main job, from a key to the pixels of the result, through SDK and gateway on the server under test."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps

from comfyone import (
    ComfyOne,
    IOType,
    JobCancelledError,
    JobFailedError,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from tests import graphs
from tests.conformance.client import ComfyUI
from tests.support.gateway import GatewayProcess, clean_environment
from tests.support.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
PHOTO = ROOT / "examples" / "assets" / "grace_hopper.jpg"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path / "state") as running:
        yield running


@pytest.fixture
def client(gateway: GatewayProcess, comfyui: ComfyUI) -> Iterator[ComfyOne]:
    with gateway.client(timeout=30) as connected:
        connected.api.register_backend("server", url=comfyui.url).raise_for_code()
        yield connected


def stored(client: ComfyOne, name: str, graph: graphs.Graph, output: str, *inputs: tuple[str, str, IOType]) -> str:
    """Stores a workflow; inputs are (node, name, type)."""
    declared = [WorkflowInput(id=node, name=field, type=kind) for node, field, kind in inputs]
    client.api.create_workflow(
        WorkflowPayload(
            name=name,
            inputs=WorkflowInputPayload(inputs=declared),
            outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id=output)]),
            workflow=graph,
        )
    ).raise_for_code()
    return name


def is_inverse(image: Image.Image, color: int) -> bool:
    """Whether a picture shows the inverse of a colour; ComfyUI's own rounding may be off by one."""
    inverted = 0xFFFFFF - color
    expected = Image.new("RGB", image.size, (inverted >> 16, inverted >> 8 & 0xFF, inverted & 0xFF))
    return distance(image, expected) <= 1


def distance(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    return max(int(high) for _, high in extrema)  # type: ignore[misc]


@pytest.mark.seed("S1-33", "S1-55")
def test_five_jobs_with_a_photograph_come_back_with_the_right_pixels(client: ComfyOne, tmp_path: Path) -> None:
    graph = {
        "1": graphs.node("LoadImage", image="example.png"),
        "2": graphs.node(
            "ImageScale", image=["1", 0], upscale_method="nearest-exact", width=8, height=8, crop="disabled"
        ),
        "3": graphs.node("ImageInvert", image=["2", 0]),
        "4": graphs.save("3", "end-to-end"),
    }
    scaled = (("2", "width", IOType.NUMBER), ("2", "height", IOType.NUMBER))
    workflow = stored(client, "negative", graph, "4", ("1", "image", IOType.IMAGE), *scaled)
    path = client.api.upload_file(PHOTO).raise_for_code().data["Path"]
    sizes = [(32, 25), (64, 75), (128, 150), (256, 300), (512, 600)]  # whole fractions of the photograph
    jobs = [client.submit(workflow, image=path, width=width, height=height) for width, height in sizes]
    with Image.open(PHOTO) as opened:
        photo = opened.convert("RGB")
    for job, (width, height) in zip(jobs, sizes, strict=True):
        events = list(job.events())
        assert events[-1].type == "succeeded"
        percents = [event.percent for event in events if event.percent is not None]
        assert percents == sorted(percents)
        assert [event.number for event in events if event.number] == [1, 2, 3, 4]
        (saved,) = job.save(tmp_path / job.id)
        with Image.open(saved) as result:
            assert result.size == (width, height)
            expected = ImageOps.invert(photo.resize((width, height), Image.Resampling.NEAREST))
            assert distance(result, expected) <= 2


def test_unfinished_work_is_shown_to_those_who_ask(client: ComfyOne) -> None:
    workflow = stored(client, "slow", graphs.slow(10, 0.1, preview=True), "3", ("1", "color", IOType.NUMBER))
    busy, job = client.submit(workflow, color=0x111111), client.submit(workflow, color=0x222222)
    events = list(job.events(previews=True))
    busy.wait(30)
    pictures = [event for event in events if event.preview]
    assert len(pictures) >= 3
    shades = []
    for event in pictures:
        assert event.data["mime"] == "image/jpeg"
        assert event.data["node_id"] == "2"
        with Image.open(BytesIO(event.preview or b"")) as picture:
            shades.append(picture.convert("L").getpixel((32, 32)))
    assert shades == sorted(shades)  # type: ignore[type-var]
    assert events[-1].type == "succeeded"
    assert 0 < events[-1].data["seconds"] < 30


@pytest.mark.seed("S1-57")
def test_the_quick_start_example_runs_as_a_user_would_run_it(
    gateway: GatewayProcess, comfyui: ComfyUI, tmp_path: Path
) -> None:
    environment = clean_environment(COMFYONE_API_KEY=gateway.key(), COMFYONE_DOMAIN=gateway.url)
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), "--backend", comfyui.url]
    for _ in range(2):  # a user runs it again
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
    pictures = [path for path in tmp_path.rglob("*") if path.suffix == ".png"]
    assert len(pictures) >= 5
    for picture in pictures:
        with Image.open(picture) as opened:
            opened.load()
        assert picture.name in done.stdout or len(pictures) > 5


def test_a_job_survives_the_death_of_the_gateway_and_runs_once(
    gateway: GatewayProcess, client: ComfyOne, comfyui: ComfyUI
) -> None:
    workflow = stored(client, "slow", graphs.slow(30, 0.1, color=0x112233), "3", ("1", "color", IOType.NUMBER))
    jobs = [client.submit(workflow, color=0x445566 + number) for number in range(2)]
    for event in jobs[0].events():
        if event.percent:
            break

    def both() -> list[str] | None:
        running, pending = comfyui.queue()
        return running + pending if len(running + pending) == 2 else None

    prompts = eventually(both)  # the second is sent while the first runs
    gateway.kill()
    gateway.restart()
    for number, job in enumerate(jobs):
        result = job.result(timeout=60)
        assert result.images[0].getpixel((0, 0)) == (0x44, 0x55, 0x66 + number)
        assert job.status().attempts == 1
    history = comfyui.get("/history").json()
    assert set(prompts) <= set(history)


def test_run_outlives_the_gateway_and_has_one_job(gateway: GatewayProcess, client: ComfyOne, comfyui: ComfyUI) -> None:
    workflow = stored(client, "slow", graphs.slow(15, 0.1), "3", ("1", "color", IOType.NUMBER))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(client.run, workflow, color=0x778899, timeout=60)
        while not comfyui.queue()[0]:
            assert not running.done(), running.result()
        gateway.kill()
        gateway.restart()
        assert running.result(60).images[0].getpixel((0, 0)) == (0x77, 0x88, 0x99)
    jobs = client.api.get_prompt_history().data
    assert [(job["state"], job["attempts"]) for job in jobs] == [("succeeded", 1)]


@pytest.mark.seed("S1-26", "S1-81")
def test_cancelling_a_running_job_leaves_its_neighbour_alone(client: ComfyOne, comfyui: ComfyUI) -> None:
    workflow = stored(
        client, "slow", graphs.slow(100, 0.1), "3", ("1", "color", IOType.NUMBER), ("2", "steps", IOType.NUMBER)
    )
    long, short = client.submit(workflow, color=1), client.submit(workflow, color=2, steps=1)
    for event in long.events():
        if event.percent:
            break
    long.cancel()
    with pytest.raises(JobCancelledError):
        long.result(timeout=30)
    assert short.result(timeout=30).images[0].getpixel((0, 0)) == (0, 0, 2)
    assert comfyui.queue() == ([], [])


@pytest.mark.seed("S1-81")
def test_an_error_in_a_node_names_the_node(client: ComfyOne) -> None:
    workflow = stored(client, "failing", graphs.failing("no such luck"), "3", ("1", "color", IOType.NUMBER))
    with pytest.raises(JobFailedError, match="no such luck") as caught:
        client.run(workflow, timeout=30, color=time.time_ns() % 0xFFFFFF)
    assert (caught.value.error["node_id"], caught.value.error["node_type"]) == ("2", "TestFail")


def test_a_text_is_an_output_too(client: ComfyOne) -> None:
    workflow = stored(client, "speaking", graphs.speaking("hello"), "1", ("1", "text", IOType.STRING))
    text = f"the moment is {time.time_ns()}"
    assert client.run(workflow, timeout=30, text=text).values == [text]


def test_a_cached_run_delivers_the_same_picture_again(client: ComfyOne) -> None:
    workflow = stored(client, "tiny", graphs.tiny(), "3", ("1", "color", IOType.NUMBER))
    color = time.time_ns() % 0xFFFFFF
    for _ in range(2):
        result = client.run(workflow, timeout=30, color=color)
        assert is_inverse(result.images[0], color)


def test_what_the_server_itself_refuses_is_named_by_node_and_input(client: ComfyOne) -> None:
    workflow = stored(client, "tiny", graphs.tiny(), "3", ("1", "width", IOType.NUMBER))
    with pytest.raises(JobFailedError, match="width") as caught:
        client.run(workflow, timeout=30, width=-5)
    assert caught.value.error["type"] == "rejected"
    assert caught.value.error["node_id"] == "1"


def test_a_hundred_quick_jobs_are_all_right(client: ComfyOne) -> None:
    workflow = stored(client, "tiny", graphs.tiny(width=16), "3", ("1", "color", IOType.NUMBER))
    base = time.time_ns() % 0xFFFF00
    jobs = [client.submit(workflow, color=base + number) for number in range(100)]
    for number, job in enumerate(jobs):
        assert is_inverse(job.result(timeout=60).images[0], base + number)
