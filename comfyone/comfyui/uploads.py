"""What can be uploaded: paths, bytes, open files, and pictures in memory."""

from __future__ import annotations

import os
import uuid
from io import BytesIO
from typing import BinaryIO, TypeAlias

from PIL import Image

from comfyone.transport.call import Upload

__all__ = ["Source", "upload_of"]

Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image


def upload_of(source: Source, name: str | None = None) -> Upload:
    """A file to send. A picture in memory travels as PNG, and needs no name.

    Raises:
        FileNotFoundError: The path names no file.
        ValidationError: The source is nothing that can be sent, or bytes came without a name.
    """
    if not isinstance(source, Image.Image):
        return Upload.of(source, name)
    buffer = BytesIO()
    source.save(buffer, "PNG", compress_level=1)
    return Upload.of(buffer.getvalue(), name or f"{uuid.uuid4().hex}.png")
