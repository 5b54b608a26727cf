"""The classic graph of seven nodes, which needs no model here."""

from __future__ import annotations

import time

import pytest
from PIL import Image, ImageChops, ImageStat

from comfyone.emulator import Sandbox
from tests.conformance.client import ComfyUI, of_type, parse
from tests.graphs import CHECKPOINT, Graph, text_to_image


def painted(comfyui: ComfyUI, graph: Graph) -> Image.Image:
    comfyui.post("/free", json={"free_memory": True})
    [picture] = comfyui.pictures(graph)
    return picture


def equal(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and ImageChops.difference(first, second).getbbox() is None


def test_it_paints_a_picture_of_the_wanted_size(comfyui: ComfyUI) -> None:
    picture = painted(comfyui, text_to_image("an owl", width=320, height=192))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (320, 192))
    assert min(ImageStat.Stat(picture).stddev) > 5, "it should be a picture, not one colour"


def test_the_same_prompt_and_seed_give_the_same_picture_in_another_sandbox(comfyui: ComfyUI) -> None:
    first = painted(comfyui, text_to_image("an owl", seed=7))
    with Sandbox() as other:
        assert equal(first, painted(ComfyUI(other.url), text_to_image("an owl", seed=7)))


@pytest.mark.parametrize(
    "other",
    [
        text_to_image("a fox", seed=7),
        text_to_image("an owl", seed=8),
        text_to_image("an owl", seed=7, negative="blurred"),
        text_to_image("an owl", seed=2**64 - 1),
    ],
)
def test_another_prompt_or_seed_gives_another_picture(comfyui: ComfyUI, other: Graph) -> None:
    assert not equal(painted(comfyui, text_to_image("an owl", seed=7)), painted(comfyui, other))


def test_nothing_else_changes_the_picture(comfyui: ComfyUI) -> None:
    graph = text_to_image("an owl", seed=7, steps=2)
    first = painted(comfyui, graph)
    graph["3"]["inputs"] |= {"steps": 9, "cfg": 3.5, "sampler_name": "ddim", "scheduler": "karras", "denoise": 0.5}
    graph["4"]["inputs"]["ckpt_name"] = "sd_xl_base_1.0.safetensors"
    assert equal(first, painted(comfyui, graph))


def test_a_batch_is_of_different_pictures(comfyui: ComfyUI) -> None:
    graph = text_to_image("an owl")
    graph["5"]["inputs"]["batch_size"] = 3
    pictures = comfyui.pictures(graph)
    assert len(pictures) == 3
    assert not equal(pictures[0], pictures[1])


def test_each_step_is_told_with_a_preview_that_comes_nearer(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    with comfyui.listen(supports_preview_metadata=True) as listener:
        prompt_id = comfyui.submit(text_to_image("an owl", steps=5), client_id=listener.client_id)
        messages = listener.until_end(prompt_id)
    assert [(told["value"], told["max"], told["node"]) for told in of_type(messages, "progress")] == [
        (step, 5, "3") for step in range(1, 6)
    ]
    previews = [parse(frame) for frame in listener.frames]
    assert [preview.picture.format for preview in previews] == ["JPEG"] * 5
    last = previews[-1].picture.convert("RGB")
    distances = [sum(ImageStat.Stat(ImageChops.difference(p.picture.convert("RGB"), last)).mean) for p in previews]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > distances[-2] > 0


def test_a_step_takes_the_time_that_is_set(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    sandbox.set(step_time=0.05)
    began = time.monotonic()
    comfyui.run(text_to_image("an owl", steps=4))
    assert time.monotonic() - began >= 0.2


def test_only_its_checkpoints_can_be_loaded(comfyui: ComfyUI) -> None:
    known = comfyui.get("/models/checkpoints").json()
    assert CHECKPOINT in known
    graph = text_to_image("an owl")
    graph["4"]["inputs"]["ckpt_name"] = "absent.safetensors"
    body = comfyui.refuse(graph)
    assert body["node_errors"]["4"]["errors"][0]["type"] == "value_not_in_list"
    assert str(known) in body["node_errors"]["4"]["errors"][0]["details"]


def test_a_changed_seed_does_not_encode_the_texts_again(comfyui: ComfyUI) -> None:
    comfyui.run(text_to_image("an owl", seed=1))
    messages, _ = comfyui.run(text_to_image("an owl", seed=2))
    assert of_type(messages, "execution_cached")[0]["nodes"] == ["4", "5", "6", "7"]
