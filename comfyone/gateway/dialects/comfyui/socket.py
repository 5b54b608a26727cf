"""ComfyUI's WebSocket: a tenant's clients hear of their jobs in the order and form of the original."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from loguru import logger
from starlette.websockets import WebSocket, WebSocketDisconnect

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.frames import message
from comfyone.gateway.dialects.comfyui.outbox import Outbox, Room
from comfyone.gateway.dialects.comfyui.relay import Ear, Relay
from comfyone.gateway.dialects.comfyui.system import FEATURES
from comfyone.gateway.dialects.edge import key_of
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.services.accounts import Authenticator
from comfyone.gateway.services.jobs import Jobs

__all__ = ["NativeSocket"]

GOING_AWAY, UNAUTHORIZED, TOO_MANY = 1001, 4401, 4429


class NativeSocket:
    """Serves ``/ws``. ``most`` bounds the sockets of one tenant, ``snapshot`` tells how far a job has come."""

    def __init__(
        self,
        authenticator: Authenticator,
        jobs: Jobs,
        snapshot: Callable[[str], Snapshot | None],
        *,
        most: int,
        max_upload: int,
    ) -> None:
        self._authenticator = authenticator
        self._jobs = jobs
        self._snapshot = snapshot
        self._most = most
        self._features = {**FEATURES, "max_upload_size": max_upload}
        self._room = Room()
        self._open: Counter[str] = Counter()
        self._relays: dict[str, tuple[Relay, asyncio.Task[None]]] = {}

    async def __call__(self, socket: WebSocket) -> None:
        key = key_of(socket.scope)
        try:
            principal = await self._authenticator.authenticate(key)
            principal.require(Scope.JOBS)
        except Fault as fault:
            return await _refuse(socket, UNAUTHORIZED, fault.slug)
        tenant_id = principal.tenant_id
        if self._open[tenant_id] >= self._most:
            return await _refuse(socket, TOO_MANY, "queue_full")
        self._open[tenant_id] += 1
        try:
            await self._talk(socket, principal, key)
        finally:
            self._open[tenant_id] -= 1
            if not self._open[tenant_id]:
                del self._open[tenant_id]
                self._end_relay(tenant_id)

    async def _talk(self, socket: WebSocket, principal: Principal, key: str | None) -> None:
        ear = Ear(socket.query_params.get("clientId") or uuid4().hex, Outbox(self._room))
        relay = self._relay(principal)
        try:
            await relay.join(ear)  # before the client knows that it is connected: it may send a prompt at once
            await socket.accept()
            await self._serve(socket, ear, key)
        finally:
            relay.leave(ear)
            ear.outbox.close()

    async def _serve(self, socket: WebSocket, ear: Ear, key: str | None) -> None:
        """Until the client goes, its key lapses, or there is nothing more to tell."""
        lapse = asyncio.ensure_future(self._authenticator.until_lapsed(key))
        listening = asyncio.ensure_future(self._listen(socket, ear))
        tasks: list[asyncio.Future[Any]] = [lapse, listening, asyncio.ensure_future(_send(socket, ear))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if lapse.done():
                await _close(socket, UNAUTHORIZED, lapse.result().slug)
            elif not listening.done():
                await _close(socket, GOING_AWAY, "too far behind, or the gateway stops")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, socket: WebSocket, ear: Ear) -> None:
        """Reads until the client goes. Its first message may say what it understands."""
        first = True
        while True:
            try:
                said = _decoded(await socket.receive_text())
            except (WebSocketDisconnect, RuntimeError):
                return
            except KeyError:  # a binary frame
                continue
            if not isinstance(said, dict):
                continue  # which leaves the next one the first
            if first and said.get("type") == "feature_flags":
                understood = said.get("data")
                ear.detailed = isinstance(understood, dict) and understood.get("supports_preview_metadata") is True
                ear.outbox.push(message("feature_flags", self._features))
            first = False

    def _relay(self, principal: Principal) -> Relay:
        """The tenant's relay, which works as long as a socket of it is open."""
        if principal.tenant_id not in self._relays:
            relay = Relay(self._jobs, principal, self._snapshot)
            task = asyncio.create_task(relay.work(), name=f"relay {principal.tenant_id}")
            self._relays[principal.tenant_id] = relay, task
            task.add_done_callback(partial(self._relay_ended, principal.tenant_id, relay))
        return self._relays[principal.tenant_id][0]

    def _end_relay(self, tenant_id: str) -> None:
        if entry := self._relays.pop(tenant_id, None):
            entry[1].cancel()

    def _relay_ended(self, tenant_id: str, relay: Relay, task: asyncio.Task[None]) -> None:
        if tenant_id in self._relays and self._relays[tenant_id][0] is relay:
            del self._relays[tenant_id]  # whoever connects from now on gets another
        if not task.cancelled() and (error := task.exception()):
            logger.opt(exception=error).error("the relay of a tenant's messages failed, its sockets are closed")


async def _send(socket: WebSocket, ear: Ear) -> None:
    """Until the outbox is closed, or the client gone."""
    with suppress(WebSocketDisconnect, RuntimeError):
        async for frame in ear.outbox:
            if isinstance(frame.content, str):
                await socket.send_text(frame.content)
            else:
                await socket.send_bytes(frame.content)


def _decoded(said: str) -> Any:
    try:
        return msgspec.json.decode(said)
    except (msgspec.DecodeError, RecursionError):
        return None


async def _refuse(socket: WebSocket, code: int, reason: str) -> None:
    """Only of a socket that was opened can the client be told why it is closed."""
    await socket.accept()
    await _close(socket, code, reason)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(code, reason)
