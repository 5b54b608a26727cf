"""What can be asked without running anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import ComfyUI

MODEL_FREE = [
    "EmptyImage",
    "GetImageSize",
    "ImageBatch",
    "ImageBlend",
    "ImageBlur",
    "ImageColorToMask",
    "ImageCompositeMasked",
    "ImageCrop",
    "ImageFlip",
    "ImageFromBatch",
    "ImageInvert",
    "ImagePadForOutpaint",
    "ImageRotate",
    "ImageScale",
    "ImageScaleBy",
    "ImageScaleToTotalPixels",
    "ImageSharpen",
    "ImageToMask",
    "CropMask",
    "FeatherMask",
    "GrowMask",
    "InvertMask",
    "LoadImage",
    "LoadImageMask",
    "MaskComposite",
    "MaskPreview",
    "MaskToImage",
    "PreviewAny",
    "PreviewImage",
    "PrimitiveBoolean",
    "PrimitiveFloat",
    "PrimitiveInt",
    "PrimitiveString",
    "PrimitiveStringMultiline",
    "RepeatImageBatch",
    "SaveAnimatedPNG",
    "SaveAnimatedWEBP",
    "SaveImage",
    "SolidMask",
    "StringConcatenate",
    "TestFail",
    "TestSleep",
    "TestSteps",
    "TestText",
    "ThresholdMask",
]
TEXT_TO_IMAGE = ["CLIPTextEncode", "CheckpointLoaderSimple", "EmptyLatentImage", "KSampler", "VAEDecode"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_system_stats_tell_versions_and_devices(comfyui: ComfyUI, prefix: str) -> None:
    body = comfyui.get(f"{prefix}/system_stats").json()
    assert set(body) == {"system", "devices"}
    assert {"os", "ram_total", "ram_free", "comfyui_version", "python_version", "pytorch_version", "argv"} <= set(
        body["system"]
    )
    device = body["devices"][0]
    numbers = {"vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    assert set(device) == {"name", "type", "index"} | numbers
    assert all(isinstance(device[name], int) for name in numbers)


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_idle_server_has_nothing_in_its_queue(comfyui: ComfyUI, prefix: str) -> None:
    assert comfyui.get(f"{prefix}/prompt").json() == {"exec_info": {"queue_remaining": 0}}
    assert comfyui.get(f"{prefix}/queue").json() == {"queue_running": [], "queue_pending": []}


def test_json_is_told_as_json(comfyui: ComfyUI) -> None:
    assert comfyui.get("/queue").headers["Content-Type"] == "application/json; charset=utf-8"


def test_features_are_told(comfyui: ComfyUI) -> None:
    assert comfyui.get("/features").json() == {"supports_preview_metadata": True, "max_upload_size": 104857600}


def test_embeddings_and_extensions_are_lists(comfyui: ComfyUI) -> None:
    assert comfyui.get("/embeddings").json() == []
    assert isinstance(comfyui.get("/extensions").json(), list)


def test_model_folders_can_be_listed(comfyui: ComfyUI) -> None:
    folders = comfyui.get("/models").json()
    assert {"checkpoints", "loras", "vae", "embeddings", "controlnet"} <= set(folders)
    assert isinstance(comfyui.get("/models/checkpoints").json(), list)
    assert comfyui.get("/models/loras").json() == []


@pytest.mark.parametrize(
    "path",
    [
        "/models/nope",
        "/view_metadata/checkpoints",
        "/view_metadata/checkpoints?filename=absent.safetensors",
        "/view_metadata/checkpoints?filename=absent.txt",
        "/nowhere",
        "/interrupt",
    ],
)
def test_what_is_not_there_is_404(comfyui: ComfyUI, path: str) -> None:
    response = comfyui.get(path)
    assert response.status_code == 404
    assert response.content == b""


def test_a_wrong_method_is_405(comfyui: ComfyUI) -> None:
    assert comfyui.session.delete(comfyui.url + "/queue", timeout=10).status_code == 405


def test_an_unknown_node_class_is_an_empty_object(comfyui: ComfyUI) -> None:
    response = comfyui.get("/object_info/NoSuchNode")
    assert (response.status_code, response.json()) == (200, {})


def test_an_unknown_prompt_is_an_empty_object(comfyui: ComfyUI) -> None:
    response = comfyui.get("/history/no-such-prompt")
    assert (response.status_code, response.json()) == (200, {})


@pytest.fixture(scope="module")
def object_info(comfyui: ComfyUI) -> dict[str, Any]:
    body: dict[str, Any] = comfyui.get("/object_info").json()
    return body


@pytest.mark.parametrize("name", [*MODEL_FREE, *TEXT_TO_IMAGE])
def test_a_node_class_is_described_in_the_same_shape(comfyui: ComfyUI, object_info: dict[str, Any], name: str) -> None:
    entry = object_info[name]
    assert comfyui.get(f"/object_info/{name}").json() == {name: entry}
    assert entry["name"] == name
    assert {group: list(inputs) for group, inputs in entry["input"].items()} == entry["input_order"]
    assert len(entry["output"]) == len(entry["output_is_list"]) == len(entry["output_name"])
    assert {"display_name", "description", "python_module", "category", "output_node"} <= set(entry)


def _without_help(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_help(inner) for name, inner in value.items() if name != "tooltip"}
    return [_without_help(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        (
            "EmptyImage",
            {
                "width": ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}],
                "height": ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}],
                "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
                "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}],
            },
            ["IMAGE"],
        ),
        ("SaveImage", {"images": ["IMAGE", {}], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}, []),
        (
            "ImageBlend",
            {
                "image1": ["IMAGE", {}],
                "image2": ["IMAGE", {}],
                "blend_factor": ["FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}],
                "blend_mode": [
                    "COMBO",
                    {
                        "multiselect": False,
                        "options": ["normal", "multiply", "screen", "overlay", "soft_light", "difference"],
                    },
                ],
            },
            ["IMAGE"],
        ),
        (
            "ImageScale",
            {
                "image": ["IMAGE"],
                "upscale_method": [["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]],
                "width": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
                "height": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
                "crop": [["disabled", "center"]],
            },
            ["IMAGE"],
        ),
        (
            "PrimitiveInt",
            {"value": ["INT", {"min": -(2**63) + 1, "max": 2**63 - 1, "control_after_generate": True}]},
            ["INT"],
        ),
        (
            "CLIPTextEncode",
            {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP", {}]},
            ["CONDITIONING"],
        ),
        ("VAEDecode", {"samples": ["LATENT", {}], "vae": ["VAE", {}]}, ["IMAGE"]),
    ],
)
def test_inputs_are_described_with_types_and_limits(
    object_info: dict[str, Any], name: str, inputs: dict[str, Any], outputs: list[str]
) -> None:
    assert _without_help(object_info[name]["input"]["required"]) == inputs
    assert object_info[name]["output"] == outputs
    assert object_info[name]["output_node"] is (name == "SaveImage")


def test_the_sampler_tells_its_inputs_in_order(object_info: dict[str, Any]) -> None:
    sampler = object_info["KSampler"]
    names = [
        "model",
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "positive",
        "negative",
        "latent_image",
        "denoise",
    ]
    assert sampler["input_order"] == {"required": names}
    assert sampler["input"]["required"]["seed"][1]["max"] == 2**64 - 1
    assert "euler" in sampler["input"]["required"]["sampler_name"][0]


def test_an_uploaded_file_is_among_the_choices_of_the_loader(comfyui: ComfyUI) -> None:
    comfyui.upload("choices-test.png", b"\x89PNG\r\n")
    spec = comfyui.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"]
    assert "choices-test.png" in spec[0]
    assert spec[1] == {"image_upload": True}


@pytest.mark.parametrize("path", ["/prompt", "/queue", "/history", "/free"])
@pytest.mark.parametrize("body", ["{broken", ""])
def test_a_body_that_is_no_json_is_500(comfyui: ComfyUI, path: str, body: str) -> None:
    response = comfyui.post(path, data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 500
    assert response.text == "500 Internal Server Error\n\nServer got itself in trouble"


@pytest.mark.parametrize("path", ["/queue", "/history", "/free", "/interrupt"])
def test_an_empty_object_is_taken_and_does_nothing(comfyui: ComfyUI, path: str) -> None:
    response = comfyui.post(path, json={})
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["/queue", "/history"])
def test_a_list_is_taken_and_does_nothing(comfyui: ComfyUI, path: str) -> None:
    assert comfyui.post(path, json=[1]).status_code == 200


def test_an_interrupt_needs_no_body(comfyui: ComfyUI) -> None:
    assert comfyui.post("/interrupt").status_code == 200
    assert comfyui.post("/interrupt", data="{broken").status_code == 200
    assert comfyui.post("/interrupt", json=[1]).status_code == 500


def test_a_page_of_another_site_is_refused(comfyui: ComfyUI) -> None:
    assert comfyui.get("/queue", headers={"Origin": "http://elsewhere.example"}).status_code == 403
    assert comfyui.get("/queue", headers={"Origin": comfyui.url}).status_code == 200
