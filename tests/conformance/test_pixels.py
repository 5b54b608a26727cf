"""What the model-free nodes compute, against values worked out here."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageOps

from tests.conformance.client import ComfyUI
from tests.graphs import Graph, changed, empty, node, save

Rows = list[list[float]]
Color = tuple[int, ...]


def prefix() -> str:
    return uuid.uuid4().hex


def gray(rows: Sequence[Sequence[float]]) -> Image.Image:
    """A picture with these levels."""
    picture = Image.new("RGB", (len(rows[0]), len(rows)))
    for y, row in enumerate(rows):
        for x, level in enumerate(row):
            picture.putpixel((x, y), (round(level),) * 3)
    return picture


def levels(picture: Image.Image) -> Rows:
    """The levels of the red channel, row by row."""
    red = picture.convert("RGB").getchannel(0)
    return [[_number(red.getpixel((x, y))) for x in range(red.width)] for y in range(red.height)]


def _number(value: Any) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def color_at(picture: Image.Image, x: int = 0, y: int = 0) -> Color:
    got = picture.convert("RGB").getpixel((x, y))
    assert isinstance(got, tuple)
    return tuple(int(part) for part in got)


def near(got: Any, wanted: Any, tolerance: float = 1.0) -> bool:
    """Whether two numbers, colours or tables are equal within rounding."""
    if isinstance(wanted, (int, float)):
        return bool(abs(got - wanted) <= tolerance)
    return len(got) == len(wanted) and all(near(a, b, tolerance) for a, b in zip(got, wanted, strict=True))


RAMP: Rows = [[0, 40, 80, 120], [20, 60, 100, 140], [200, 160, 120, 80], [255, 215, 175, 135]]


def one(comfyui: ComfyUI, graph: Graph) -> Image.Image:
    [picture] = comfyui.pictures(graph)
    return picture


def through(comfyui: ComfyUI, picture: Image.Image, class_type: str, **inputs: Any) -> Image.Image:
    """Send a picture through one node."""
    return one(comfyui, changed(class_type, comfyui.upload_picture(picture), prefix(), **inputs))


def mask_of(comfyui: ComfyUI, picture: Image.Image, class_type: str, **inputs: Any) -> Rows:
    """Send the red channel of a picture as a mask through one node."""
    graph = {
        "1": node("LoadImageMask", image=comfyui.upload_picture(picture), channel="red"),
        "2": node(class_type, mask=["1", 0], **inputs),
        "3": node("MaskToImage", mask=["2", 0]),
        "4": save("3", prefix()),
    }
    return levels(one(comfyui, graph))


@pytest.mark.parametrize("color", [0x000000, 0xFFFFFF, 0x336699, 0x010203])
def test_empty_image_has_its_color(comfyui: ComfyUI, color: int) -> None:
    picture = one(comfyui, {"1": empty(color, 24, 16), "3": save("1", prefix())})
    assert picture.mode == "RGB"
    assert picture.size == (24, 16)
    assert near(color_at(picture, 23, 15), ((color >> 16) & 255, (color >> 8) & 255, color & 255))


def test_invert_subtracts_from_white(comfyui: ComfyUI) -> None:
    assert near(levels(through(comfyui, gray(RAMP), "ImageInvert")), [[255 - level for level in row] for row in RAMP])


def test_a_loaded_picture_is_saved_unchanged(comfyui: ComfyUI) -> None:
    picture = Image.radial_gradient("L").resize((40, 30)).convert("RGB")
    got = one(comfyui, {"1": node("LoadImage", image=comfyui.upload_picture(picture)), "3": save("1", prefix())})
    assert near(levels(got), levels(picture))


def test_a_turned_photograph_is_loaded_upright(comfyui: ComfyUI) -> None:
    picture = gray([[0, 255]])
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    name = f"{prefix()}.png"
    buffer = BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    comfyui.upload(name, buffer.getvalue())
    assert levels(one(comfyui, {"1": node("LoadImage", image=name), "3": save("1", prefix())})) == [[0], [255]]


def test_transparency_becomes_a_mask(comfyui: ComfyUI) -> None:
    name = comfyui.upload_picture(Image.new("RGBA", (8, 8), (10, 20, 30, 200)))
    graph = {"1": node("LoadImage", image=name), "2": node("MaskToImage", mask=["1", 1]), "3": save("2", prefix())}
    assert near(color_at(one(comfyui, graph)), (55, 55, 55))


def test_a_picture_without_transparency_has_an_empty_mask(comfyui: ComfyUI) -> None:
    name = comfyui.upload_picture(Image.new("RGB", (8, 8), "red"))
    graph = {"1": node("LoadImage", image=name), "2": node("MaskToImage", mask=["1", 1]), "3": save("2", prefix())}
    picture = one(comfyui, graph)
    assert picture.size == (64, 64)
    assert color_at(picture) == (0, 0, 0)


def test_an_animation_is_loaded_as_a_batch(comfyui: ComfyUI) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    name = comfyui.upload(f"{prefix()}.gif", buffer.getvalue())["name"]
    pictures = comfyui.pictures({"1": node("LoadImage", image=name), "3": save("1", prefix())})
    assert [color_at(picture) for picture in pictures] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_nearest_repeats_pixels(comfyui: ComfyUI) -> None:
    inputs = {"upscale_method": "nearest-exact", "width": 8, "height": 8, "crop": "disabled"}
    got = levels(through(comfyui, gray(RAMP), "ImageScale", **inputs))
    assert near(got, [[RAMP[y // 2][x // 2] for x in range(8)] for y in range(8)])


def _weighed(rows: Rows, size: int, taps: Callable[[float, int], list[tuple[int, float]]]) -> Rows:
    """Resample both axes to ``size`` with the weights that ``taps`` gives for a centre."""

    def lines(table: Rows) -> Rows:
        length = len(table)
        scale = length / size
        return [
            [
                sum(weight * table[at][column] for at, weight in taps((row + 0.5) * scale - 0.5, length))
                for column in range(len(table[0]))
            ]
            for row in range(size)
        ]

    turned = [list(row) for row in zip(*lines(rows), strict=True)]
    return [list(row) for row in zip(*lines(turned), strict=True)]


def _linear(centre: float, length: int) -> list[tuple[int, float]]:
    centre = max(centre, 0.0)
    low = min(math.floor(centre), length - 1)
    return [(low, 1 - (centre - low)), (min(low + 1, length - 1), centre - low)]


def _cubic(centre: float, length: int) -> list[tuple[int, float]]:
    def weight(x: float, a: float = -0.75) -> float:
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    low = math.floor(centre)
    return [(min(max(at, 0), length - 1), weight(abs(centre - at))) for at in range(low - 1, low + 3)]


@pytest.mark.parametrize(("method", "taps"), [("bilinear", _linear), ("bicubic", _cubic)])
@pytest.mark.parametrize("size", [3, 7])
def test_scaling_interpolates(comfyui: ComfyUI, method: str, taps: Any, size: int) -> None:
    inputs = {"upscale_method": method, "width": size, "height": size, "crop": "disabled"}
    got = levels(through(comfyui, gray(RAMP), "ImageScale", **inputs))
    wanted = [[min(max(level, 0), 255) for level in row] for row in _weighed(RAMP, size, taps)]
    assert near(got, wanted)


def test_area_averages(comfyui: ComfyUI) -> None:
    inputs = {"upscale_method": "area", "width": 2, "height": 2, "crop": "disabled"}
    got = levels(through(comfyui, gray(RAMP), "ImageScale", **inputs))
    assert near(got, [[30, 110], [207.5, 127.5]])


def test_lanczos_is_that_of_pillow(comfyui: ComfyUI) -> None:
    inputs = {"upscale_method": "lanczos", "width": 9, "height": 5, "crop": "disabled"}
    got = levels(through(comfyui, gray(RAMP), "ImageScale", **inputs))
    assert near(got, levels(gray(RAMP).resize((9, 5), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize(("width", "height", "wanted"), [(20, 0, (20, 10)), (0, 20, (40, 20)), (0, 0, (60, 30))])
def test_a_side_of_zero_keeps_the_proportions(
    comfyui: ComfyUI, width: int, height: int, wanted: tuple[int, int]
) -> None:
    inputs = {"upscale_method": "bilinear", "width": width, "height": height, "crop": "disabled"}
    assert through(comfyui, Image.new("RGB", (60, 30)), "ImageScale", **inputs).size == wanted


def test_center_cuts_the_sides_off(comfyui: ComfyUI) -> None:
    wide = gray([[0] * 4 + [100] * 8 + [0] * 4] * 8)
    inputs = {"upscale_method": "nearest-exact", "width": 8, "height": 8, "crop": "center"}
    assert near(levels(through(comfyui, wide, "ImageScale", **inputs)), [[100] * 8] * 8)


def test_scale_by_multiplies_both_sides(comfyui: ComfyUI) -> None:
    picture = through(comfyui, Image.new("RGB", (30, 20), "red"), "ImageScaleBy", upscale_method="area", scale_by=1.5)
    assert picture.size == (45, 30)
    assert color_at(picture, 44, 29) == (255, 0, 0)


def test_total_pixels_sets_the_area(comfyui: ComfyUI) -> None:
    source = Image.new("RGB", (40, 10), "red")
    picture = through(comfyui, source, "ImageScaleToTotalPixels", upscale_method="bilinear", megapixels=0.01)
    factor = math.sqrt(int(0.01 * 1024 * 1024) / 400)
    assert picture.size == (round(40 * factor), round(10 * factor))


def _soft(a: float, b: float) -> float:
    lifted = ((16 * a - 12) * a + 4) * a if a <= 0.25 else math.sqrt(a)
    return a - (1 - 2 * b) * a * (1 - a) if b <= 0.5 else a + (2 * b - 1) * (lifted - a)


BLENDS: dict[str, Callable[[float, float], float]] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: 1 - (1 - a) * (1 - b),
    "overlay": lambda a, b: 2 * a * b if a <= 0.5 else 1 - 2 * (1 - a) * (1 - b),
    "soft_light": _soft,
    "difference": lambda a, b: a - b,
}


@pytest.mark.parametrize("mode", BLENDS)
@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_blending_mixes_two_pictures(comfyui: ComfyUI, mode: str, factor: float) -> None:
    first, second = (0x20, 0x80, 0xE0), (0x90, 0x30, 0xB0)
    graph = {
        "1": empty(0x2080E0),
        "2": empty(0x9030B0),
        "3": node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=factor, blend_mode=mode),
        "4": save("3", prefix()),
    }
    wanted = []
    for a, b in zip((level / 255 for level in first), (level / 255 for level in second), strict=True):
        wanted.append(255 * min(max(a * (1 - factor) + BLENDS[mode](a, b) * factor, 0), 1))
    assert near(color_at(one(comfyui, graph)), wanted)


def test_blending_scales_the_second_picture(comfyui: ComfyUI) -> None:
    graph = {
        "1": empty(0x000000, 20, 10),
        "2": empty(0xC08040, 7, 7),
        "3": node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=0.5, blend_mode="normal"),
        "4": save("3", prefix()),
    }
    picture = one(comfyui, graph)
    assert picture.size == (20, 10)
    assert near(color_at(picture, 10, 5), (0x60, 0x40, 0x20))


def _gauss(radius: int, sigma: float) -> list[float]:
    weights = [math.exp(-((step / radius) ** 2) / (2 * sigma**2)) for step in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _blurred_dot(radius: int, sigma: float, side: int) -> Rows:
    """What a blur makes of a white pixel in the middle of a black picture."""
    weights, middle = _gauss(radius, sigma), side // 2

    def weight(at: int) -> float:
        step = at - middle + radius
        return weights[step] if 0 <= step < len(weights) else 0.0

    return [[255 * weight(y) * weight(x) for x in range(side)] for y in range(side)]


def _dot(side: int) -> Image.Image:
    picture = Image.new("RGB", (side, side))
    picture.putpixel((side // 2, side // 2), (255, 255, 255))
    return picture


@pytest.mark.parametrize(("radius", "sigma"), [(1, 0.5), (2, 1.0), (4, 0.4)])
def test_a_blur_spreads_a_dot(comfyui: ComfyUI, radius: int, sigma: float) -> None:
    got = levels(through(comfyui, _dot(11), "ImageBlur", blur_radius=radius, sigma=sigma))
    assert near(got, _blurred_dot(radius, sigma, 11))


def test_a_blur_mirrors_at_the_edge(comfyui: ComfyUI) -> None:
    got = levels(through(comfyui, gray([[255, 0, 0, 0]] * 4), "ImageBlur", blur_radius=1, sigma=1.0))
    side, middle, _ = _gauss(1, 1.0)
    assert near(got, [[255 * middle, 255 * side, 0, 0]] * 4)


def test_a_blur_larger_than_the_picture_fails(comfyui: ComfyUI) -> None:
    name = comfyui.upload_picture(Image.new("RGB", (8, 8)))
    _, entry = comfyui.run(changed("ImageBlur", name, prefix(), blur_radius=8, sigma=1.0))
    kind, told = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert "Padding size should be less than" in told["exception_message"]


def test_sharpening_adds_what_a_blur_takes(comfyui: ComfyUI) -> None:
    source = [[100.0] * 9 for _ in range(9)]
    source[4][4] = 140.0
    got = levels(through(comfyui, gray(source), "ImageSharpen", sharpen_radius=1, sigma=1.0, alpha=0.05))
    soft = _blurred_dot(1, 1.0, 9)
    wanted = [
        [level + 0.5 * (level - (100 + 40 * soft[y][x] / 255)) for x, level in enumerate(row)]
        for y, row in enumerate(source)
    ]
    assert near(got, wanted)


def test_a_crop_takes_a_part(comfyui: ComfyUI) -> None:
    got = through(comfyui, gray(RAMP), "ImageCrop", width=2, height=3, x=1, y=1)
    assert near(levels(got), [row[1:3] for row in RAMP[1:4]])


def test_a_crop_beyond_the_edge_is_smaller(comfyui: ComfyUI) -> None:
    got = through(comfyui, gray(RAMP), "ImageCrop", width=10, height=10, x=99, y=2)
    assert near(levels(got), [[RAMP[2][3]], [RAMP[3][3]]])


@pytest.mark.parametrize(
    ("class_type", "inputs", "turn"),
    [
        ("ImageFlip", {"flip_method": "x-axis: vertically"}, ImageOps.flip),
        ("ImageFlip", {"flip_method": "y-axis: horizontally"}, ImageOps.mirror),
        ("ImageRotate", {"rotation": "none"}, lambda picture: picture),
        ("ImageRotate", {"rotation": "90 degrees"}, lambda picture: picture.transpose(Image.Transpose.ROTATE_270)),
        ("ImageRotate", {"rotation": "180 degrees"}, lambda picture: picture.transpose(Image.Transpose.ROTATE_180)),
        ("ImageRotate", {"rotation": "270 degrees"}, lambda picture: picture.transpose(Image.Transpose.ROTATE_90)),
    ],
)
def test_flips_and_turns(comfyui: ComfyUI, class_type: str, inputs: dict[str, str], turn: Any) -> None:
    source = gray([[0, 50, 100], [150, 200, 250]])
    assert near(levels(through(comfyui, source, class_type, **inputs)), levels(turn(source)))


def test_padding_adds_gray_edges_and_a_mask(comfyui: ComfyUI) -> None:
    edges = {"left": 8, "top": 0, "right": 16, "bottom": 8}
    graph = {
        "1": empty(0xFF0000, 40, 30),
        "2": node("ImagePadForOutpaint", image=["1", 0], **edges, feathering=4),
        "3": save("2", prefix()),
        "4": node("MaskToImage", mask=["2", 1]),
        "5": save("4", prefix()),
    }
    _, entry = comfyui.run(graph)
    [padded], [mask] = ([comfyui.view(file) for file in entry["outputs"][key]["images"]] for key in ("3", "5"))
    assert padded.size == mask.size == (64, 38)
    assert near(color_at(padded, 0, 0), (127, 127, 127))
    assert color_at(padded, 8, 0) == (255, 0, 0)
    assert near(color_at(padded, 48, 0), (127, 127, 127))
    row = levels(mask)[10]
    fade = [255.0, 255 * 0.75**2, 255 * 0.5**2, 255 * 0.25**2, 0.0]
    assert near(row[7:13], [255.0, *fade])
    assert near(row[45:48], [255 * 0.25**2, 255 * 0.5**2, 255 * 0.75**2])
    assert near([line[20] for line in levels(mask)][:5], [0.0] * 5)


def test_a_batch_is_made_repeated_and_taken_apart(comfyui: ComfyUI) -> None:
    graph = {
        "1": empty(0xFF0000, 8),
        "2": empty(0x0000FF, 16, 8),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": node("RepeatImageBatch", image=["3", 0], amount=2),
        "5": node("ImageFromBatch", image=["4", 0], batch_index=1, length=2),
        "6": save("5", prefix()),
    }
    pictures = comfyui.pictures(graph)
    assert [picture.size for picture in pictures] == [(8, 8), (8, 8)]
    assert [color_at(picture) for picture in pictures] == [(0, 0, 255), (255, 0, 0)]


def test_the_size_of_a_picture_is_a_value(comfyui: ComfyUI) -> None:
    graph = {
        "1": empty(5, 24, 16, batch_size=2),
        "2": node("GetImageSize", image=["1", 0]),
        **{str(slot + 3): node("PreviewAny", source=["2", slot]) for slot in range(3)},
    }
    _, entry = comfyui.run(graph)
    assert [entry["outputs"][key]["text"] for key in ("3", "4", "5")] == [["24"], ["16"], ["2"]]


@pytest.mark.parametrize("masked", [False, True])
def test_a_picture_is_laid_over_another(comfyui: ComfyUI, masked: bool) -> None:
    mask = {"4": node("SolidMask", value=0.25, width=4, height=4)} if masked else {}
    graph = {
        "1": empty(0x000000, 8),
        "2": empty(0xFFFFFF, 4),
        **mask,
        "3": node(
            "ImageCompositeMasked",
            destination=["1", 0],
            source=["2", 0],
            x=6,
            y=2,
            resize_source=False,
            **({"mask": ["4", 0]} if masked else {}),
        ),
        "5": save("3", prefix()),
    }
    got = levels(one(comfyui, graph))
    bright = 63.75 if masked else 255
    assert near(got, [[bright if x >= 6 and 2 <= y < 6 else 0 for x in range(8)] for y in range(8)])


def test_a_color_becomes_a_mask(comfyui: ComfyUI) -> None:
    source = Image.new("RGB", (2, 1), (0x12, 0x34, 0x56))
    source.putpixel((1, 0), (0x12, 0x34, 0x57))
    graph = {
        "1": node("LoadImage", image=comfyui.upload_picture(source)),
        "2": node("ImageColorToMask", image=["1", 0], color=0x123456),
        "3": node("MaskToImage", mask=["2", 0]),
        "4": save("3", prefix()),
    }
    assert levels(one(comfyui, graph)) == [[255, 0]]


@pytest.mark.parametrize(("channel", "level"), [("red", 10), ("green", 20), ("blue", 30)])
def test_a_channel_becomes_a_mask(comfyui: ComfyUI, channel: str, level: int) -> None:
    name = comfyui.upload_picture(Image.new("RGBA", (4, 4), (10, 20, 30, 40)))
    graph = {
        "1": node("LoadImage", image=name),
        "2": node("ImageToMask", image=["1", 0], channel=channel),
        "3": node("MaskToImage", mask=["2", 0]),
        "4": save("3", prefix()),
        "5": node("LoadImageMask", image=name, channel=channel),
        "6": node("MaskToImage", mask=["5", 0]),
        "7": save("6", prefix()),
    }
    pictures = comfyui.pictures(graph)
    assert near([color_at(picture)[0] for picture in pictures], [level, level])


def test_the_alpha_channel_is_loaded_inverted(comfyui: ComfyUI) -> None:
    name = comfyui.upload_picture(Image.new("RGBA", (4, 4), (10, 20, 30, 40)))
    graph = {
        "1": node("LoadImageMask", image=name, channel="alpha"),
        "2": node("MaskPreview", mask=["1", 0]),
    }
    assert near(color_at(one(comfyui, graph)), (215, 215, 215))


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_solid_mask_has_its_value(comfyui: ComfyUI, value: float) -> None:
    graph = {
        "1": node("SolidMask", value=value, width=9, height=5),
        "2": node("MaskToImage", mask=["1", 0]),
        "3": save("2", prefix()),
    }
    picture = one(comfyui, graph)
    assert picture.size == (9, 5)
    assert near(color_at(picture)[0], 255 * value)


def test_a_mask_is_inverted_cropped_and_cut(comfyui: ComfyUI) -> None:
    source = gray(RAMP)
    assert near(mask_of(comfyui, source, "InvertMask"), [[255 - level for level in row] for row in RAMP])
    cropped = mask_of(comfyui, source, "CropMask", x=1, y=2, width=9, height=9)
    assert near(cropped, [row[1:] for row in RAMP[2:]])
    cut = mask_of(comfyui, source, "ThresholdMask", value=0.4)
    assert cut == [[255 if level > 102 else 0 for level in row] for row in RAMP]


@pytest.mark.parametrize("tapered", [True, False])
@pytest.mark.parametrize("expand", [1, -1])
def test_a_mask_grows_and_shrinks(comfyui: ComfyUI, expand: int, tapered: bool) -> None:
    inside, outside = (255, 0) if expand > 0 else (0, 255)
    source = [[float(outside)] * 5 for _ in range(5)]
    source[2][2] = float(inside)
    got = mask_of(comfyui, gray(source), "GrowMask", expand=expand, tapered_corners=tapered)

    def hit(x: int, y: int) -> bool:
        across, down = abs(x - 2), abs(y - 2)
        return across + down <= 1 if tapered else max(across, down) <= 1

    assert got == [[inside if hit(x, y) else outside for x in range(5)] for y in range(5)]


def test_a_mask_is_feathered(comfyui: ComfyUI) -> None:
    source = gray([[255] * 6] * 6)
    got = mask_of(comfyui, source, "FeatherMask", left=2, top=0, right=2, bottom=0)
    # On the right the first factor hits the first column: so the original does it.
    assert near(got, [[255 * 0.5 * 0.5, 255, 255, 255, 255, 255]] * 6)


OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "multiply": lambda a, b: a * b / 255,
    "add": lambda a, b: min(a + b, 255),
    "subtract": lambda a, b: max(a - b, 0),
    "and": lambda a, b: 255 if a > 127 and b > 127 else 0,
    "or": lambda a, b: 255 if a > 127 or b > 127 else 0,
    "xor": lambda a, b: 255 if (a > 127) != (b > 127) else 0,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_two_masks_are_combined(comfyui: ComfyUI, operation: str) -> None:
    other = [[60.0, 200.0], [240.0, 20.0]]
    names = [comfyui.upload_picture(gray(rows)) for rows in (RAMP, other)]
    graph = {
        "1": node("LoadImageMask", image=names[0], channel="red"),
        "2": node("LoadImageMask", image=names[1], channel="red"),
        "3": node("MaskComposite", destination=["1", 0], source=["2", 0], x=1, y=2, operation=operation),
        "4": node("MaskToImage", mask=["3", 0]),
        "5": save("4", prefix()),
    }
    wanted = [list(row) for row in RAMP]
    for y in range(2):
        for x in range(2):
            wanted[y + 2][x + 1] = OPERATIONS[operation](RAMP[y + 2][x + 1], other[y][x])
    assert near(levels(one(comfyui, graph)), wanted)


@pytest.mark.parametrize(
    ("class_type", "form", "more"),
    [
        ("SaveAnimatedWEBP", "WEBP", {"lossless": True, "quality": 80, "method": "default"}),
        ("SaveAnimatedPNG", "PNG", {"compress_level": 4}),
    ],
)
def test_an_animation_is_one_file_with_all_pictures(
    comfyui: ComfyUI, class_type: str, form: str, more: dict[str, Any]
) -> None:
    graph = {
        "1": empty(0xFF0000, 16),
        "2": empty(0x0000FF, 16),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": node(class_type, images=["3", 0], filename_prefix=prefix(), fps=4.0, **more),
    }
    _, entry = comfyui.run(graph)
    output = entry["outputs"]["4"]
    assert output["animated"] == [True]
    [file] = output["images"]
    assert file["filename"].endswith(f"_00001_.{form.lower()}")
    animation = comfyui.view(file)
    assert animation.format == form
    assert getattr(animation, "n_frames", 1) == 2
    for frame, wanted in enumerate([(255, 0, 0), (0, 0, 255)]):
        animation.seek(frame)
        assert color_at(animation) == wanted
        assert animation.info["duration"] == 250


@pytest.mark.parametrize(
    ("class_type", "value", "text"),
    [
        ("PrimitiveString", "a text", "a text"),
        ("PrimitiveStringMultiline", "two\nlines", "two\nlines"),
        ("PrimitiveInt", 2**53 + 1, str(2**53 + 1)),
        ("PrimitiveFloat", 1, "1.0"),
        ("PrimitiveBoolean", 1, "True"),
    ],
)
def test_a_primitive_passes_its_value_on(comfyui: ComfyUI, class_type: str, value: Any, text: str) -> None:
    _, entry = comfyui.run({"1": node(class_type, value=value), "2": node("PreviewAny", source=["1", 0])})
    assert entry["outputs"]["2"] == {"text": [text]}


def test_texts_are_joined(comfyui: ComfyUI) -> None:
    join = node("StringConcatenate", string_a="left", string_b=["9", 0], delimiter=" + ")
    graph = {"9": node("PrimitiveString", value="right"), "1": join, "2": node("TestText", text=["1", 0])}
    _, entry = comfyui.run(graph)
    assert entry["outputs"]["2"] == {"text": ["left + right"]}


def test_a_number_can_be_linked_into_an_input(comfyui: ComfyUI) -> None:
    graph = {
        "1": node("PrimitiveInt", value=24),
        "2": node("EmptyImage", width=["1", 0], height=16, batch_size=1, color=0),
        "3": save("2", prefix()),
    }
    assert one(comfyui, graph).size == (24, 16)
