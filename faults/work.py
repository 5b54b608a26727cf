"""The jobs: graphs whose pictures follow from the job alone, and what those pictures must be.

What is expected is computed here with Pillow; nothing is shared with the sandboxes or the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any

from PIL import Image, ImageChops

__all__ = ["PICTURES", "WORKFLOW", "Work", "deal_work", "png", "uploaded"]

PICTURES = 4
"""How many pictures each tenant uploads."""

SIDE = 96
"""Width and height of an uploaded picture."""

KINDS = {"tiny": 50, "pair": 10, "steps": 12, "sleep": 8, "crop": 15, "failing": 5}
"""Each kind of job, and how many of a hundred are of it."""

WORKFLOW: dict[str, Any] = {
    "name": "crop",
    "inputs": [
        {"id": "1", "type": "image", "name": "image"},
        *({"id": "2", "type": "number", "name": name} for name in ("x", "y", "width", "height")),
    ],
    "outputs": ["3"],
    "workflow": {
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageCrop", "inputs": {"image": ["1", 0], "x": 0, "y": 0, "width": 8, "height": 8}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "cropped"}},
    },
}
"""Stored by every tenant: the part of an uploaded picture."""


@dataclass(frozen=True, slots=True)
class Work:
    """One job and what its client does with it. Times are seconds; ``at`` counts from the start."""

    number: int
    tenant: int
    kind: str
    at: float
    color: int
    width: int
    height: int
    seconds: float = 0.0
    picture: int = 0
    x: int = 0
    y: int = 0
    priority: int = 0
    cancel_after: float | None = None
    again_after: float | None = None
    """When the same submission is sent once more, though it was answered."""
    impatient: bool = False
    """The client hangs up on its first try before it can have heard the answer."""
    followed: bool = False
    """The client waits for the end with long polls."""

    def request(self, pictures: Mapping[int, str]) -> tuple[str, dict[str, Any]]:
        """Path and body of the submission; ``pictures`` are the paths of the uploads."""
        if self.kind == "crop":
            box = {"x": self.x, "y": self.y, "width": self.width, "height": self.height}
            inputs = {"image": pictures[self.picture], **box}
            return "/v1/prompts", {"workflow_id": "crop", "inputs": inputs, "priority": self.priority}
        return "/v1/prompts_workflow", {"workflow": self._graph(), "outputs": ["3"], "priority": self.priority}

    @property
    def message(self) -> str:
        """With what a failing one fails."""
        return f"job {self.number} fails on purpose"

    def expected(self) -> list[Image.Image]:
        """The pictures that a success must have brought; none where it must not succeed."""
        if self.kind == "failing":
            return []
        if self.kind == "crop":
            box = (self.x, self.y, self.x + self.width, self.y + self.height)
            return [uploaded(self.tenant, self.picture).crop(box)]
        color = (self.color >> 16, self.color >> 8 & 255, self.color & 255)
        plain = Image.new("RGB", (self.width, self.height), color)
        if self.kind == "pair":
            return [ImageChops.invert(plain)] * 2
        return [ImageChops.invert(plain) if self.kind == "tiny" else plain]

    def _graph(self) -> dict[str, Any]:
        middle: dict[str, tuple[str, dict[str, Any]]] = {
            "tiny": ("ImageInvert", {}),
            "pair": ("ImageInvert", {}),
            "steps": ("TestSteps", {"steps": 10, "seconds": round(self.seconds / 10, 3), "preview": True}),
            "sleep": ("TestSleep", {"seconds": self.seconds}),
            "failing": ("TestFail", {"message": self.message}),
        }
        name, inputs = middle[self.kind]
        empty = {
            "width": self.width,
            "height": self.height,
            "batch_size": 2 if self.kind == "pair" else 1,
            "color": self.color,
        }
        return {
            "1": {"class_type": "EmptyImage", "inputs": empty},
            "2": {"class_type": name, "inputs": {"image": ["1", 0], **inputs}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": self.kind}},
        }


def deal_work(random: Random, jobs: int, seconds: float, tenants: int, *, long: bool) -> list[Work]:
    """All jobs of a run in the order in which they are submitted, no two alike; ``long`` mixes in some of 15 to 20 s."""
    moments = sorted(random.uniform(0, seconds) for _ in range(jobs))
    return [_work(random, number, at, tenants, long=long) for number, at in enumerate(moments)]


def _work(random: Random, number: int, at: float, tenants: int, *, long: bool) -> Work:
    (kind,) = random.choices(list(KINDS), list(KINDS.values()))
    is_long = long and kind == "sleep" and random.random() < 0.06
    return Work(
        number=number,
        tenant=random.randrange(tenants),
        kind=kind,
        at=round(at, 3),
        color=number * 7919 % 0xFFFFFF,
        width=random.randint(8, 40),
        height=random.randint(8, 40),
        seconds=round(random.uniform(15, 20) if is_long else random.uniform(0.05, 1.0), 2),
        picture=random.randrange(PICTURES),
        x=random.randint(0, 50),
        y=random.randint(0, 50),
        priority=random.choice((0, 0, 0, 1, 5, 10)),
        cancel_after=round(random.choice((0.0, 0.2, 1.0, 4.0)) * random.random(), 3)
        if random.random() < 0.08
        else None,
        again_after=round(random.uniform(0, 5), 3) if random.random() < 0.08 else None,
        impatient=random.random() < 0.05,
        followed=random.random() < 0.05,
    )


def uploaded(tenant: int, picture: int) -> Image.Image:
    """A picture of a tenant in which no two parts are alike."""
    image = Image.new("RGB", (SIDE, SIDE))
    image.putdata([(2 * x, 2 * y, 40 * tenant + 9 * picture) for y in range(SIDE) for x in range(SIDE)])
    return image


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
