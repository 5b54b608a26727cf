"""The native HTTP interface, each path also under ``/api``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from comfyone.emulator import pictures
from comfyone.emulator.codec import decode, encode
from comfyone.emulator.files import Files, is_below
from comfyone.emulator.machine import Machine
from comfyone.emulator.nodes.sampling import CHECKPOINTS
from comfyone.emulator.sockets import FEATURES

VERSION = "0.3.75"
MEMORY = 16 * 1024**3
MODEL_FOLDERS = [
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


SMALL = 64 * 1024
"""Bytes of a file that is sent in one go, which costs a third of opening, sending and closing it in threads."""

PARTIAL = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
"""Headers of requests for less than the whole file."""


def answer(body: Any, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=encode(body), status=status, content_type="application/json", charset="utf-8")


async def read_json(request: web.Request) -> Any:
    """The body of a request; NaN and Infinity are numbers, as in the original."""
    return decode(await request.read())


class Routes:
    """The handlers. The machine behind them changes at a restart, so they ask for it each time."""

    def __init__(self, machine: Callable[[], Machine], files: Files) -> None:
        self._machine, self._files = machine, files

    def table(self) -> list[web.RouteDef]:
        """All routes, with and without ``/api``."""
        gets: dict[str, Handler] = {
            "/": self.root,
            "/ws": self.websocket,
            "/prompt": self.get_prompt,
            "/queue": self.get_queue,
            "/history": self.get_history,
            "/history/{prompt_id}": self.get_history_entry,
            "/object_info": self.object_info,
            "/object_info/{node_class}": self.node_info,
            "/system_stats": self.system_stats,
            "/features": self.features,
            "/embeddings": self.nothing,
            "/extensions": self.nothing,
            "/models": self.models,
            "/models/{folder}": self.models_in,
            "/view_metadata/{folder}": self.view_metadata,
            "/view": self.view,
        }
        posts: dict[str, Handler] = {
            "/prompt": self.post_prompt,
            "/queue": self.post_queue,
            "/history": self.post_history,
            "/interrupt": self.interrupt,
            "/free": self.free,
            "/upload/image": self.upload_image,
            "/upload/mask": self.upload_mask,
        }
        table = [web.get(prefix + path, handler) for path, handler in gets.items() for prefix in ("", "/api")]
        table += [web.post(prefix + path, handler) for path, handler in posts.items() for prefix in ("", "/api")]
        return [*table, web.get("/{path:.*}", self.not_found)]

    async def root(self, request: web.Request) -> web.Response:
        return web.Response(text="ComfyUI sandbox: there is no page here, only the interface.\n")

    async def not_found(self, request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        machine = self._machine()
        return await machine.sockets.serve(request, machine.executor.greet)

    async def get_prompt(self, request: web.Request) -> web.Response:
        return answer(self._machine().executor.status())

    async def post_prompt(self, request: web.Request) -> web.Response:
        machine, body = self._machine(), await read_json(request)
        if machine.scenario.lose_answers and machine.scenario.late_prompts:
            machine.scenario.lose_answers -= 1
            cut(request)
            await asyncio.sleep(machine.scenario.late_prompts)
        result = machine.submit(body)
        if machine.scenario.lose_answers and result.status == HTTPStatus.OK:
            machine.scenario.lose_answers -= 1
            cut(request)
        return answer(result.body, result.status)

    async def get_queue(self, request: web.Request) -> web.Response:
        queue = self._machine().queue
        return answer(
            {
                "queue_running": [item.told() for item in queue.running],
                "queue_pending": [item.told() for item in queue.waiting],
            }
        )

    async def post_queue(self, request: web.Request) -> web.Response:
        self._machine().change_queue(await read_json(request))
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        max_items, offset = request.query.get("max_items"), request.query.get("offset")
        wanted = None if max_items is None else int(max_items)
        return answer(self._machine().queue.entries(wanted, -1 if offset is None else int(offset)))

    async def get_history_entry(self, request: web.Request) -> web.Response:
        prompt_id, history = request.match_info["prompt_id"], self._machine().queue.history
        return answer({prompt_id: history[prompt_id]} if prompt_id in history else {})

    async def post_history(self, request: web.Request) -> web.Response:
        self._machine().change_history(await read_json(request))
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await read_json(request)
        except json.JSONDecodeError:
            body = {}
        self._machine().interrupt(body)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        body = await read_json(request)
        if body.get("free_memory", False):
            self._machine().executor.cache.clear()
        return web.Response()

    async def object_info(self, request: web.Request) -> web.Response:
        machine = self._machine()
        await asyncio.sleep(machine.scenario.object_info_delay)
        told = {name: node.describe(self._files) for name, node in machine.nodes.items()}
        return answer(told | padding(machine.scenario.object_info_padding))

    async def node_info(self, request: web.Request) -> web.Response:
        name, nodes = request.match_info["node_class"], self._machine().nodes
        return answer({name: nodes[name].describe(self._files)} if name in nodes else {})

    async def system_stats(self, request: web.Request) -> web.Response:
        system = {
            "os": os.name,
            "ram_total": MEMORY,
            "ram_free": MEMORY // 2,
            "comfyui_version": VERSION,
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "python_version": sys.version,
            "pytorch_version": "sandbox",
            "embedded_python": False,
            "argv": ["sandbox"],
        }
        vram = {"vram_total": MEMORY, "vram_free": MEMORY // 2, "torch_vram_total": MEMORY, "torch_vram_free": MEMORY}
        device = {"name": f"sandbox on {platform.machine()}", "type": "cpu", "index": None, **vram}
        return answer({"system": system, "devices": [device]})

    async def features(self, request: web.Request) -> web.Response:
        return answer(FEATURES)

    async def nothing(self, request: web.Request) -> web.Response:
        return answer([])

    async def models(self, request: web.Request) -> web.Response:
        return answer(MODEL_FOLDERS)

    async def models_in(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in MODEL_FOLDERS:
            return web.Response(status=404)
        checkpoints = self._machine().scenario.checkpoints
        return answer((CHECKPOINTS if checkpoints is None else checkpoints) if folder == "checkpoints" else [])

    async def view_metadata(self, request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        found = self._find(query["filename"], query.get("type", "output"), query.get("subfolder", ""))
        if isinstance(found, int):
            return web.Response(status=found)
        if not found.is_file():
            return web.Response(status=404)
        disposition, channel = {"Content-Disposition": f'filename="{found.name}"'}, query.get("channel", "rgba")
        if "preview" in query:
            data, kind = await asyncio.to_thread(pictures.preview, found, query["preview"], query.get("channel", ""))
            return web.Response(body=data, content_type=kind, headers=disposition)
        if channel in ("rgb", "a"):
            draw = pictures.colors if channel == "rgb" else pictures.alpha
            return web.Response(
                body=await asyncio.to_thread(draw, found), content_type="image/png", headers=disposition
            )
        headers = {**disposition, "Content-Type": pictures.content_type(found.name)}
        return _small_file(found, headers, request) or web.FileResponse(found, headers=headers)

    def _find(self, name: str, kind: str, subfolder: str) -> Path | int:
        """The file that is asked for, or the status to answer with."""
        name, folder = self._files.split_kind(name)
        if not name or name[0] == "/" or ".." in name:
            return 400
        root = folder or self._files.folder(kind)
        if root is None:
            return 400
        if not is_below(root / subfolder, root):
            return 403
        return root / subfolder / os.path.basename(name)

    async def upload_image(self, request: web.Request) -> web.Response:
        form = await request.post()
        return await asyncio.to_thread(self._store, form, self._write_image)

    async def upload_mask(self, request: web.Request) -> web.Response:
        form = await request.post()
        return await asyncio.to_thread(self._store, form, self._write_mask)

    def _store(self, form: Any, write: Callable[[Any, Any, Path], None]) -> web.Response:
        """Put an uploaded file where it belongs; the same name with other bytes gets a number."""
        kind = form.get("type") or "input"
        folder, upload, subfolder = self._files.folder(kind), form.get("image"), form.get("subfolder", "")
        if folder is None:
            raise ValueError(f"no folder of type {kind!r}")
        if not upload or not upload.file or not upload.filename:
            return web.Response(status=400)
        target = Path(os.path.abspath(folder / os.path.normpath(subfolder) / upload.filename))
        if not is_below(target, folder):
            return web.Response(status=400)
        (folder / os.path.normpath(subfolder)).mkdir(parents=True, exist_ok=True)
        stem, extension = os.path.splitext(upload.filename)
        name, number = upload.filename, 0
        same = False
        while form.get("overwrite") not in ("true", "1") and target.exists() and not (same := _same(target, upload)):
            number += 1
            name = f"{stem} ({number}){extension}"
            target = folder / os.path.normpath(subfolder) / name
        if not same:
            write(upload, form, target)
            self._files.forget()
        self._files.uploads.append(os.path.join(subfolder, name))
        return answer({"name": name, "subfolder": subfolder, "type": kind})

    def _write_image(self, upload: Any, form: Any, target: Path) -> None:
        with target.open("wb") as file:
            shutil.copyfileobj(upload.file, file)

    def _write_mask(self, upload: Any, form: Any, target: Path) -> None:
        reference = json.loads(form.get("original_ref"))
        subfolder = reference.get("subfolder", "")
        found = self._find(reference["filename"], reference.get("type", "output"), subfolder)
        if isinstance(found, Path) and found.is_file():  # else nothing is written, and the answer is the same
            pictures.put_alpha(found, upload.file, target)


def _same(path: Path, upload: Any) -> bool:
    hashed = hashlib.sha256(upload.file.read()).digest()
    upload.file.seek(0)
    return hashlib.sha256(path.read_bytes()).digest() == hashed


def cut(request: web.Request) -> None:
    """End the connection of a request without an answer."""
    if request.transport is not None:
        request.transport.abort()


def padding(megabytes: float) -> dict[str, Any]:
    """Node classes of no use that make ``/object_info`` as large as on a server with many extensions."""
    choices = [f"models/some/folder/a-model-with-a-long-name-{number:04}.safetensors" for number in range(1000)]
    entry = {
        "input": {"required": {"model": [choices]}},
        "input_order": {"required": ["model"]},
        "output": ["MODEL"],
        "output_is_list": [False],
        "output_name": ["MODEL"],
        "display_name": "Padding",
        "description": "",
        "python_module": "custom_nodes.padding",
        "category": "padding",
        "output_node": False,
    }
    each = len(encode(entry))
    return {f"Padding{i:05}": {**entry, "name": f"Padding{i:05}"} for i in range(-(-int(megabytes * 1e6) // each))}


def _small_file(path: Path, headers: dict[str, str], request: web.Request) -> web.Response | None:
    """All of a small file, as `web.FileResponse` would send it; None for a large one, or when only a part is wanted."""
    known = path.stat()
    if known.st_size > SMALL or any(name in request.headers for name in PARTIAL):
        return None
    response = web.Response(body=path.read_bytes(), headers={**headers, "Accept-Ranges": "bytes"})
    response.last_modified = known.st_mtime
    response.etag = f"{known.st_mtime_ns:x}-{known.st_size:x}"
    return response
