"""The classic text-to-image graph, with a painter in place of a model.

The picture depends on the prompt texts, the seed and the size, and on nothing else.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from comfyone.emulator.pixels import Batch
from comfyone.emulator.registry import MAX_RESOLUTION, Registry, Run, integer, number

REGISTRY = Registry()
CHECKPOINTS = ("sandbox-painter.safetensors", "sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.safetensors")
SAMPLERS = [
    "euler",
    "euler_cfg_pp",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
    "heun",
    "heunpp2",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_cfg_pp",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "res_multistep_cfg_pp",
    "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp",
    "gradient_estimation",
    "gradient_estimation_cfg_pp",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
]
SCHEDULERS = [
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
]
PREVIEW_SIDE = 128


@dataclass(frozen=True, slots=True)
class Model:
    """A model, text encoder or decoder by name; nothing depends on it."""

    name: str


@dataclass(frozen=True, slots=True)
class Latent:
    """A batch of pictures yet to be painted: size in pixels, and the hash that decides what they look like."""

    width: int
    height: int
    batch_size: int
    essence: bytes = b""


@REGISTRY.node(
    "CheckpointLoaderSimple",
    {"ckpt_name": (list(CHECKPOINTS), {})},
    ["MODEL", "CLIP", "VAE"],
    category="loaders",
    display_name="Load Checkpoint",
)
def load_checkpoint(run: Run, ckpt_name: str) -> tuple[Model, Model, Model]:
    return Model(ckpt_name), Model(ckpt_name), Model(ckpt_name)


@REGISTRY.node(
    "CLIPTextEncode",
    {"text": ("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": ("CLIP", {})},
    ["CONDITIONING"],
    category="conditioning",
    display_name="CLIP Text Encode (Prompt)",
)
def encode_text(run: Run, text: str, clip: Model) -> tuple[str]:
    return (text,)


@REGISTRY.node(
    "EmptyLatentImage",
    {
        "width": integer(512, 16, MAX_RESOLUTION, 8),
        "height": integer(512, 16, MAX_RESOLUTION, 8),
        "batch_size": integer(1, 1, 4096, None),
    },
    ["LATENT"],
    category="latent",
    display_name="Empty Latent Image",
)
def empty_latent(run: Run, width: int, height: int, batch_size: int) -> tuple[Latent]:
    return (Latent(width // 8 * 8, height // 8 * 8, batch_size),)


@REGISTRY.node(
    "KSampler",
    {
        "model": ("MODEL", {}),
        "seed": integer(0, 0, 0xFFFFFFFFFFFFFFFF, None, control_after_generate=True),
        "steps": integer(20, 1, 10000, None),
        "cfg": number(8.0, 0.0, 100.0, 0.1, round=0.01),
        "sampler_name": (SAMPLERS, {}),
        "scheduler": (SCHEDULERS, {}),
        "positive": ("CONDITIONING", {}),
        "negative": ("CONDITIONING", {}),
        "latent_image": ("LATENT", {}),
        "denoise": number(1.0, 0.0, 1.0),
    },
    ["LATENT"],
    category="sampling",
)
async def sample(
    run: Run,
    model: Model,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: str,
    negative: str,
    latent_image: Latent,
    denoise: float,
) -> tuple[Latent]:
    essence = hashlib.sha256(repr((positive, negative, seed)).encode()).digest()
    latent = Latent(latent_image.width, latent_image.height, latent_image.batch_size, essence)
    preview = _previews(latent)
    for step in range(1, steps + 1):
        await run.pause(run.step_time)
        await run.progress(step, steps, lambda share=step / steps: preview(share))  # type: ignore[misc]
    return (latent,)


@REGISTRY.node(
    "VAEDecode",
    {"samples": ("LATENT", {}), "vae": ("VAE", {})},
    ["IMAGE"],
    category="latent",
    display_name="VAE Decode",
)
def decode(run: Run, samples: Latent, vae: Model) -> tuple[Batch]:
    return ([paint(samples, index) for index in range(samples.batch_size)],)


def paint(latent: Latent, index: int = 0) -> Image.Image:
    """Paint picture ``index`` of a batch: a sun over hills, each range nearer and darker than the one behind."""
    chance = random.Random(latent.essence + index.to_bytes(2))  # noqa: S311 (it has to be repeatable, not secret)
    width, height = max(latent.width // 2, 8), max(latent.height // 2, 8)
    hue, drift = chance.random(), chance.uniform(-0.18, 0.18)
    sky = Image.new("RGB", (1, 2))
    sky.putpixel((0, 0), _color(hue, 0.6, 0.55))
    sky.putpixel((0, 1), _color(hue + drift, 0.35, 1.0))
    picture = sky.resize((width, height), Image.Resampling.BILINEAR)
    _shine(picture, chance, _color(hue + 0.5, 0.25, 1.0))
    ranges = chance.randint(3, 5)
    for layer in range(ranges):
        nearness = (layer + 1) / ranges
        color = _color(hue + drift * (1 - nearness), 0.3 + 0.4 * nearness, 0.85 - 0.65 * nearness)
        _raise_hills(picture, chance, 0.4 + 0.45 * nearness, color)
    return picture.resize((latent.width, latent.height), Image.Resampling.BICUBIC)


def _shine(picture: Image.Image, chance: random.Random, color: tuple[int, int, int]) -> None:
    """Put a sun and its glow into the upper part."""
    width, height = picture.size
    radius = chance.uniform(0.06, 0.14) * min(width, height)
    x, y = chance.uniform(0.15, 0.85) * width, chance.uniform(0.15, 0.45) * height
    glow = Image.new("L", picture.size, 0)
    ImageDraw.Draw(glow).ellipse((x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius), fill=110)
    glow = glow.filter(ImageFilter.GaussianBlur(radius))
    ImageDraw.Draw(glow).ellipse((x - radius, y - radius, x + radius, y + radius), fill=240)
    picture.paste(color, (0, 0), glow.filter(ImageFilter.GaussianBlur(1)))


def _raise_hills(picture: Image.Image, chance: random.Random, base: float, color: tuple[int, int, int]) -> None:
    """Put a range of hills whose middle is at ``base`` of the height."""
    width, height = picture.size
    waves = [(chance.uniform(0.5, 2) * 2**octave, chance.uniform(0, 6.28), 0.07 / 2**octave) for octave in range(5)]
    ridge = [
        (x, height * (base + sum(size * math.sin(speed * 6.28 * x / width + phase) for speed, phase, size in waves)))
        for x in range(width + 1)
    ]
    ImageDraw.Draw(picture).polygon([*ridge, (width, height), (0, height)], fill=color)


def _color(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _previews(latent: Latent) -> Callable[[float], Image.Image]:
    """Make the function that draws a preview of the share done so far, from noise to the picture."""
    shrink = PREVIEW_SIDE / max(latent.width, latent.height, PREVIEW_SIDE)
    small = Latent(max(int(latent.width * shrink), 8), max(int(latent.height * shrink), 8), 1, latent.essence)
    drawn: list[Image.Image] = []

    def draw(share: float) -> Image.Image:
        if not drawn:
            noise = random.Random(latent.essence).randbytes(small.width * small.height * 3)  # noqa: S311
            drawn.extend([Image.frombytes("RGB", (small.width, small.height), noise), paint(small)])
        return Image.blend(drawn[0], drawn[1], share)

    return draw
