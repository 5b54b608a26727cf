"""Nodes that make, load and change pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops, ImageOps, ImageSequence

from comfyone.emulator import pixels
from comfyone.emulator.files import Files
from comfyone.emulator.pixels import Batch
from comfyone.emulator.registry import MAX_RESOLUTION, Registry, Run, Spec, choice, combo, integer, number

REGISTRY = Registry()
IMAGE = ("IMAGE",)
MODERN_IMAGE: Spec = ("IMAGE", {})
POST_PROCESSING: dict[str, Any] = {"category": "image/postprocessing", "display_name": None, "modern": True}
POST_PROCESSING_MODULE = "comfy_extras.nodes_post_processing"
IMAGES_MODULE = "comfy_extras.nodes_images"
COLOR = integer(0, 0, 0xFFFFFF, display="color")


def side(least: int) -> tuple[Any, ...]:
    """A width or a height in pixels."""
    return integer(512, least, MAX_RESOLUTION)


def offset(step: int = 1) -> tuple[Any, ...]:
    """A distance in pixels."""
    return integer(0, 0, MAX_RESOLUTION, step)


def rgb(color: int) -> tuple[int, int, int]:
    """The three channels of a colour such as 0x336699."""
    return (color >> 16) & 0xFF, (color >> 8) & 0xFF, color & 0xFF


def image_exists(files: Files, name: Any) -> bool | str:
    """The check of nodes that load a file: True, or what is wrong."""
    if not isinstance(name, str):
        raise AttributeError(f"'{type(name).__name__}' object has no attribute 'endswith'")
    return True if files.input_path(name).exists() else f"Invalid image file: {name}"


def file_hash(files: Files, inputs: Mapping[str, Any]) -> str:
    """The hash of the file that a node loads."""
    return hashlib.sha256(files.input_path(str(inputs.get("image"))).read_bytes()).hexdigest()


LOADING: dict[str, Any] = {"fingerprint": file_hash, "check": image_exists, "checked": "image"}
IMAGE_CHOICE = (lambda files: files.inputs(images_only=True), {"image_upload": True})


@REGISTRY.node(
    "EmptyImage",
    {"width": side(1), "height": side(1), "batch_size": integer(1, 1, 4096, None), "color": COLOR},
    ["IMAGE"],
    category="image",
)
def empty_image(run: Run, width: int, height: int, batch_size: int, color: int) -> tuple[Batch]:
    return ([Image.new("RGB", (width, height), rgb(color))] * batch_size,)


@REGISTRY.node(
    "LoadImage", {"image": IMAGE_CHOICE}, ["IMAGE", "MASK"], category="image", display_name="Load Image", **LOADING
)
def load_image(run: Run, image: str) -> tuple[Batch, Batch]:
    with Image.open(run.files.input_path(image)) as opened:
        frames = [_upright(frame) for frame in ImageSequence.Iterator(opened)]
        single = opened.format == "MPO"
    kept = [frame for frame in frames if frame.size == frames[0].size][: 1 if single else None]
    return [frame.convert("RGB") for frame in kept], [_transparency(frame) for frame in kept]


def _upright(frame: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(frame)
    return turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned


def _transparency(frame: Image.Image) -> Image.Image:
    if "A" in frame.getbands():
        return ImageChops.invert(frame.getchannel("A"))
    if frame.mode == "P" and "transparency" in frame.info:
        return ImageChops.invert(frame.convert("RGBA").getchannel("A"))
    return Image.new("L", (64, 64), 0)


@REGISTRY.node("ImageInvert", {"image": IMAGE}, ["IMAGE"], category="image", display_name="Invert Image")
def invert(run: Run, image: Batch) -> tuple[Batch]:
    return ([ImageChops.invert(picture) for picture in image],)


@REGISTRY.node(
    "ImageScale",
    {
        "image": IMAGE,
        "upscale_method": choice(*pixels.RESAMPLINGS),
        "width": side(0),
        "height": side(0),
        "crop": choice("disabled", "center"),
    },
    ["IMAGE"],
    category="image/upscaling",
    display_name="Upscale Image",
)
def scale(run: Run, image: Batch, upscale_method: str, width: int, height: int, crop: str) -> tuple[Batch]:
    if not width and not height:
        return (image,)
    old_width, old_height = image[0].size
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return ([pixels.resize(picture, width, height, upscale_method, crop) for picture in image],)


@REGISTRY.node(
    "ImageScaleBy",
    {"image": IMAGE, "upscale_method": choice(*pixels.RESAMPLINGS), "scale_by": number(1.0, 0.01, 8.0)},
    ["IMAGE"],
    category="image/upscaling",
    display_name="Upscale Image By",
)
def scale_by(run: Run, image: Batch, upscale_method: str, scale_by: float) -> tuple[Batch]:
    return _scaled_by(image, upscale_method, scale_by)


def _scaled_by(image: Batch, method: str, factor: float) -> tuple[Batch]:
    width, height = (round(length * factor) for length in image[0].size)
    return ([pixels.resize(picture, width, height, method) for picture in image],)


@REGISTRY.node(
    "ImageScaleToTotalPixels",
    {"image": MODERN_IMAGE, "upscale_method": combo(*pixels.RESAMPLINGS), "megapixels": number(1.0, 0.01, 16.0)},
    ["IMAGE"],
    category="image/upscaling",
    display_name=None,
    modern=True,
    module=POST_PROCESSING_MODULE,
)
def scale_to_pixels(run: Run, image: Batch, upscale_method: str, megapixels: float) -> tuple[Batch]:
    old_width, old_height = image[0].size
    factor = math.sqrt(int(megapixels * 1024 * 1024) / (old_width * old_height))
    return _scaled_by(image, upscale_method, factor)


@REGISTRY.node(
    "ImageBlend",
    {
        "image1": MODERN_IMAGE,
        "image2": MODERN_IMAGE,
        "blend_factor": number(0.5, 0.0, 1.0),
        "blend_mode": combo(*pixels.BLENDS),
    },
    ["IMAGE"],
    module=POST_PROCESSING_MODULE,
    **POST_PROCESSING,
)
def blend(run: Run, image1: Batch, image2: Batch, blend_factor: float, blend_mode: str) -> tuple[Batch]:
    if blend_mode not in pixels.BLENDS:
        raise ValueError(f"Unsupported blend mode: {blend_mode}")
    width, height = image1[0].size
    if image2[0].size != (width, height):
        image2 = [pixels.resize(picture, width, height, "bicubic", "center") for picture in image2]
    pairs = zip(*_same_length(image1, image2), strict=True)
    return ([pixels.blend(first, second, blend_factor, blend_mode) for first, second in pairs],)


def _same_length(first: Batch, second: Batch) -> tuple[Batch, Batch]:
    longest = max(len(first), len(second))
    return first * (longest // len(first)), second * (longest // len(second))


@REGISTRY.node(
    "ImageBlur",
    {"image": MODERN_IMAGE, "blur_radius": integer(1, 1, 31), "sigma": number(1.0, 0.1, 10.0, 0.1)},
    ["IMAGE"],
    module=POST_PROCESSING_MODULE,
    **POST_PROCESSING,
)
def blur(run: Run, image: Batch, blur_radius: int, sigma: float) -> tuple[Batch]:
    return ([pixels.blur(picture, blur_radius, sigma) for picture in image],)


@REGISTRY.node(
    "ImageSharpen",
    {
        "image": MODERN_IMAGE,
        "sharpen_radius": integer(1, 1, 31),
        "sigma": number(1.0, 0.1, 10.0),
        "alpha": number(1.0, 0.0, 5.0),
    },
    ["IMAGE"],
    module=POST_PROCESSING_MODULE,
    **POST_PROCESSING,
)
def sharpen(run: Run, image: Batch, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Batch]:
    return ([pixels.sharpen(picture, sharpen_radius, sigma, alpha) for picture in image],)


@REGISTRY.node(
    "ImageCrop",
    {"image": IMAGE, "width": side(1), "height": side(1), "x": offset(), "y": offset()},
    ["IMAGE"],
    category="image/transform",
    display_name="Image Crop",
    module=IMAGES_MODULE,
)
def crop(run: Run, image: Batch, width: int, height: int, x: int, y: int) -> tuple[Batch]:
    old_width, old_height = image[0].size
    x, y = min(x, old_width - 1), min(y, old_height - 1)
    box = (x, y, min(x + width, old_width), min(y + height, old_height))
    return ([picture.crop(box) for picture in image],)


@REGISTRY.node(
    "ImagePadForOutpaint",
    {
        "image": IMAGE,
        **{edge: offset(8) for edge in ("left", "top", "right", "bottom")},
        "feathering": integer(40, 0, MAX_RESOLUTION),
    },
    ["IMAGE", "MASK"],
    category="image",
    display_name="Pad Image for Outpainting",
)
def pad(run: Run, image: Batch, left: int, top: int, right: int, bottom: int, feathering: int) -> tuple[Batch, Batch]:
    width, height = image[0].size
    size = (width + left + right, height + top + bottom)
    padded = [Image.new("RGB", size, (127, 127, 127)) for _ in image]
    for canvas, picture in zip(padded, image, strict=True):
        canvas.paste(picture, (left, top))
    inner = Image.new("L", (width, height), 0)
    if 0 < feathering * 2 < min(width, height):
        across, down = _fade(width, left, right, feathering), _fade(height, top, bottom, feathering)
        spread = [Image.frombytes("L", (width, 1), across), Image.frombytes("L", (1, height), down)]
        inner = ImageChops.lighter(*(line.resize(inner.size, Image.Resampling.NEAREST) for line in spread))
    mask = Image.new("L", size, 255)
    mask.paste(inner, (left, top))
    return padded, [mask]


def _fade(length: int, before: int, after: int, feathering: int) -> bytes:
    """How much the mask covers at each position of one axis: full at a padded edge, none beyond the feathering."""
    near = [min(at if before else length, length - at if after else length) for at in range(length)]
    return bytes(int(255 * (max(feathering - distance, 0) / feathering) ** 2) for distance in near)


@REGISTRY.node(
    "ImageBatch", {"image1": IMAGE, "image2": IMAGE}, ["IMAGE"], category="image", display_name="Batch Images"
)
def batch(run: Run, image1: Batch, image2: Batch) -> tuple[Batch]:
    width, height = image1[0].size
    if image2[0].size != (width, height):
        image2 = [pixels.resize(picture, width, height, "bilinear", "center") for picture in image2]
    return (image1 + image2,)


@REGISTRY.node(
    "RepeatImageBatch",
    {"image": IMAGE, "amount": integer(1, 1, 4096, None)},
    ["IMAGE"],
    category="image/batch",
    module=IMAGES_MODULE,
)
def repeat(run: Run, image: Batch, amount: int) -> tuple[Batch]:
    return (image * amount,)


@REGISTRY.node(
    "ImageFromBatch",
    {"image": IMAGE, "batch_index": integer(0, 0, 4095, None), "length": integer(1, 1, 4096, None)},
    ["IMAGE"],
    category="image/batch",
    module=IMAGES_MODULE,
)
def from_batch(run: Run, image: Batch, batch_index: int, length: int) -> tuple[Batch]:
    first = min(len(image) - 1, batch_index)
    return (image[first : first + length],)


@REGISTRY.node(
    "ImageCompositeMasked",
    {
        "destination": IMAGE,
        "source": IMAGE,
        "x": offset(),
        "y": offset(),
        "resize_source": ("BOOLEAN", {"default": False}),
    },
    ["IMAGE"],
    category="image",
    module="comfy_extras.nodes_mask",
    optional={"mask": ("MASK",)},
)
def composite(
    run: Run, destination: Batch, source: Batch, x: int, y: int, resize_source: bool, mask: Batch | None = None
) -> tuple[Batch]:
    if resize_source:
        source = [pixels.resize(picture, *destination[0].size, "bilinear") for picture in source]
    masks = [pixels.resize(one, *source[0].size, "bilinear") for one in mask] if mask else [None]
    results = []
    for index, canvas in enumerate(destination):
        result = canvas.copy()
        result.paste(source[index % len(source)], (x, y), masks[index % len(masks)])
        results.append(result)
    return (results,)


@REGISTRY.node(
    "ImageFlip",
    {"image": IMAGE, "flip_method": choice("x-axis: vertically", "y-axis: horizontally")},
    ["IMAGE"],
    category="image/transform",
    module=IMAGES_MODULE,
)
def flip(run: Run, image: Batch, flip_method: str) -> tuple[Batch]:
    turn = ImageOps.flip if flip_method.startswith("x") else ImageOps.mirror
    return ([turn(picture) for picture in image],)


@REGISTRY.node(
    "ImageRotate",
    {"image": IMAGE, "rotation": choice("none", "90 degrees", "180 degrees", "270 degrees")},
    ["IMAGE"],
    category="image/transform",
    module=IMAGES_MODULE,
)
def rotate(run: Run, image: Batch, rotation: str) -> tuple[Batch]:
    clockwise = {"90": Image.Transpose.ROTATE_270, "180": Image.Transpose.ROTATE_180, "270": Image.Transpose.ROTATE_90}
    turn = clockwise.get(rotation.split()[0])
    return (image if turn is None else [picture.transpose(turn) for picture in image],)


@REGISTRY.node(
    "GetImageSize",
    {"image": IMAGE},
    ["INT", "INT", "INT"],
    category="image",
    display_name="Get Image Size",
    module=IMAGES_MODULE,
    hidden={"unique_id": "UNIQUE_ID"},
    output_names=("width", "height", "batch_size"),
)
def image_size(run: Run, image: Batch) -> tuple[int, int, int]:
    width, height = image[0].size
    run.say(f"width: {width}, height: {height}\n batch size: {len(image)}")
    return width, height, len(image)
