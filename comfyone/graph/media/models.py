"""What holds JSON of its own: safetensors (also ``.latent``), GLB and SVG."""

from __future__ import annotations

import json
import re
from typing import Any

from comfyone.graph.media.source import MAX_TEXT, Source, Texts

__all__ = ["glb_texts", "is_safetensors", "safetensors_texts", "svg_texts"]

_SPACE = re.compile(rb"\s*")
_CDATA = b"<![CDATA["


def is_safetensors(source: Source) -> bool:
    """Whether it begins with the length of a header in JSON; there is no other mark."""
    if source.size < 10:
        return False
    (length,) = source.unpack("<Q", 0)
    return 2 <= length <= min(source.size - 8, MAX_TEXT) and source.read(8, 1) == b"{"


def safetensors_texts(source: Source) -> Texts:
    (length,) = source.unpack("<Q", 0)
    header = _object(source.read(8, length))
    yield from _texts(header.get("__metadata__"))


def glb_texts(source: Source) -> Texts:
    length, kind = source.unpack("<I4s", 12)
    scene = _object(source.read(20, length)) if kind == b"JSON" else {}
    asset = scene.get("asset")
    yield from _texts(asset.get("extras") if isinstance(asset, dict) else None)


def svg_texts(source: Source) -> Texts:
    yield from _texts(_object(_character_data(source.start(MAX_TEXT))))


def _character_data(data: bytes) -> bytes:
    """What stands in ``<metadata><![CDATA[…]]></metadata>``. Each byte is looked at once, however often that begins."""
    at = 0
    while (at := data.find(b"<metadata", at)) >= 0 and (at := data.find(b">", at) + 1) > 0:
        at = _after_space(data, at)
        if data.startswith(_CDATA, at):
            return _up_to_end(data, at + len(_CDATA))
    return b""


def _up_to_end(data: bytes, begin: int) -> bytes:
    end = begin
    while (end := data.find(b"]]>", end)) >= 0:
        if data.startswith(b"</metadata>", _after_space(data, end + 3)):
            return data[begin:end]
        end += 3
    return b""


def _after_space(data: bytes, at: int) -> int:
    found = _SPACE.match(data, at)
    return found.end() if found else at


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _texts(kept: Any) -> Texts:
    for name, value in kept.items() if isinstance(kept, dict) else ():
        yield (
            str(name).encode(errors="replace"),
            (value if isinstance(value, str) else json.dumps(value)).encode(errors="replace"),
        )
