"""Clients that others have written for ComfyUI, unmodified, at the gateway: each runs a whole job, two tenants at once."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from scripts.foreign_clients import Clients
from scripts.real_editor import browser, opened
from tests.conformance.clients.conftest import Team

HERE = Path(__file__).parent
COLORS = (0x102030, 0x405060)


def run(*command: object, seconds: float = 60, **environment: str) -> Any:
    """What a client printed, which is JSON."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "NO_PROXY": "*", **environment},
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def node(clients: Clients, script: str, team: Team, color: int) -> Any:
    return run(
        clients.program("node"), HERE / script, team.url, team.key, color, NODE_PATH=str(clients.root / "node_modules")
    )


def pixel(picture: str | bytes) -> tuple[int, ...]:
    """The one colour of a picture."""
    content = base64.b64decode(picture) if isinstance(picture, str) else picture
    with Image.open(BytesIO(content)) as image:
        assert image.size == (64, 48)
        spans: Any = image.convert("RGB").getextrema()
        assert all(low == high for low, high in spans)
        return tuple(int(low) for low, _ in spans)


def inverse(color: int) -> tuple[int, ...]:
    return tuple(255 - (color >> shift & 255) for shift in (16, 8, 0))


def close(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two colours are the same, but for the server's own rounding."""
    return all(abs(a - b) <= 1 for a, b in zip(one, other, strict=True))


def at_once(function: Any, *teams: Team) -> list[Any]:
    with ThreadPoolExecutor(len(teams)) as pool:
        return list(pool.map(function, teams, COLORS))


def test_saintno_comfyui_sdk(clients: Clients, acme: Team, rival: Team) -> None:
    mine, theirs = at_once(lambda team, color: node(clients, "saintno.cjs", team, color), acme, rival)
    for report, color in zip((mine, theirs), COLORS, strict=True):
        assert close(pixel(report["picture"]), inverse(color))
        assert {"execution_start", "executing", "executed", "execution_success"} <= set(report["heard"])
        assert report["waiting"] == 0
        assert report["promptId"] in report["history"]
        assert report["samplers"]
        assert report["stats"] == ["system", "devices"]
    assert not set(mine["history"]) & set(theirs["history"])


def test_stable_canvas_comfyui_client(clients: Clients, acme: Team, rival: Team) -> None:
    mine, theirs = at_once(lambda team, color: node(clients, "stable_canvas.cjs", team, color), acme, rival)
    for report, color in zip((mine, theirs), COLORS, strict=True):
        live, polled = report["pictures"]
        assert close(pixel(live), inverse(color))
        assert close(pixel(polled), inverse(color + 1))
        assert set(report["promptIds"]) <= set(report["history"])
        assert report["queue"] == {"Running": [], "Pending": []}
        assert report["classes"]
    assert not set(mine["history"]) & set(theirs["history"])


def test_comfy_api_client(clients: Clients, acme: Team, rival: Team) -> None:
    def job(team: Team, color: int) -> Any:
        return run(clients.program("python"), HERE / "public_async.py", team.signed, color)

    mine, theirs = at_once(job, acme, rival)
    for report, color in zip((mine, theirs), COLORS, strict=True):
        [picture] = report["pictures"]
        assert close(pixel(picture), inverse(color))
        assert report["promptId"] in report["completed"] == report["history"]
        assert report["queue"] == [0, 0]
        assert report["devices"] >= 1
    assert not set(mine["history"]) & set(theirs["history"])


def test_comfy_cli_runs_a_workflow(clients: Clients, home: Team, acme: Team, tmp_path: Path) -> None:
    """It can send no key at all: the gateway is open to this machine."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0x778899}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "cli"}},
    }
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(graph))
    host, _, port = home.url.removeprefix("http://").partition(":")
    command = ["--json", "--skip-prompt", "run", "--wait", "--workflow", file, "--host", host, "--port", port]
    report = run(clients.program("comfy"), *command, HOME=str(tmp_path))
    assert report["ok"], report
    assert report["data"]["status"] == "completed"
    [address] = report["data"]["outputs_by_node"]["3"]
    assert close(pixel(requests.get(address, timeout=10).content), inverse(0x778899))
    bearer = {"Authorization": f"Bearer {acme.key}"}
    assert requests.get(address, headers=bearer, timeout=10).status_code == 404
    prompt_id = report["data"]["prompt_id"]
    assert prompt_id not in history(acme)


def history(team: Team) -> dict[str, Any]:
    return dict(requests.get(f"{team.keyed}/history", timeout=10).json())


def no_greeting(team: Team) -> None:
    """The page shows whoever comes first its templates, over everything else."""
    requests.post(f"{team.keyed}/settings", json={"Comfy.TutorialCompleted": True}, timeout=10).raise_for_status()


DRAW = """
(async () => {
  const app = window.app ?? window.comfyAPI.app.app
  app.graph.clear()
  const add = (type, x, widgets) => {
    const node = LiteGraph.createNode(type)
    node.pos = [x, 160]
    app.graph.add(node)
    for (const widget of node.widgets ?? []) if (widget.name in widgets) widget.value = widgets[widget.name]
    return node
  }
  const empty = add('EmptyImage', 60, {width: 64, height: 48, color: COLOR})
  const invert = add('ImageInvert', 420, {})
  const save = add('SaveImage', 720, {filename_prefix: 'page'})
  empty.connect(0, invert, 0)
  invert.connect(0, save, 0)
  await app.queuePrompt(0, 1)
  const until = performance.now() + 30000
  while (performance.now() < until) {
    const image = save.imgs?.[0]
    if (image?.naturalWidth) {
      const canvas = document.createElement('canvas')
      canvas.width = image.naturalWidth
      canvas.height = image.naturalHeight
      const context = canvas.getContext('2d')
      context.drawImage(image, 0, 0)
      const pixel = [...context.getImageData(5, 5, 1, 1).data].slice(0, 3)
      return JSON.stringify({size: [canvas.width, canvas.height], pixel})
    }
    await new Promise(done => setTimeout(done, 100))
  }
  return JSON.stringify({error: 'no picture came', outputs: app.nodeOutputs})
})()
"""


@pytest.mark.skipif(
    browser() is None and not os.environ.get("COMFYONE_TEST_BROWSER"), reason="no Chromium is installed"
)
@pytest.mark.usefixtures("clients")
async def test_comfyuis_own_page(acme: Team, rival: Team) -> None:
    """Its page is opened at the gateway, a graph is drawn on it and queued, and it shows the picture."""
    for team, color in zip((acme, rival), COLORS, strict=True):
        await asyncio.to_thread(no_greeting, team)
        async with opened(f"{team.keyed}/") as page:
            report = json.loads(await page.evaluate(DRAW.replace("COLOR", str(color))))
            assert report.get("size") == [64, 48], report
            assert close(tuple(report["pixel"]), inverse(color))
            if folder := os.environ.get("COMFYONE_PICTURES"):
                (Path(folder) / f"page-{color:x}.png").write_bytes(await page.screenshot())
    histories = [await asyncio.to_thread(history, team) for team in (acme, rival)]
    assert all(histories)
    assert not histories[0].keys() & histories[1].keys()
