"""The examples and the guide, run as they are printed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from comfyone.comfyui import ComfyUIClient
from comfyone.emulator import Sandbox
from tests.graphs import text_to_image

from .conftest import runs

ROOT = Path(__file__).resolve().parents[3]


def example(name: str, folder: Path, *arguments: str) -> str:
    line = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def same(one: Path, other: Path) -> bool:
    with Image.open(one) as first, Image.open(other) as second:
        return ImageChops.difference(first, second).getbbox() is None


@pytest.mark.seed("S2-4", "S2-59", "S2-82")
def test_the_example_of_a_queue_makes_ten_different_pictures(sandbox: Sandbox, tmp_path: Path) -> None:
    told = example("batch_queue.py", tmp_path, sandbox.url, "--steps", "1")
    assert told.endswith("completed: 10, failed: 0\n")
    pictures = sorted((tmp_path / "seeds").glob("*.png"))
    assert len(pictures) == 10
    assert not any(same(one, other) for one in pictures for other in pictures if one < other)


def test_the_example_of_a_sweep_can_be_run_again_and_then_runs_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    arguments = ("--server", sandbox.url, "--seeds", "2", "--steps", "1", "an owl", "a fox")
    told = example("batch_sweep.py", tmp_path, *arguments)
    assert told == example("batch_sweep.py", tmp_path, *arguments)
    assert told.splitlines()[0] == "completed  sweep/text=an-owl_seed=0_steps=1.png"
    assert len(runs(sandbox)) == 4
    assert (tmp_path / "sweep" / "sheet.jpg").stat().st_size > 5000


def test_the_functions_of_the_guide_do_what_it_says(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "how-to" / "batches.md").read_text()
    guide: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        ast.parse(block)
        placed = re.sub(r"http://10\.0\.0\.\d:8188", sandbox.url, block)
        exec(placed.replace("ComfyUIClient()", f"ComfyUIClient(url={sandbox.url!r})"), guide)
    monkeypatch.chdir(tmp_path)
    graph = text_to_image("x", steps=1, width=64)
    assert len(guide["render"](graph, [1, 2, 3])) == 3
    compared = guide["compare"](graph)
    assert len(compared) == 20
    assert compared[0].job_id == "seed=0_cfg=5.0_text=an-owl"
    with ComfyUIClient(url=sandbox.url) as client:
        guide["overnight"](client, guide["sweep"](graph, {"3.seed": range(3)}))
    assert Path("owls.jpg").exists()
    assert len(list(Path("owls").glob("seed=*.png"))) == 3
