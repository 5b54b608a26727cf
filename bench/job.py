"""The small job that figures are about: a picture of one colour, inverted and saved. No model, a millisecond of work."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError

from bench import load
from comfyone import (
    IOType,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from comfyone.api.calls import new_idempotency_key

__all__ = ["TINY", "colors", "requests_for", "shows", "tiny"]


def tiny(color: int, prefix: str = "bench") -> dict[str, Any]:
    """EmptyImage, ImageInvert, SaveImage: a colour of its own keeps every node from being cached."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


TINY = WorkflowPayload(
    name="tiny",
    inputs=WorkflowInputPayload(inputs=[WorkflowInput(id="1", type=IOType.NUMBER, name="color")]),
    outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="3")]),
    workflow=tiny(0),
)


def colors(count: int) -> list[int]:
    """So many different colours, in no order."""
    return random.sample(range(0x1000000), count)


def requests_for(key: str, count: int) -> Iterator[bytes]:
    """Submissions of the stored workflow `TINY` as the SDK sends them, an idempotency key with each."""
    for color in colors(count):
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": new_idempotency_key()}
        yield load.post(
            "/v1/prompts", json.dumps({"workflow_id": "tiny", "inputs": {"color": color}}).encode(), headers
        )


def shows(picture: bytes, color: int) -> bool:
    """Whether this is the job's picture: every pixel the inverse of ``color``, give or take how it is rounded."""
    try:
        found = Image.open(BytesIO(picture)).convert("RGB")
    except UnidentifiedImageError:
        return False
    wanted = [255 - (color >> shift & 0xFF) for shift in (16, 8, 0)]
    bounds = [band.getextrema() for band in found.split()]
    return all(abs(bound - want) <= 1 for pair, want in zip(bounds, wanted, strict=True) for bound in pair)  # type: ignore[operator]
