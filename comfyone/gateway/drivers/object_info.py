"""Reading the answer to ``GET /object_info``: megabytes, which servers of one kind give in nearly the same words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from comfyone.gateway.domain.catalogue import Catalogue, catalogue_of
from comfyone.gateway.domain.node_info import ClassInfo
from comfyone.gateway.drivers.reading import read_json

__all__ = ["Shelf"]

_classes = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Shelf:
    """Keeps what servers say of a class once, however many say it, and as long as any of them does."""

    def __init__(self) -> None:
        self._kept: WeakValueDictionary[bytes, ClassInfo] = WeakValueDictionary()

    def read(self, body: bytes) -> Catalogue | None:
        """What a server can do; None when that is no such answer."""
        told = _read(body)
        if told is None:
            return None
        classes, written = told
        return catalogue_of(classes, {name: self._one(raw) for name, raw in written.items()})

    def _one(self, raw: bytes) -> ClassInfo:
        key = hashlib.sha256(raw).digest()
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = ClassInfo(raw)
        return kept


def _read(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, bytes]] | None:
    """The classes, and each of them as it was written, or as JSON can say it where that was none."""
    try:
        told = msgspec.json.decode(body)
        raw = {name: bytes(part) for name, part in _classes.decode(body).items()} if isinstance(told, dict) else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = read_json(body)
        raw = {name: msgspec.json.encode(info) for name, info in told.items()} if isinstance(told, dict) else {}
    return (told, raw) if isinstance(told, dict) else None
