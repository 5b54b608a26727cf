"""The level above the seed: submit, watch, wait, fetch, in a few words each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyone import JobCancelledError, JobFailedError, JobTimeoutError, NotFoundError
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, invert_upload, slow, speaking, text_to_image, tiny
from tests.support.pictures import opened, picture, png
from tests.support.waiting import eventually

IMAGE = {"id": "1", "type": "image", "name": "image"}
COLOR = {"id": "1", "type": "number", "name": "color", "minimum": 0, "maximum": 0xFFFFFF}


@pytest.fixture
def inverter(shop: Tenant) -> Tenant:
    shop.workflow(invert_upload("placeholder.png"), [IMAGE], name="invert")
    return shop


def assert_inverted(result: Any) -> None:
    """The picture of `picture` with every colour turned round."""
    image = result.images[0].convert("RGB")
    assert image.getpixel((8, 8)) == (55, 155, 205)
    assert image.getpixel((1, 1)) == (255, 255, 255)


def test_a_path_becomes_an_upload_and_the_result_is_its_inverse(inverter: Tenant, tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    source.write_bytes(png())
    assert_inverted(inverter.sdk.run("invert", image=source, timeout=15))


def test_a_pillow_image_becomes_an_upload(inverter: Tenant) -> None:
    assert_inverted(inverter.sdk.run("invert", image=picture(), timeout=15))


def test_bytes_and_open_files_become_uploads(inverter: Tenant, tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    source.write_bytes(png())
    assert_inverted(inverter.sdk.run("invert", image=png(), timeout=15))
    with source.open("rb") as file:
        assert_inverted(inverter.sdk.run("invert", image=file, timeout=15))


def test_a_workflow_runs_by_its_id_as_well_as_by_its_name(shop: Tenant) -> None:
    record = shop.workflow(tiny(), [COLOR])
    colors = [shop.sdk.run(key, color=0x112233, timeout=15).images[0].getpixel((0, 0)) for key in (record["id"], "w")]
    assert colors == [(0xEE, 0xDD, 0xCC)] * 2


def test_seed_and_prompt_alone_decide_about_the_picture(shop: Tenant) -> None:
    inputs = [{"id": "6", "type": "string", "name": "text", "title": "prompt"}]
    inputs += [{"id": "3", "type": "number", "name": "seed"}]
    shop.workflow(text_to_image("nothing", width=64, height=64), inputs, ["9"], name="portrait")
    owl, again, other = (
        shop.sdk.run("portrait", timeout=15, prompt="an owl", seed=seed).images[0].tobytes() for seed in (7, 7, 8)
    )
    assert owl == again
    assert owl != other


def test_events_tell_the_whole_life_of_a_job_in_order(shop: Tenant) -> None:
    shop.workflow(slow(steps=6, seconds=0.08))
    job = shop.sdk.submit("w")
    events = list(job.events())
    numbered = [event for event in events if event.number]
    assert [event.type for event in numbered] == ["queued", "dispatched", "running", "succeeded"]
    assert [event.number for event in numbered] == [1, 2, 3, 4]
    percents = [event.percent for event in events if event.type == "progress" and event.percent is not None]
    assert len(percents) > 2
    assert percents == sorted(percents)
    assert all(0 <= percent <= 100 for percent in percents)
    resumed = list(job.events(after=2))
    assert [event.number for event in resumed] == [3, 4]


def test_a_timeout_detaches_and_the_job_goes_on(shop: Tenant) -> None:
    shop.workflow(slow(steps=10, seconds=0.1))
    with pytest.raises(JobTimeoutError) as caught:
        shop.sdk.run("w", timeout=0.2)
    job = shop.sdk.job(caught.value.job_id)
    assert job.status().state in ("queued", "dispatched", "running")
    assert len(job.result(15).images) == 1


def test_a_job_is_picked_up_by_its_id_and_saved(shop: Tenant, tmp_path: Path) -> None:
    shop.workflow(tiny(color=0x336699))
    job_id = shop.sdk.submit("w").id
    paths = shop.sdk.job(job_id).save(tmp_path / "out", timeout=15)
    assert [path.parent for path in paths] == [tmp_path / "out"]
    assert opened(paths[0].read_bytes()).getpixel((0, 0)) == (0xCC, 0x99, 0x66)
    again = shop.sdk.job(job_id).save(tmp_path / "out", timeout=15)
    assert again != paths
    assert again[0].read_bytes() == paths[0].read_bytes()


def test_an_unknown_job_id_is_told_when_it_is_asked_about(acme: Tenant) -> None:
    job = acme.sdk.job("01a200a3-0000-7df5-84e2-7ffc46735000")
    with pytest.raises(NotFoundError, match="01a200a3-0000"):
        job.status()


@pytest.mark.seed("S1-26")
def test_a_cancelled_job_stops_and_its_result_says_so(shop: Tenant) -> None:
    shop.workflow(slow(steps=100, seconds=0.1))
    job = shop.sdk.submit("w")
    eventually(lambda: job.status().state == "running")
    job.cancel()
    with pytest.raises(JobCancelledError) as caught:
        job.result(10)
    assert caught.value.job_id == job.id


@pytest.mark.seed("S1-81")
def test_a_failed_job_names_the_node_and_its_reason(shop: Tenant) -> None:
    shop.workflow(failing("the glue was dry"))
    with pytest.raises(JobFailedError, match="the glue was dry") as caught:
        shop.sdk.run("w", timeout=15)
    assert caught.value.error["type"] == "node_error"
    assert caught.value.error["node_id"] == "2"
    assert caught.value.error["node_type"] == "TestFail"


def test_an_output_that_is_no_file_is_a_value(shop: Tenant) -> None:
    inputs = [{"id": "1", "type": "string", "name": "text"}]
    shop.workflow(speaking("default"), inputs, ["1"], name="say")
    result = shop.sdk.run("say", text="grüß 'Gott' 🦉", timeout=15)
    assert result.values == ["grüß 'Gott' 🦉"]
    assert result.files == []


def test_two_outputs_come_in_the_order_in_which_they_are_declared(shop: Tenant) -> None:
    graph = {**tiny(), "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}}}
    shop.workflow(graph, outputs=["4", "3"])
    result = shop.sdk.run("w", timeout=15)
    assert [image.getpixel((0, 0)) for image in result.images] == [(0x33, 0x66, 0x99), (0xCC, 0x99, 0x66)]
    assert [output.record.node_id for output in result] == ["4", "3"]
    assert [output.url for output in result.status.outputs] == result.status.images
