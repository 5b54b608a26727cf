"""Graphs for tests, in the API format: node id to class and inputs."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]

CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
"""A checkpoint that the sandbox pretends to have."""


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node."""
    return {"class_type": class_type, "inputs": inputs}


def empty(color: int = 0, width: int = 64, height: int | None = None, batch_size: int = 1) -> dict[str, Any]:
    """A node that makes pictures of one colour, such as 0x336699."""
    return node("EmptyImage", width=width, height=height or width, batch_size=batch_size, color=color)


def save(images: str, prefix: str = "test", slot: int = 0) -> dict[str, Any]:
    """A node that saves the pictures that another node puts out."""
    return node("SaveImage", images=[images, slot], filename_prefix=prefix)


def tiny(width: int = 64, color: int = 0x336699, prefix: str = "tiny") -> Graph:
    """A picture of one colour, inverted and saved: three nodes, about a millisecond."""
    return {"1": empty(color, width), "2": node("ImageInvert", image=["1", 0]), "3": save("2", prefix)}


def invert_upload(image_name: str, prefix: str = "inverted") -> Graph:
    """An uploaded picture, inverted and saved."""
    return {
        "1": node("LoadImage", image=image_name),
        "2": node("ImageInvert", image=["1", 0]),
        "3": save("2", prefix),
    }


def changed(class_type: str, image_name: str, prefix: str = "changed", **inputs: Any) -> Graph:
    """An uploaded picture, sent through one node and saved."""
    return {
        "1": node("LoadImage", image=image_name),
        "2": node(class_type, image=["1", 0], **inputs),
        "3": save("2", prefix),
    }


def slow(steps: int = 20, seconds: float = 0.05, preview: bool = False, color: int = 0x102030) -> Graph:
    """A node that takes ``steps`` times ``seconds`` and tells its progress, then a saved picture."""
    return {
        "1": empty(color),
        "2": node("TestSteps", image=["1", 0], steps=steps, seconds=seconds, preview=preview),
        "3": save("2", "slow"),
    }


def sleeping(seconds: float, color: int = 0x203040) -> Graph:
    """A node that is silent for some seconds, then a saved picture. It can be interrupted."""
    return {"1": empty(color), "2": node("TestSleep", image=["1", 0], seconds=seconds), "3": save("2", "slept")}


def failing(message: str = "on purpose", color: int = 0x304050) -> Graph:
    """A node that raises ``ValueError``, before a picture could be saved."""
    return {"1": empty(color), "2": node("TestFail", image=["1", 0], message=message), "3": save("2", "never")}


def speaking(text: str) -> Graph:
    """A text as output."""
    return {"1": node("TestText", text=text)}


def text_to_image(
    prompt: str, seed: int = 0, steps: int = 4, width: int = 256, height: int = 256, negative: str = ""
) -> Graph:
    """The classic graph of seven nodes, saving one picture. The sandbox runs it; a real ComfyUI needs the model."""
    return {
        "3": node(
            "KSampler",
            seed=seed,
            steps=steps,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "5": node("EmptyLatentImage", width=width, height=height, batch_size=1),
        "6": node("CLIPTextEncode", text=prompt, clip=["4", 1]),
        "7": node("CLIPTextEncode", text=negative, clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": save("8", "painted"),
    }
