"""What the server wrote into its files is read back from them."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.graph.metadata import read_metadata
from tests.conformance.client import ComfyUI
from tests.graphs import Graph, empty, node, save

WORKFLOW = {"nodes": [{"id": 1, "type": "Größe"}], "links": [], "version": 0.4}
ANIMATION: dict[str, Any] = {"images": ["1", 0], "filename_prefix": "kept", "fps": 6.0}
LAST = {
    "png": [("SaveImage", save("1", "kept"))],
    "animated png": [("SaveAnimatedPNG", node("SaveAnimatedPNG", **ANIMATION, compress_level=4))],
    "webp": [("SaveAnimatedWEBP", node("SaveAnimatedWEBP", **ANIMATION, lossless=True, quality=80, method="default"))],
    "webm": [("SaveWEBM", node("SaveWEBM", **ANIMATION, codec="vp9", crf=32.0))],
    "mp4": [
        ("CreateVideo", node("CreateVideo", images=["1", 0], fps=6.0)),
        ("SaveVideo", node("SaveVideo", video=["2", 0], filename_prefix="kept", format="auto", codec="auto")),
    ],
}
"""What is saved, by the nodes that it takes; the first of them is node 2."""


@pytest.mark.parametrize("kind", LAST)
def test_a_file_gives_back_what_made_it(comfyui: ComfyUI, kind: str) -> None:
    for class_type, _ in LAST[kind]:
        if not comfyui.get(f"/object_info/{class_type}").json():
            pytest.skip(f"this server has no {class_type}")
    graph: Graph = {"1": empty(width=64, batch_size=2)}
    graph |= {str(number): last for number, (_, last) in enumerate(LAST[kind], start=2)}
    _, entry = comfyui.run(graph, extra_data={"extra_pnginfo": {"workflow": WORKFLOW}})
    assert entry["status"]["status_str"] == "success", entry["status"]
    file = next(each for held in entry["outputs"].values() for each in held["images"])
    found = read_metadata(comfyui.get("/view", params=file).content)
    assert found.prompt == graph
    assert found.workflow == WORKFLOW
