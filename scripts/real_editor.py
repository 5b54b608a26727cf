"""ComfyUI's own editor in a browser without a window: what it would send to the server for a file.

Needs a Chromium that is installed. The editor is the page of a real ComfyUI (see ``scripts/real_comfyui.py``); it is
driven over the browser's DevTools protocol, as a person would: open the file, ask for the prompt.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 180.0

_READY = """
(window.app ?? window.comfyAPI?.app?.app)?.graph && document.querySelector('canvas')
  && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100
"""
_ASK = """
(async () => {
  const app = window.app ?? window.comfyAPI.app.app
  try {
    const quiet = {showMissingNodesDialog: false, showMissingModelsDialog: false}
    await app.loadGraphData(FILE, true, true, null, quiet)
    await new Promise(done => setTimeout(done, 60))
    return JSON.stringify({graph: (await app.graphToPrompt()).output})
  } catch (error) {
    return JSON.stringify({error: String(error?.message ?? error)})
  }
})()
"""


class EditorError(RuntimeError):
    """The browser or the editor did not start, or the editor failed at a file."""


def browser() -> str | None:
    """The program of the browser; None when none is installed."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


class Editor:
    """An open editor."""

    def __init__(self, page: aiohttp.ClientWebSocketResponse) -> None:
        self._page = page
        self._numbers = itertools.count(1)

    async def prompt(self, workflow: Any) -> dict[str, Any]:
        """What the editor would send for a file.

        Raises:
            EditorError: The editor itself failed at it.
        """
        answer = json.loads(await self.evaluate(_ASK.replace("FILE", json.dumps(workflow))))
        if "error" in answer:
            raise EditorError(answer["error"])
        graph: dict[str, Any] = answer["graph"]
        return graph

    async def open(self, url: str) -> None:
        """Open the page of a server and wait until the editor is there."""
        await self._command("Page.navigate", url=url)
        for _ in range(int(PATIENCE)):
            if await self.evaluate(f"!!({_READY})"):
                await asyncio.sleep(3)  # its extensions register their nodes one after the other
                return
            await asyncio.sleep(1)
        raise EditorError(f"{url} shows no editor")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page; what it promises is awaited.

        Raises:
            EditorError: It threw.
        """
        answer = await self._command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if failure := answer.get("exceptionDetails"):
            raise EditorError(str(failure.get("exception", {}).get("description") or failure.get("text")))
        return answer.get("result", {}).get("value")

    async def screenshot(self) -> bytes:
        """What the page looks like, as PNG."""
        return base64.b64decode((await self._command("Page.captureScreenshot", format="png"))["data"])

    async def _command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._page.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            while True:
                told = await self._page.receive()
                if told.type is not aiohttp.WSMsgType.TEXT:
                    raise EditorError(f"the browser has closed the connection ({told.type.name})")
                message = json.loads(told.data)
                if message.get("id") == number:
                    return dict(message.get("result", {}))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Editor]:
    """The editor of a server, in a browser of its own.

    Raises:
        EditorError: No browser is installed, or it did not start.
    """
    program = browser()
    if program is None:
        raise EditorError(f"no browser found; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory(prefix="editor-", ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1600,1000", "about:blank"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(program, *options, stdout=quiet, stderr=quiet)
        try:
            port = await asyncio.to_thread(_port, Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as page:
                    editor = Editor(page)
                    await editor.open(url)
                    yield editor
        finally:
            process.terminate()
            await process.wait()


def _port(told: Path) -> int:
    """The port that the browser chose, which it writes into a file when it is ready."""
    for _ in range(int(PATIENCE * 10)):
        if told.exists() and len(lines := told.read_text().split()) == 2:
            return int(lines[0])
        time.sleep(0.1)
    raise EditorError("the browser did not start")
