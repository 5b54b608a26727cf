"""All that a restart forgets: queue, history, cache, connections."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfyone.emulator.executor import Executor
from comfyone.emulator.files import Files
from comfyone.emulator.nodes import NODES, nodes_of
from comfyone.emulator.queue import Item, PromptQueue
from comfyone.emulator.records import Records
from comfyone.emulator.registry import Node
from comfyone.emulator.scenario import Scenario
from comfyone.emulator.sockets import Sockets
from comfyone.emulator.validation import problem, validate

SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in JSON."""

    status: int
    body: dict[str, Any]


class Machine:
    """One life of a server, from start to restart."""

    def __init__(self, files: Files, scenario: Scenario, records: Records) -> None:
        self.files, self.scenario, self.records = files, scenario, records
        self.sockets = Sockets(scenario)
        self.queue = PromptQueue(lambda: self.executor.tell_status())
        self.executor = Executor(NODES, self.queue, self.sockets, files, scenario, records)
        self._numbers = itertools.count()
        self._worker = asyncio.create_task(self.executor.work())

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The node classes that it has at this moment."""
        return nodes_of(self.scenario)

    def stop(self) -> None:
        """End at once; what waits or runs is lost."""
        self._worker.cancel()
        self.executor.stop()
        self.sockets.cut_all()
        for item in [*self.queue.running, *self.queue.waiting]:
            self.records.end(item.record, "lost")

    def submit(self, body: Any) -> Answer:
        """Validate and queue what was posted to ``/prompt``."""
        body = _object(body)
        number = self._number(body)
        if "prompt" not in body:
            text = "No prompt provided"
            return Answer(400, {"error": problem("no_prompt", text, text), "node_errors": {}})
        prompt, prompt_id = body["prompt"], str(body.get("prompt_id", uuid.uuid4()))
        verdict = validate(prompt, self.nodes, self.files, body.get("partial_execution_targets"))
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if verdict.error:
            return Answer(400, {"error": verdict.error, "node_errors": verdict.node_errors})
        for name in SENSITIVE:
            extra_data.pop(name, None)
        extra_data["create_time"] = int(time.time() * 1000)
        record = self.records.receive(prompt_id, extra_data.get("client_id"))
        self.queue.put(Item(number, prompt_id, prompt, extra_data, verdict.outputs, record))
        return Answer(200, {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _number(self, body: Any) -> float:
        if "number" in body:
            return float(body["number"])
        number = next(self._numbers)
        return -number if body.get("front") else number

    def change_queue(self, body: Any) -> None:
        """Do what was posted to ``/queue``: clear it, or delete waiting prompts."""
        body, gone = _object(body), list[Item]()
        if body.get("clear"):
            gone += self.queue.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                gone += self.queue.delete(prompt_id)
        for item in gone:
            self.records.end(item.record, "deleted")

    def change_history(self, body: Any) -> None:
        """Do what was posted to ``/history``: clear it, or delete entries."""
        body = _object(body)
        if body.get("clear"):
            self.queue.history = {}
        if "delete" in body:
            for prompt_id in body["delete"]:
                self.queue.history.pop(prompt_id, None)

    def interrupt(self, body: Any) -> None:
        """Stop what runs; if a prompt id is named, only that."""
        prompt_id = body.get("prompt_id")
        if (
            not prompt_id
            or self.scenario.untargeted_interrupts
            or any(item.prompt_id == prompt_id for item in self.queue.running)
        ):
            self.executor.interrupted.set()


def _object(body: Any) -> Any:
    """A list or a text names nothing: to the original it is as good as an empty object."""
    return {} if isinstance(body, (list, str)) else body
