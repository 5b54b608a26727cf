"""Nodes that make and change masks."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops, ImageOps

from comfyone.emulator import pixels
from comfyone.emulator.nodes.image import COLOR, IMAGE, LOADING, offset, rgb, side
from comfyone.emulator.pixels import Batch
from comfyone.emulator.registry import MAX_RESOLUTION, Registry, Run, choice, integer, number

REGISTRY = Registry()
MASK = ("MASK",)
MODULE = "comfy_extras.nodes_mask"
IN_MASKS: dict[str, Any] = {"category": "mask", "module": MODULE}


@REGISTRY.node(
    "LoadImageMask",
    {
        "image": (lambda files: files.inputs(), {"image_upload": True}),
        "channel": choice("alpha", "red", "green", "blue"),
    },
    ["MASK"],
    category="mask",
    display_name="Load Image (as Mask)",
    **LOADING,
)
def load_mask(run: Run, image: str, channel: str) -> tuple[Batch]:
    with Image.open(run.files.input_path(image)) as opened:
        turned = ImageOps.exif_transpose(opened)
        picture = turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned
        band = picture.convert("RGBA").getchannel(channel[0].upper())
    return ([ImageChops.invert(band) if channel == "alpha" else band],)


@REGISTRY.node("MaskToImage", {"mask": MASK}, ["IMAGE"], display_name="Convert Mask to Image", **IN_MASKS)
def to_image(run: Run, mask: Batch) -> tuple[Batch]:
    return ([one.convert("RGB") for one in mask],)


@REGISTRY.node(
    "ImageToMask",
    {"image": IMAGE, "channel": choice("red", "green", "blue", "alpha")},
    ["MASK"],
    display_name="Convert Image to Mask",
    **IN_MASKS,
)
def from_image(run: Run, image: Batch, channel: str) -> tuple[Batch]:
    position = ("red", "green", "blue", "alpha").index(channel)
    if position == 3:
        raise IndexError("index 3 is out of bounds for dimension 3 with size 3")
    return ([picture.getchannel(position) for picture in image],)


@REGISTRY.node("ImageColorToMask", {"image": IMAGE, "color": COLOR}, ["MASK"], **IN_MASKS)
def from_color(run: Run, image: Batch, color: int) -> tuple[Batch]:
    return ([_equal(picture, rgb(color)) for picture in image],)


def _equal(picture: Image.Image, color: tuple[int, ...]) -> Image.Image:
    mask = Image.new("L", picture.size, 255)
    for band, level in zip(picture.split(), color, strict=True):
        mask = ImageChops.darker(mask, band.point([255 if value == level else 0 for value in range(256)]))
    return mask


@REGISTRY.node("SolidMask", {"value": number(1.0, 0.0, 1.0), "width": side(1), "height": side(1)}, ["MASK"], **IN_MASKS)
def solid(run: Run, value: float, width: int, height: int) -> tuple[Batch]:
    return ([Image.new("L", (width, height), int(value * 255) if value == value else 0)],)


@REGISTRY.node("InvertMask", {"mask": MASK}, ["MASK"], **IN_MASKS)
def invert(run: Run, mask: Batch) -> tuple[Batch]:
    return ([ImageChops.invert(one) for one in mask],)


@REGISTRY.node(
    "CropMask", {"mask": MASK, "x": offset(), "y": offset(), "width": side(1), "height": side(1)}, ["MASK"], **IN_MASKS
)
def crop(run: Run, mask: Batch, x: int, y: int, width: int, height: int) -> tuple[Batch]:
    old_width, old_height = mask[0].size
    box = (min(x, old_width), min(y, old_height), min(x + width, old_width), min(y + height, old_height))
    return ([one.crop(box) for one in mask],)


OPERATIONS = {
    "multiply": lambda a, b: ImageChops.multiply(a, b),
    "add": lambda a, b: ImageChops.add(a, b),
    "subtract": lambda a, b: ImageChops.subtract(a, b),
    "and": lambda a, b: ImageChops.darker(_binary(a), _binary(b)),
    "or": lambda a, b: ImageChops.lighter(_binary(a), _binary(b)),
    "xor": lambda a, b: ImageChops.difference(_binary(a), _binary(b)),
}


def _binary(mask: Image.Image) -> Image.Image:
    return mask.point([255 if value > 127 else 0 for value in range(256)])


@REGISTRY.node(
    "MaskComposite",
    {"destination": MASK, "source": MASK, "x": offset(), "y": offset(), "operation": choice(*OPERATIONS)},
    ["MASK"],
    **IN_MASKS,
)
def composite(run: Run, destination: Batch, source: Batch, x: int, y: int, operation: str) -> tuple[Batch]:
    results = []
    for index, canvas in enumerate(destination):
        other = source[index % len(source)]
        box = (x, y, min(x + other.width, canvas.width), min(y + other.height, canvas.height))
        result = canvas.copy()
        if box[2] > x and box[3] > y:
            part = other.crop((0, 0, box[2] - x, box[3] - y))
            result.paste(OPERATIONS[operation](canvas.crop(box), part), (x, y))
        results.append(result)
    return (results,)


@REGISTRY.node(
    "ThresholdMask",
    {"mask": MASK, "value": number(0.5, 0.0, 1.0)},
    ["MASK"],
    **IN_MASKS,
)
def threshold(run: Run, mask: Batch, value: float) -> tuple[Batch]:
    table = [255 if level / 255 > value else 0 for level in range(256)]
    return ([one.point(table) for one in mask],)


@REGISTRY.node(
    "GrowMask",
    {
        "mask": MASK,
        "expand": integer(0, -MAX_RESOLUTION, MAX_RESOLUTION),
        "tapered_corners": ("BOOLEAN", {"default": True}),
    },
    ["MASK"],
    **IN_MASKS,
)
def grow(run: Run, mask: Batch, expand: int, tapered_corners: bool) -> tuple[Batch]:
    return ([pixels.grow(one, expand, tapered_corners) for one in mask],)


@REGISTRY.node(
    "FeatherMask",
    {"mask": MASK, **{edge: offset() for edge in ("left", "top", "right", "bottom")}},
    ["MASK"],
    **IN_MASKS,
)
def feather(run: Run, mask: Batch, left: int, top: int, right: int, bottom: int) -> tuple[Batch]:
    width, height = mask[0].size
    columns, rows = _ramps(width, left, right), _ramps(height, top, bottom)
    return ([pixels.scale_lines(one, columns, rows) for one in mask],)


def _ramps(length: int, before: int, after: int) -> list[float]:
    factors = [1.0] * length
    before, after = min(before, length), min(after, length)
    for step in range(before):
        factors[step] *= (step + 1) / before
    for step in range(after):
        factors[-step] *= (step + 1) / after  # step 0 hits the first line: so does the original
    return factors
