"""What a history entry of ComfyUI says about results. Pure, and tolerant of nodes that report something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["extract_output_images", "output_files"]


def extract_output_images(history_entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pictures of an entry, each as ``{"node_id", "filename", "subfolder", "type"}``, in the order of its nodes.

    The last three are what `ComfyUIClient.get_image` takes.
    """
    return [
        {name: value for name, value in file.items() if name != "kind"}
        for file in output_files(history_entry)
        if file["kind"] == "images"
    ]


def output_files(history_entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """All files of an entry, whatever a node calls them (``images``, ``gifs``, ``audio``, …), with that name as ``kind``."""
    return list(_files(history_entry))


def _files(entry: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for node_id, kind, items in _lists(entry):
        for item in items:
            if isinstance(item, dict) and isinstance(item.get("filename"), str) and item["filename"]:
                yield {
                    "node_id": node_id,
                    "kind": kind,
                    "filename": item["filename"],
                    "subfolder": str(item.get("subfolder") or ""),
                    "type": str(item.get("type") or "output"),
                }


def _lists(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    outputs = entry.get("outputs")
    for node_id, output in outputs.items() if isinstance(outputs, dict) else ():
        for kind, items in output.items() if isinstance(output, dict) else ():
            if isinstance(items, list):
                yield str(node_id), str(kind), items
