"""Arithmetic on pictures with Pillow alone: resampling, blurring and blending as a float tensor would do them.

A picture travels between nodes as a batch, a list of 8-bit images of one size: ``RGB`` for images, ``L`` for masks.
Inside this module a band is one channel as 32-bit floats from 0 to 255.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageChops, ImageMath

Batch = list[Image.Image]
Taps = list[list[tuple[int, float]]]
"""For each row of a result: which rows of the source go into it, and with what weight."""

RESAMPLINGS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")


def per_band(expression: Callable[..., Any], *images: Image.Image) -> Image.Image:
    """Evaluate ``expression`` on each channel of images of one size; values run from 0 to 255 and are cut to that."""
    channels = zip(*(image.split() for image in images), strict=True)
    bands = [_to_bytes(evaluate(expression, *(band.convert("F") for band in same))) for same in channels]
    return Image.merge(images[0].mode, bands)


def evaluate(expression: Callable[..., Any], *bands: Image.Image) -> Image.Image:
    """Evaluate ``expression`` with bands as its arguments."""
    named = {f"band{index}": band for index, band in enumerate(bands)}
    result: Image.Image = ImageMath.lambda_eval(lambda given: expression(*(given[name] for name in named)), **named)
    return result.convert("F")


def _to_bytes(band: Image.Image) -> Image.Image:
    # Fractions are cut off as the original does when it saves; the small addition undoes the float's own error.
    return evaluate(lambda value: value + 0.002, band).convert("L")


def resize(image: Image.Image, width: int, height: int, method: str, crop: str = "disabled") -> Image.Image:
    """Scale to a size in pixels.

    Args:
        image: ``RGB`` or ``L``.
        width: Of the result.
        height: Of the result.
        method: One of ``RESAMPLINGS``.
        crop: ``center`` cuts the sides off first so that the proportions stay, ``disabled`` distorts.
    """
    if crop == "center":
        image = _crop_to_aspect(image, width / height)
    if method == "lanczos":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    columns = _scaling_taps(method, image.width, width)
    rows = _scaling_taps(method, image.height, height)
    return Image.merge(image.mode, [_resample(band, columns, rows) for band in image.split()])


def _crop_to_aspect(image: Image.Image, aspect: float) -> Image.Image:
    width, height = image.size
    left = top = 0
    if width / height > aspect:
        left = round((width - height * aspect) / 2)
    elif width / height < aspect:
        top = round((height - width / aspect) / 2)
    return image.crop((left, top, width - left, height - top))


def blur(image: Image.Image, radius: int, sigma: float) -> Image.Image:
    """Blur with a Gaussian window of ``2 * radius + 1`` pixels; ``sigma`` counts in radii, edges are mirrored."""
    columns, rows = _blur_taps(image.width, radius, sigma), _blur_taps(image.height, radius, sigma)
    return Image.merge(image.mode, [_resample(band, columns, rows) for band in image.split()])


def sharpen(image: Image.Image, radius: int, sigma: float, alpha: float) -> Image.Image:
    """Add ten times ``alpha`` times what a blur takes away."""
    columns, rows = _blur_taps(image.width, radius, sigma), _blur_taps(image.height, radius, sigma)
    strength = 10 * alpha
    bands = []
    for band in image.split():
        sharp = band.convert("F")
        soft = _resample_float(sharp, columns, rows)
        bands.append(_to_bytes(evaluate(lambda a, b: a + strength * (a - b), sharp, soft)))
    return Image.merge(image.mode, bands)


def _resample(band: Image.Image, columns: Taps, rows: Taps) -> Image.Image:
    return _to_bytes(_resample_float(band.convert("F"), columns, rows))


def _resample_float(band: Image.Image, columns: Taps, rows: Taps) -> Image.Image:
    turned = _weigh_rows(band, rows).transpose(Image.Transpose.TRANSPOSE)
    return _weigh_rows(turned, columns).transpose(Image.Transpose.TRANSPOSE)


def _weigh_rows(band: Image.Image, taps: Taps) -> Image.Image:
    """Sum weighted rows: one gathered picture and one picture of weights for each position in the taps."""
    data, stride, size = band.tobytes(), band.width * 4, (band.width, len(taps))
    total = Image.new("F", size)
    for position in range(max(map(len, taps))):
        chosen = [row[position] if position < len(row) else (0, 0.0) for row in taps]
        gathered = Image.frombytes("F", size, b"".join(data[row * stride : (row + 1) * stride] for row, _ in chosen))
        column = Image.frombytes("F", (1, len(taps)), array("f", [weight for _, weight in chosen]).tobytes())
        weights = column.resize(size, Image.Resampling.NEAREST)
        total = evaluate(lambda a, b, c: a + b * c, total, gathered, weights)
    return total


def _scaling_taps(method: str, source: int, target: int) -> Taps:
    scale = source / target
    if method == "nearest-exact":
        return [[(min(int((row + 0.5) * scale), source - 1), 1.0)] for row in range(target)]
    if method == "area":
        return [_area(row * source // target, -(-(row + 1) * source // target)) for row in range(target)]
    kernel = _bilinear if method == "bilinear" else _bicubic
    return [kernel((row + 0.5) * scale - 0.5, source) for row in range(target)]


def _area(start: int, end: int) -> list[tuple[int, float]]:
    return [(row, 1 / (end - start)) for row in range(start, end)]


def _bilinear(centre: float, source: int) -> list[tuple[int, float]]:
    centre = max(centre, 0.0)
    first = min(int(centre), source - 1)
    share = centre - first
    return [(first, 1 - share), (min(first + 1, source - 1), share)]


def _bicubic(centre: float, source: int) -> list[tuple[int, float]]:
    first = math.floor(centre)
    rows = range(first - 1, first + 3)
    return [(min(max(row, 0), source - 1), _cubic(abs(centre - row))) for row in rows]


def _cubic(distance: float, a: float = -0.75) -> float:
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    return a * (((distance - 5) * distance + 8) * distance - 4) if distance < 2 else 0.0


def _blur_taps(size: int, radius: int, sigma: float) -> Taps:
    if radius >= size:
        raise ValueError(f"Padding size should be less than the image: a radius of {radius} needs more than {size}")
    weights = [math.exp(-((step / radius) ** 2) / (2 * sigma**2)) for step in range(-radius, radius + 1)]
    scaled = [weight / sum(weights) for weight in weights]
    return [
        [(_mirrored(row + step - radius, size), weight) for step, weight in enumerate(scaled)] for row in range(size)
    ]


def _mirrored(row: int, size: int) -> int:
    row = abs(row)
    return row if row < size else 2 * (size - 1) - row


def _where(condition: Any, then: Any, otherwise: Any) -> Any:
    return condition * then + (condition * -1 + 1) * otherwise


def _soft_light(a: Any, b: Any) -> Any:
    lifted = _where(a <= 0.25, ((a * 16 - 12) * a + 4) * a, a**0.5)
    return _where(b <= 0.5, a - (b * -2 + 1) * a * (a * -1 + 1), a + (b * 2 - 1) * (lifted - a))


BLENDS: dict[str, Callable[[Any, Any], Any]] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: (a * -1 + 1) * (b * -1 + 1) * -1 + 1,
    "overlay": lambda a, b: _where(a <= 0.5, a * b * 2, (a * -1 + 1) * (b * -1 + 1) * -2 + 1),
    "soft_light": _soft_light,
    "difference": lambda a, b: a - b,
}


def blend(first: Image.Image, second: Image.Image, factor: float, mode: str) -> Image.Image:
    """Mix ``factor`` of the blended pictures into the first; both have one size."""
    mixing = BLENDS[mode]

    def expression(a: Any, b: Any) -> Any:
        a, b = a / 255.0, b / 255.0
        return (a * (1 - factor) + mixing(a, b) * factor) * 255.0

    return per_band(expression, first, second)


def scale_lines(mask: Image.Image, columns: Sequence[float], rows: Sequence[float]) -> Image.Image:
    """Multiply each column and each row of a mask by a factor of its own."""
    across = Image.frombytes("F", (mask.width, 1), array("f", columns).tobytes())
    down = Image.frombytes("F", (1, mask.height), array("f", rows).tobytes())
    spread = [band.resize(mask.size, Image.Resampling.NEAREST) for band in (across, down)]
    return _to_bytes(evaluate(lambda a, b, c: a * b * c, mask.convert("F"), *spread))


def grow(mask: Image.Image, pixels: int, tapered: bool) -> Image.Image:
    """Widen what is bright by some pixels, or shrink it when negative; ``tapered`` leaves the corners out."""
    choose = ImageChops.lighter if pixels > 0 else ImageChops.darker
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    steps += [] if tapered else [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    for _ in range(abs(pixels)):
        result = mask
        for step in steps:
            shifted = mask.copy()
            shifted.paste(mask, step)
            result = choose(result, shifted)
        mask = result
    return mask
