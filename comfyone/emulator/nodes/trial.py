"""Nodes for tests: they take time, report, fail and speak."""

from __future__ import annotations

from functools import partial
from typing import Any

from PIL import Image

from comfyone.emulator.nodes.image import IMAGE
from comfyone.emulator.pixels import Batch
from comfyone.emulator.registry import Registry, Run, Shown, integer, number

REGISTRY = Registry()
TESTS: dict[str, Any] = {"category": "tests", "module": "custom_nodes.waiting"}


@REGISTRY.node(
    "TestSteps",
    {
        "image": IMAGE,
        "steps": integer(5, 1, 10000, None),
        "seconds": number(0.0, 0.0, 60.0),
        "preview": ("BOOLEAN", {"default": False}),
    },
    ["IMAGE"],
    **TESTS,
)
async def steps(run: Run, image: Batch, steps: int, seconds: float, preview: bool) -> tuple[Batch]:
    for step in range(1, steps + 1):
        await run.pause(seconds)
        shade = 255 * step // steps
        draw = partial(Image.new, "RGB", (64, 64), (shade, shade, shade)) if preview else None
        await run.progress(step, steps, draw)
    return (image,)


@REGISTRY.node("TestFail", {"image": IMAGE, "message": ("STRING", {"default": "no reason"})}, ["IMAGE"], **TESTS)
def fail(run: Run, image: Batch, message: str) -> tuple[Batch]:
    raise ValueError(message)


@REGISTRY.node(
    "TestText", {"text": ("STRING", {"default": "", "multiline": True})}, ["STRING"], is_output=True, **TESTS
)
def text(run: Run, text: str) -> Shown:
    return Shown({"text": [text]}, (text,))


@REGISTRY.node("TestSleep", {"image": IMAGE, "seconds": number(1.0, 0.0, 3600.0)}, ["IMAGE"], **TESTS)
async def sleep(run: Run, image: Batch, seconds: float) -> tuple[Batch]:
    await run.pause(seconds)
    return (image,)
