"""A gateway with its HTTP side in this process, and ComfyUI's WebSocket read frame by frame: the gateway's or a server's own."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from comfyone.emulator import Sandbox
from comfyone.gateway.app import Gateway, create_app, open_gateway
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.backends import BackendState
from comfyone.gateway.domain.jobs import Job, Origin
from comfyone.gateway.domain.tenants import ALL_BUT_ADMIN, Principal
from comfyone.gateway.services.accounts import issue_key
from comfyone.gateway.services.submissions import Submission
from comfyone.gateway.storage.sqlite import transaction
from comfyone.settings.gateway import load_settings
from tests.graphs import Graph

__all__ = ["HELLO", "Ears", "Stage", "TenantOnStage", "Told", "kinds", "open_stage", "plainly"]

PATIENCE = 20.0
HELLO = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
TERMINAL = ("succeeded", "failed", "cancelled")

Told = tuple[str, Any]
"""A message: its type and data; of a binary one ``binary 1`` or such, and what is in it."""


class Ears:
    """One connection. ``heard`` is all that came so far."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Told] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, query: str = "", *, key: str | None = None, hello: Any = None) -> AsyncIterator[Self]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        address = url.replace("http", "ws", 1) + (f"/ws?{query}" if query else "/ws")
        async with connect(address, additional_headers=headers, proxy=None, max_size=None) as socket:
            ears = cls(socket)
            if hello:
                await ears.say(hello)
            yield ears

    async def say(self, message: Any) -> None:
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def hear(self, seconds: float = PATIENCE) -> Told:
        async with asyncio.timeout(seconds):
            told = read(await self.socket.recv())
        self.heard.append(told)
        return told

    async def until(self, type_: str, **data: Any) -> Told:
        """Listens until a message of this type comes, with these entries."""
        while True:
            told = await self.hear()
            if told[0] == type_ and all(told[1].get(name) == value for name, value in data.items()):
                return told

    async def over(self, prompt_id: str | None = None) -> list[Told]:
        """All that came, as soon as a prompt is over."""
        more = {} if prompt_id is None else {"prompt_id": prompt_id}
        await self.until("executing", node=None, **more)
        return self.heard

    async def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.hear(seconds)
        except TimeoutError:
            return True
        return False


def read(frame: str | bytes) -> Told:
    if isinstance(frame, str):
        message = json.loads(frame)
        assert set(message) == {"type", "data"}, message
        return message["type"], message["data"]
    kind, length = struct.unpack(">II", frame[:8])
    if kind == 1:
        return "binary 1", {"format": length, "content": frame[8:]}
    first, rest = frame[8 : 8 + length], frame[8 + length :]
    return f"binary {kind}", {"about": json.loads(first) if kind == 4 else first.decode(), "content": rest}


def kinds(heard: list[Told]) -> list[str]:
    return [type_ for type_, _ in heard]


def plainly(heard: list[Told], prompt_id: str, job_id: str | None = None) -> list[Any]:
    """What was heard, without what differs between one server and a gateway: the prompt's id, times, made-up names, the job's
    folder; a status that says nothing new is left out."""
    text = json.dumps(heard, default=bytes.hex).replace(prompt_id, "PROMPT")
    if job_id is not None:
        text = text.replace(f'"subfolder": "{job_id}"', '"subfolder": ""').replace(f'"{job_id}/', '"')
    text = re.sub(r'"timestamp": \d+', '"timestamp": 0', re.sub(r"_temp_[a-z]{5}", "_temp_", text))
    text = re.sub(r"at 0x[0-9A-Fa-f]+", "at 0x", text)
    plain: list[Any] = []
    for told in json.loads(text):
        if told[0] != "status" or told not in plain[-1:]:
            plain.append(told)
    return plain


class TenantOnStage:
    def __init__(self, stage: Stage, name: str, key: str, principal: Principal) -> None:
        self._services = stage.gateway.services
        self._stage = stage
        self._principal = principal
        self.name = name
        self.key = key

    async def register(self, sandbox: Sandbox, name: str = "s0") -> None:
        await self._services.backends.register(
            self._principal, name, url=sandbox.url, weight=1, labels={}, state=BackendState.UP
        )

    async def submit(
        self, graph: Graph, client_id: str | None = None, prompt_id: str | None = None, **options: Any
    ) -> str:
        """The id of the job."""
        origin = Origin(client_id, prompt_id)
        submission = Submission(graph=graph, raw=json.dumps(graph).encode(), origin=origin, **options)
        job_id, _ = await self._services.jobs.submit(self._principal, submission)
        return job_id

    async def job(self, job_id: str, wait: float = 0.0) -> Job:
        return (await self._services.jobs.get(self._principal, job_id, wait)).job

    async def ended(self, job_id: str) -> Job:
        job = await self.job(job_id, PATIENCE)
        assert job.state in TERMINAL, job.state
        return job

    async def learned(self) -> None:
        """Until it is known what the backends can do."""
        assert await self._services.dispatcher.known_classes(self._principal.tenant_id, PATIENCE) is not None

    async def cancel(self, job_id: str) -> None:
        await self._services.jobs.cancel(self._principal, job_id)

    async def detach(self, name: str = "s0") -> None:
        await self._services.backends.delete(self._principal, name)

    def ears(self, client_id: str, *, hello: Any = None) -> Any:
        """A connection of this tenant to the gateway; see `Ears.open`."""
        return Ears.open(self._stage.url, f"clientId={client_id}", key=self.key, hello=hello)


class Stage:
    """A gateway that listens at ``url``."""

    def __init__(self, gateway: Gateway, url: str, state: Path) -> None:
        self.gateway = gateway
        self.url = url
        self._state = state

    async def tenant(self, name: str = "acme", *sandboxes: Sandbox) -> TenantOnStage:
        with transaction(self._state / "comfyone.db") as session:
            key = issue_key(session, name, scopes=ALL_BUT_ADMIN).key
        tenant = TenantOnStage(self, name, key, await self.gateway.authenticator.authenticate(key))
        for number, sandbox in enumerate(sandboxes):
            await tenant.register(sandbox, f"s{number}")
        return tenant


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.begun.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_stage(state: Path, *, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Stage]:
    async with open_gateway(load_settings(None, {"state_dir": state, **settings}, {}), limits or Limits()) as gateway:
        config = uvicorn.Config(
            create_app(gateway), port=0, log_config=None, lifespan="off", ws_per_message_deflate=False
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        await server.begun.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Stage(gateway, f"http://127.0.0.1:{port}", state)
        finally:
            gateway.bus.close()
            server.should_exit = True
            await serving
