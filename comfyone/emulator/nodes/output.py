"""Nodes that save pictures and show values."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from PIL.PngImagePlugin import PngInfo

from comfyone.emulator.files import Place
from comfyone.emulator.nodes.image import IMAGE, IMAGES_MODULE
from comfyone.emulator.pixels import Batch
from comfyone.emulator.registry import SAVING, Registry, Run, Shown, choice, integer, number

REGISTRY = Registry()
PREFIX = ("STRING", {"default": "ComfyUI"})
SHOWING: dict[str, Any] = {"is_output": True, "hidden": SAVING}
ANIMATION: dict[str, Any] = {"category": "image/animation", "module": IMAGES_MODULE, **SHOWING}


def _metadata(run: Run) -> dict[str, str]:
    """Name to JSON: the prompt, and what the caller wants to be kept with a picture."""
    return {name: json.dumps(value) for name, value in {"prompt": run.prompt, **(run.extra_pnginfo or {})}.items()}


def _place(run: Run, kind: str, prefix: str, images: Batch) -> Place:
    return run.files.place(kind, prefix, *images[0].size)


def _entry(place: Place, name: str, kind: str) -> dict[str, str]:
    return {"filename": name, "subfolder": place.subfolder, "type": kind}


def _save(run: Run, kind: str, prefix: str, images: Batch, compress_level: int) -> Shown:
    place = _place(run, kind, prefix, images)
    kept = PngInfo()
    for name, text in _metadata(run).items():
        kept.add_text(name, text)
    paths = [place.file(index, "png") for index in range(len(images))]
    for picture, path in zip(images, paths, strict=True):
        buffer = BytesIO()
        picture.save(buffer, "PNG", pnginfo=kept, compress_level=compress_level)
        path.write_bytes(buffer.getbuffer())
    run.files.wrote(place, len(images))
    return Shown({"images": [_entry(place, path.name, kind) for path in paths]})


@REGISTRY.node(
    "SaveImage",
    {"images": ("IMAGE", {}), "filename_prefix": PREFIX},
    category="image",
    display_name="Save Image",
    **SHOWING,
)
def save_image(run: Run, images: Batch, filename_prefix: str) -> Shown:
    return _save(run, "output", filename_prefix, images, 4)


@REGISTRY.node("PreviewImage", {"images": IMAGE}, category="image", display_name="Preview Image", **SHOWING)
def preview_image(run: Run, images: Batch) -> Shown:
    return _save(run, "temp", f"ComfyUI{run.preview_prefix}", images, 1)


@REGISTRY.node("MaskPreview", {"mask": ("MASK",)}, category="mask", module="comfy_extras.nodes_mask", **SHOWING)
def preview_mask(run: Run, mask: Batch) -> Shown:
    return _save(run, "temp", f"ComfyUI{run.preview_prefix}", [one.convert("RGB") for one in mask], 4)


METHODS = {"default": 4, "fastest": 0, "slowest": 6}


@REGISTRY.node(
    "SaveAnimatedWEBP",
    {
        "images": IMAGE,
        "filename_prefix": PREFIX,
        "fps": number(6.0, 0.01, 1000.0),
        "lossless": ("BOOLEAN", {"default": True}),
        "quality": integer(80, 0, 100, None),
        "method": choice(*METHODS),
    },
    **ANIMATION,
)
def save_webp(
    run: Run, images: Batch, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str
) -> Shown:
    exif = images[0].getexif()
    for tag, (name, text) in zip((0x0110, *range(0x010F, 0, -1)), _metadata(run).items(), strict=False):
        exif[tag] = f"{name}:{text}"
    options: dict[str, Any] = {"lossless": lossless, "quality": quality, "method": METHODS[method], "exif": exif}
    return _animate(run, images, filename_prefix, fps, "webp", options)


@REGISTRY.node(
    "SaveAnimatedPNG",
    {
        "images": IMAGE,
        "filename_prefix": PREFIX,
        "fps": number(6.0, 0.01, 1000.0),
        "compress_level": integer(4, 0, 9, None),
    },
    **ANIMATION,
)
def save_png(run: Run, images: Batch, filename_prefix: str, fps: float, compress_level: int) -> Shown:
    kept = PngInfo()
    for name, text in _metadata(run).items():
        kept.add(b"comf", name.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    return _animate(run, images, filename_prefix, fps, "png", {"pnginfo": kept, "compress_level": compress_level})


def _animate(run: Run, images: Batch, prefix: str, fps: float, extension: str, options: dict[str, Any]) -> Shown:
    place = _place(run, "output", prefix, images)
    path = place.file(0, extension)
    images[0].save(path, save_all=True, append_images=images[1:], duration=int(1000 / fps), **options)
    run.files.wrote(place, 1)
    animated = extension == "png" or len(images) != 1
    return Shown({"images": [_entry(place, path.name, "output")], "animated": [animated]})


@REGISTRY.node(
    "PreviewAny",
    {"source": ("*", {})},
    category="utils",
    display_name="Preview as Text",
    module="comfy_extras.nodes_preview_any",
    is_output=True,
)
def preview_any(run: Run, source: Any) -> Shown:
    if isinstance(source, (str, int, float)):
        return Shown({"text": [str(source)]})
    try:
        text = "None" if source is None else json.dumps(source, indent=4)
    except TypeError:
        text = str(source)
    return Shown({"text": [text]})
