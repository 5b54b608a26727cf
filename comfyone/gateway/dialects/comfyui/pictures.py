"""Pictures in the form in which they are asked for: smaller, a channel alone, or with another's alpha."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyone.gateway.domain.files import Content

__all__ = ["alpha_of", "colours_of", "drawn", "masked", "preview_of"]

T = TypeVar("T")

MAX_PIXELS = 64 * 1024 * 1024
"""Pixels of a picture that is worked on; a larger one is given as it is."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read: other formats have readers that call programs of this machine (EPS), or that hardly anybody has looked at."""

AT_ONCE = 2
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

Drawn = tuple[bytes, str]
"""A picture and its media type."""


async def drawn(draw: Callable[[], Drawn | None]) -> Drawn | None:
    """Draws beside the event loop, few at a time. None when it is no picture that can be worked on."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)):
        return await asyncio.to_thread(draw)


def preview_of(content: Content, wish: str, channel: str) -> Drawn | None:
    """As ``webp;90`` asks for: format and quality. Only WebP and JPEG there are, and only WebP has alpha."""
    words = wish.split(";")
    form = words[0] if words[0] in ("webp", "jpeg") and "a" not in channel else "webp"
    quality = min(int(words[-1][:3]), 100) if words[-1].isascii() and words[-1].isdigit() else 90
    with_alpha = form == "webp" and channel != "rgb"

    def save(image: Image.Image) -> Drawn:
        buffer = BytesIO()
        (image if with_alpha else image.convert("RGB")).save(buffer, form, quality=quality)
        return buffer.getvalue(), f"image/{form}"

    return _opened(content, save)


def colours_of(content: Content) -> Drawn | None:
    """A picture without its alpha."""
    return _opened(content, lambda image: _png(image.convert("RGB")))


def alpha_of(content: Content) -> Drawn | None:
    """The alpha of a picture, on black."""

    def save(image: Image.Image) -> Drawn:
        alpha = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, 255)
        drawing = Image.new("RGBA", image.size)
        drawing.putalpha(alpha)
        return _png(drawing)

    return _opened(content, save)


def masked(original: Content, mask: Content) -> Drawn | None:
    """A picture with the alpha of another, and with the texts that it held."""

    def save(image: Image.Image) -> Drawn | None:
        texts = PngInfo()
        for key, text in getattr(image, "text", {}).items():
            texts.add_text(key, text)
        painted = image.convert("RGBA")

        def put(other: Image.Image) -> Drawn | None:
            alpha = other.convert("RGBA").getchannel("A")
            if alpha.size != painted.size:
                return None
            painted.putalpha(alpha)
            return _png(painted, texts)

        return _opened(mask, put)

    return _opened(original, save)


def _png(image: Image.Image, texts: PngInfo | None = None) -> Drawn:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=4, pnginfo=texts)
    return buffer.getvalue(), "image/png"


def _opened(content: Content, use: Callable[[Image.Image], T]) -> T | None:
    try:
        with Image.open(BytesIO(content) if isinstance(content, bytes) else Path(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return use(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # no picture, or a broken one
        return None
