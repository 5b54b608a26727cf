"""The example of this room runs as printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from comfyone.emulator import Sandbox
from comfyone.graph.metadata import read_workflow

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_of_graph_tools_brings_the_same_graph_back(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        line = [sys.executable, str(ROOT / "examples" / "graph_tools.py"), "--server", sandbox.url, "--steps", "2"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same   True" in done.stdout
    [picture] = (tmp_path / "graphs").glob("*.png")
    assert read_workflow(picture)["6"]["inputs"]["text"] == "an owl at night"
