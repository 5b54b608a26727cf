"""What ``/view`` and the uploads do with pictures: previews, single channels, masks."""

from __future__ import annotations

import mimetypes
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

PREVIEW_FORMATS = ("webp", "jpeg")
NEVER_SHOWN = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}


def preview(path: Path, wanted: str, channel: str) -> tuple[bytes, str]:
    """A smaller form of a picture and its content type; ``wanted`` is a format, maybe with a quality: ``webp;90``."""
    parts = wanted.split(";")
    form = parts[0] if parts[0] in PREVIEW_FORMATS and "a" not in channel else "webp"
    quality = int(parts[-1]) if parts[-1].isdigit() else 90
    with Image.open(path) as opened:
        picture = opened.convert("RGB") if form == "jpeg" or channel == "rgb" else opened
        return _encoded(picture, form, quality=quality), f"image/{form}"


def colors(path: Path) -> bytes:
    """A picture without its alpha channel, as PNG."""
    with Image.open(path) as opened:
        return _encoded(opened.convert("RGB"), "PNG")


def alpha(path: Path) -> bytes:
    """The alpha channel of a picture over black, as PNG."""
    with Image.open(path) as opened:
        band = opened.getchannel("A") if opened.mode == "RGBA" else Image.new("L", opened.size, 255)
    picture = Image.new("RGBA", band.size)
    picture.putalpha(band)
    return _encoded(picture, "PNG")


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def content_type(name: str) -> str:
    """The content type that a file is served with; what a browser would run is only offered for download."""
    guess = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return "application/octet-stream" if guess in NEVER_SHOWN else guess


def put_alpha(original: Path, mask: IO[bytes], target: Path) -> None:
    """Save ``original`` with the alpha channel of ``mask`` to ``target``; its texts stay."""
    with Image.open(original) as opened, Image.open(mask) as cover:
        kept = PngInfo()
        for name, text in getattr(opened, "text", {}).items():
            kept.add_text(name, text)
        picture = opened.convert("RGBA")
        picture.putalpha(cover.convert("RGBA").getchannel("A"))
    picture.save(target, compress_level=4, pnginfo=kept)
