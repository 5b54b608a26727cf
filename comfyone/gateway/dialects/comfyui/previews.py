"""What a job made, in short: how much it is, and what to show of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec

__all__ = ["Gist", "gist_of"]

MAX_TEXT = 1024
"""Characters of a text that are shown."""

_SHOWABLE = frozenset({"images", "video", "audio", "3d", "text"})
_MODELS = frozenset({".obj", ".fbx", ".gltf", ".glb", ".usdz"})
_TEXTS = frozenset({".txt", ".md", ".json"})


@dataclass(frozen=True, slots=True)
class Gist:
    """``count`` counts files and records, ``showable`` those of them that ComfyUI's page can show; ``preview`` is the one to
    show for all."""

    count: int
    showable: int
    preview: Mapping[str, Any] | None


class _Item(NamedTuple):
    node_id: str
    key: str
    value: Any

    @property
    def suffix(self) -> str:
        return PurePosixPath(_text(self.value.get("filename"))).suffix.lower()

    @property
    def showable(self) -> bool:
        known = self.key in _SHOWABLE or self.suffix in _MODELS | _TEXTS
        return known or _text(self.value.get("format")).startswith(("video/", "audio/"))

    @property
    def rank(self) -> int:
        """What is kept goes before what is not, and a text is only shown where there is nothing to look at."""
        if not isinstance(self.value, dict):
            return 3
        if self.key == "text" or self.suffix in _TEXTS:
            return 2
        return 0 if self.value.get("type") == "output" else 1

    @property
    def shown(self) -> dict[str, Any]:
        where = {"nodeId": self.node_id, "mediaType": self.key}
        if isinstance(self.value, dict):
            return {"mediaType": self.key, **self.value, "nodeId": self.node_id}
        text = str(self.value)
        return {"content": text[:MAX_TEXT], **where, **({"truncated": True} if len(text) > MAX_TEXT else {})}


def gist_of(outputs: Mapping[str, Mapping[str, Any]]) -> Gist:
    """Of outputs as the history has them: by node, and by the server's word for them."""
    items = list(_items(outputs))
    records = [item for item in items if isinstance(item.value, dict)]
    showable = [item for item in records if item.showable]
    texts = [item for item in items if item.key == "text" and not isinstance(item.value, dict)]
    best = min([*showable, *texts], key=lambda item: item.rank, default=None)  # the first of the best
    return Gist(len(records), len(showable), best.shown if best else None)


def _items(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[_Item]:
    for node_id, output in outputs.items():
        for key, values in output.items():
            if key != "animated" and isinstance(values, list):
                for value in values:
                    item = _Item(node_id, key, msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value)
                    if item.value is not None:
                        yield item


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
