"""``core/ASSET`` objects in a workflow, replaced by what the engine knows files by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from comfyone.gateway.dialects.comfy_v2.faults import Refusal

__all__ = ["References"]

ASSET = "core/ASSET"
MAX_REFERENCES = 1000


class References:
    """The references in a workflow. Its id alone says what one refers to; whatever else stands in it is a hint.

    Raises:
        Refusal: ``missing_asset`` for one that has no id, or when there are too many.
    """

    def __init__(self, workflow: Any) -> None:
        self._places = list(_places(workflow))
        if len(self._places) > MAX_REFERENCES:
            message = f"the workflow refers to {len(self._places):,} assets, at most {MAX_REFERENCES:,} are placed"
            raise Refusal(422, "missing_asset", message)
        self._ids = [_id_of(holder[place]) for holder, place in self._places]

    @property
    def ids(self) -> set[str]:
        return set(self._ids)

    def replace(self, paths: Mapping[str, str]) -> None:
        """Puts paths, by the assets' ids, where the references are.

        Raises:
            Refusal: ``missing_asset``, with the ids that have none.
        """
        if missing := sorted(self.ids - paths.keys()):
            raise _missing(f"the workflow refers to assets that are not there: {', '.join(missing)}", missing)
        for (holder, place), asset_id in zip(self._places, self._ids, strict=True):
            holder[place] = paths[asset_id]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where the references stand: what holds them, and the key or index there."""
    waiting = [value]
    for holder in waiting:  # which grows meanwhile: no depth is too deep
        items: Iterable[tuple[Any, Any]] = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for place, item in items:
            if isinstance(item, dict) and item.get("__type") == ASSET:
                yield holder, place
            elif isinstance(item, dict | list):
                waiting.append(item)


def _id_of(reference: Mapping[str, Any]) -> str:
    info = reference.get("info")
    asset_id = info.get("id") if isinstance(info, dict) else None
    if not isinstance(asset_id, str) or not asset_id:
        raise _missing("a reference to an asset has no info.id", [])
    return asset_id


def _missing(message: str, ids: list[str]) -> Refusal:
    return Refusal(422, "missing_asset", message, details={"missing_ids": ids})
