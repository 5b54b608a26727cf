"""Runs prompts one after another, node by node, and tells about it in the original's order of messages."""

from __future__ import annotations

import asyncio
import logging
import random
import string
import struct
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from comfyone.emulator import sockets as wire
from comfyone.emulator.codec import encode
from comfyone.emulator.files import Files
from comfyone.emulator.graph import Order, is_link, signatures
from comfyone.emulator.queue import Item, PromptQueue
from comfyone.emulator.records import Records
from comfyone.emulator.registry import Node, Shown
from comfyone.emulator.scenario import Scenario
from comfyone.emulator.sockets import Sockets
from comfyone.emulator.validation import type_name

log = logging.getLogger(__name__)

LARGE = 256 * 256
"""Pixels in a node's inputs from which it is computed in a thread, so that the server goes on answering."""


class InterruptedPromptError(Exception):
    """Somebody stopped the prompt that runs."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A node's result: what it shows (with where), and its outputs."""

    ui: dict[str, Any] | None
    values: tuple[Any, ...]


class Executor:
    """The one worker. Keeps the results of the last prompt's nodes, and who is told about what runs now."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        queue: PromptQueue,
        sockets: Sockets,
        files: Files,
        scenario: Scenario,
        records: Records,
    ) -> None:
        self.nodes, self.queue, self.sockets, self.files = nodes, queue, sockets, files
        self.scenario, self.records = scenario, records
        self.cache: dict[bytes, Cached] = {}
        self.client_id: str | None = None
        self.current_node: str | None = None
        self.interrupted = asyncio.Event()
        self.preview_prefix = "_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))  # noqa: S311
        self._late: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Run what is queued, for ever."""
        while True:
            item = await self.queue.get()
            try:
                await self._perform(item)
            except Exception:
                log.exception("prompt %s broke the worker", item.prompt_id)
                self.records.end(item.record, "error")
                if item in self.queue.running:
                    self.queue.leave(item)
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Forget what was still to be written."""
        for task in self._late:
            task.cancel()

    async def _perform(self, item: Item) -> None:
        self.interrupted.clear()
        self.client_id = item.extra_data.get("client_id")
        self.records.start(item.record)
        execution = Execution(self, item)
        outcome = await execution.run()
        self.current_node = None
        self.records.end(item.record, outcome)
        if self.scenario.late_end:
            await asyncio.sleep(self.scenario.late_end)
        self.queue.leave(item)
        entry = execution.entry(outcome == "success")
        if self.scenario.late_history:
            task = asyncio.create_task(self._remember_late(item, entry, self.scenario.late_history))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        else:
            self.queue.remember(item, entry)
        self.tell_status()
        if self.client_id is not None:
            self.sockets.send("executing", {"node": None, "prompt_id": item.prompt_id}, self.client_id)

    async def _remember_late(self, item: Item, entry: dict[str, Any], delay: float) -> None:
        await asyncio.sleep(delay)
        self.queue.remember(item, entry)

    def tell_status(self) -> None:
        """Tell everybody how many prompts there are."""
        self.sockets.send("status", {"status": self.status()}, None)

    def status(self) -> dict[str, Any]:
        """How many prompts wait or run."""
        return {"exec_info": {"queue_remaining": len(self.queue)}}

    def greet(self, client_id: str) -> None:
        """Send the first messages to a client that has just connected."""
        self.sockets.send("status", {"status": self.status(), "sid": client_id}, client_id)
        if self.client_id == client_id and self.current_node is not None:
            self.sockets.send("executing", {"node": self.current_node}, client_id)


class Execution:
    """One prompt being run; the ``Run`` that its nodes see."""

    def __init__(self, executor: Executor, item: Item) -> None:
        self._executor, self._item, self._sockets = executor, item, executor.sockets
        self._client_id = executor.client_id
        self.files, self.prompt = executor.files, item.prompt
        self.extra_pnginfo = item.extra_data.get("extra_pnginfo")
        self.preview_prefix = executor.preview_prefix
        self.node_id = ""
        self._messages: list[list[Any]] = []
        self._shown: dict[str, dict[str, Any]] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        self._executed: list[str] = []
        self._signatures: dict[str, bytes] = {}

    @property
    def step_time(self) -> float:
        """Seconds that a sampler step takes."""
        return self._executor.scenario.step_time

    def entry(self, success: bool) -> dict[str, Any]:
        """The history entry, but for the prompt."""
        word = "success" if success else "error"
        return {
            "outputs": {node_id: shown["output"] for node_id, shown in self._shown.items()},
            "status": {"status_str": word, "completed": success, "messages": self._messages},
            "meta": {node_id: shown["meta"] for node_id, shown in self._shown.items()},
        }

    async def run(self) -> str:
        """Run all nodes that are needed and give the outcome."""
        self._announce("execution_start", {})
        cached = self._recall()
        self._announce("execution_cached", {"nodes": cached})
        order = Order(self.prompt, self._item.outputs, self._is_cached, self._is_output)
        while order:
            node_id = order.next()
            assert node_id is not None, "a prompt with a cycle was accepted"
            try:
                await self._node(node_id)
            except InterruptedPromptError:
                self._announce("execution_interrupted", self._where(node_id), everybody=True)
                return "interrupted"
            except Exception as error:  # noqa: BLE001 (the worker's loop: any node may raise anything)
                self._announce("execution_error", self._where(node_id) | self._what(node_id, error))
                return "error"
            order.done(node_id)
        self._announce("execution_success", {})
        return "success"

    def _recall(self) -> list[str]:
        """Keep of the cache what this prompt can use, and give the nodes that it has."""
        self._signatures = signatures(self.prompt, self._fingerprint)
        kept = set(self._signatures.values())
        cache = self._executor.cache
        for signature in [signature for signature in cache if signature not in kept]:
            del cache[signature]
        return [node_id for node_id, signature in self._signatures.items() if signature in cache]

    def _fingerprint(self, node_id: str) -> str:
        node = self._class(node_id)
        own = node_id if "UNIQUE_ID" in node.hidden.values() else ""
        if node.fingerprint is None:
            return own
        try:
            return own + node.fingerprint(self.files, self.prompt[node_id]["inputs"])
        except OSError:
            return f"{own} unreadable at {time.monotonic_ns()}"

    def _class(self, node_id: str) -> Node:
        return self._executor.nodes[self.prompt[node_id]["class_type"]]

    def _is_cached(self, node_id: str) -> bool:
        return self._signatures[node_id] in self._executor.cache

    def _is_output(self, node_id: str) -> bool:
        return self._class(node_id).is_output

    async def _node(self, node_id: str) -> None:
        cached = self._executor.cache.get(self._signatures[node_id])
        if cached:
            self._reuse(node_id, cached)
            return
        self.node_id = node_id
        self._track(node_id, 0.0, 1.0, "running")
        inputs = self._inputs(node_id)
        if self._client_id is not None:
            self._executor.current_node = node_id
            self._tell("executing", {"node": node_id, "display_node": node_id})
        self._item.record.nodes.append(node_id)
        result = await self._compute(self._class(node_id), inputs)
        shown = self._show(node_id, result.ui) if isinstance(result, Shown) else None
        values = result.values if isinstance(result, Shown) else result
        self._executor.cache[self._signatures[node_id]] = Cached(shown, values)
        self._finish(node_id)
        self._executed.append(node_id)

    def _reuse(self, node_id: str, cached: Cached) -> None:
        # Without a client the original also forgets to enter the result in the history.
        if self._client_id is not None:
            output = cached.ui["output"] if cached.ui else None
            self._tell("executed", {"node": node_id, "display_node": node_id, "output": output})
            if cached.ui:
                self._shown[node_id] = cached.ui
        self._progress.setdefault(node_id, {"value": 0, "max": 1})
        self._finish(node_id)

    def _show(self, node_id: str, ui: dict[str, Any]) -> dict[str, Any]:
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        shown = self._shown[node_id] = {"meta": meta, "output": ui}
        if self._client_id is not None:
            self._tell("executed", {"node": node_id, "display_node": node_id, "output": ui})
        return shown

    def _inputs(self, node_id: str) -> dict[str, Any]:
        known = self._class(node_id)
        given = self.prompt[node_id]["inputs"].items()
        return {name: self._value(value) for name, value in given if name in known.required or name in known.optional}

    def _value(self, value: Any) -> Any:
        if not is_link(value):
            return value
        return self._executor.cache[self._signatures[value[0]]].values[int(value[1])]

    async def _compute(self, node: Node, inputs: dict[str, Any]) -> Any:
        self._stop_if_interrupted()
        scenario = self._executor.scenario
        if node.name in scenario.hang:
            await self._executor.interrupted.wait()
            self._stop_if_interrupted()
        if node.name in scenario.node_error:
            raise RuntimeError(scenario.node_error[node.name])
        if node.is_async:
            return await node.compute(self, **inputs)
        if _pixels(inputs) > LARGE:
            return await asyncio.to_thread(node.compute, self, **inputs)
        return node.compute(self, **inputs)

    def _stop_if_interrupted(self) -> None:
        if self._executor.interrupted.is_set():
            self._executor.interrupted.clear()
            raise InterruptedPromptError

    async def pause(self, seconds: float) -> None:
        """Wait, or end at once when interrupted."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._executor.interrupted.wait(), seconds)
            except TimeoutError:
                return
        self._stop_if_interrupted()

    async def progress(self, value: int, maximum: int, preview: Callable[[], Image.Image] | None = None) -> None:
        """Tell how far the node is, with a picture in the form that the client understands."""
        self._stop_if_interrupted()
        self._track(self.node_id, value, maximum, "running")
        detailed = self._sockets.supports(self._client_id, "supports_preview_metadata")
        jpeg = _jpeg(preview()) if preview and self._sockets.heard(self._client_id) else b""
        if jpeg and detailed:
            about = self._progress_of(self.node_id, "node_id", "prompt_id", "display_node_id", "parent_node_id")
            metadata = encode({**about, "real_node_id": self.node_id, "image_type": "image/jpeg"})
            payload = struct.pack(">I", len(metadata)) + metadata + jpeg
            self._sockets.send_bytes(wire.PREVIEW_WITH_METADATA, payload, self._client_id)
        told = {"value": value, "max": maximum, "prompt_id": self._item.prompt_id, "node": self.node_id}
        self._sockets.send("progress", told, self._client_id)
        if jpeg and not detailed:
            self._sockets.send_bytes(wire.PREVIEW, struct.pack(">I", wire.JPEG) + jpeg, self._client_id)
        await asyncio.sleep(0)

    def say(self, text: str) -> None:
        """Send a text message about the node, to everybody."""
        node = self.node_id.encode()
        self._sockets.send_bytes(wire.TEXT, struct.pack(">I", len(node)) + node + text.encode(), None)

    def _progress_of(self, node_id: str, *names: str) -> dict[str, Any]:
        return {name: self._progress[node_id][name] for name in names}

    def _track(self, node_id: str, value: float, maximum: float, state: str) -> None:
        self._progress[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._item.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        # Addressed to nobody it goes to everybody: so does the original when a prompt has no client.
        told = {"prompt_id": self._item.prompt_id, "nodes": self._progress}
        self._sockets.send("progress_state", told, self._client_id)

    def _finish(self, node_id: str) -> None:
        maximum = self._progress[node_id]["max"]
        self._track(node_id, maximum, maximum, "finished")

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        self._sockets.send(event, {**data, "prompt_id": self._item.prompt_id}, self._client_id)

    def _announce(self, event: str, data: dict[str, Any], *, everybody: bool = False) -> None:
        told = {**data, "prompt_id": self._item.prompt_id, "timestamp": int(time.time() * 1000)}
        self._messages.append([event, told])
        if self._client_id is not None or everybody:
            self._sockets.send(event, told, self._client_id)

    def _where(self, node_id: str) -> dict[str, Any]:
        return {"node_id": node_id, "node_type": self.prompt[node_id]["class_type"], "executed": self._executed}

    def _what(self, node_id: str, error: Exception) -> dict[str, Any]:
        return {
            "exception_message": f"{error}\n",
            "exception_type": type_name(type(error)),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_formatted(value)] for name, value in self._inputs(node_id).items()},
            "current_outputs": list(self.prompt),
        }


def _pixels(inputs: dict[str, Any]) -> int:
    """About how many pixels a node has to handle: those it is given, and those it is asked to make."""
    if isinstance(inputs.get("image"), str):
        return LARGE + 1  # a file, nobody knows how large
    given = [picture for value in inputs.values() if isinstance(value, list) for picture in value]
    asked = inputs.get("samples", inputs)
    width, height = (
        asked.get(name, 0) if isinstance(asked, dict) else getattr(asked, name) for name in ("width", "height")
    )
    return int(sum(picture.width * picture.height for picture in given) + width * height)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _formatted(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, str)) else str(value)
