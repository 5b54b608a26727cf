"""Small pictures, and what is in them."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

__all__ = ["large_png", "opened", "picture", "png"]


def picture(color: tuple[int, int, int] = (200, 100, 50), size: int = 16) -> Image.Image:
    """A picture that is not symmetric: one colour, and a black corner."""
    image = Image.new("RGB", (size, size), color)
    image.paste((0, 0, 0), (0, 0, size // 4, size // 4))
    return image


def png(color: tuple[int, int, int] = (200, 100, 50), size: int = 16) -> bytes:
    buffer = BytesIO()
    picture(color, size).save(buffer, format="PNG")
    return buffer.getvalue()


def large_png(color: tuple[int, int, int] = (200, 100, 50)) -> bytes:
    """One whose bytes are too many for the gateway's database."""
    buffer = BytesIO()
    Image.new("RGB", (96, 96), color).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    """The picture in these bytes, as RGB."""
    return Image.open(BytesIO(content)).convert("RGB")
