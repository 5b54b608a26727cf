"""Nodes that a real ComfyUI loads for our tests: they take time, report, fail and speak without any model.

The emulator has nodes of the same names, inputs and effects, so that one suite of tests serves both.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import comfy.model_management  # type: ignore[import-not-found]
import comfy.utils  # type: ignore[import-not-found]
from PIL import Image

Result = dict[str, Any] | tuple[Any, ...]
CATEGORY = "tests"


class TestSteps:
    """Passes an image on after ``steps`` steps, with a progress bar and, if wanted, a preview of each step."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the server's name)
        return {
            "required": {
                "image": ("IMAGE",),
                "steps": ("INT", {"default": 5, "min": 1, "max": 10000}),
                "seconds": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 60.0, "step": 0.01}),
                "preview": ("BOOLEAN", {"default": False}),
            }
        }

    def run(self, image: Any, steps: int, seconds: float, preview: bool) -> Result:
        bar = comfy.utils.ProgressBar(steps)
        for step in range(1, steps + 1):
            time.sleep(seconds)
            shade = 255 * step // steps
            picture = ("JPEG", Image.new("RGB", (64, 64), (shade, shade, shade)), None) if preview else None
            bar.update_absolute(step, steps, picture)
        return (image,)


class TestFail:
    """Raises ``ValueError`` with the given message."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the server's name)
        return {"required": {"image": ("IMAGE",), "message": ("STRING", {"default": "no reason"})}}

    def run(self, image: Any, message: str) -> Result:
        raise ValueError(message)


class TestText:
    """Shows a text as its output, and passes it on."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES: ClassVar = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the server's name)
        return {"required": {"text": ("STRING", {"default": "", "multiline": True})}}

    def run(self, text: str) -> Result:
        return {"ui": {"text": [text]}, "result": (text,)}


class TestSleep:
    """Passes an image on after some seconds of silence; it can be interrupted."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the server's name)
        return {
            "required": {
                "image": ("IMAGE",),
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0, "step": 0.01}),
            }
        }

    def run(self, image: Any, seconds: float) -> Result:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(min(0.01, left))
        return (image,)


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (TestSteps, TestFail, TestText, TestSleep)}
