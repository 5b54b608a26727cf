"""The v1 WebSocket: what happens to all jobs of a tenant, in the hosted service's words."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from comfyone.errors import Fault
from comfyone.gateway.dialects.edge import key_of
from comfyone.gateway.domain.jobs import JobEvent, JobState, Passing
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.services.accounts import Authenticator
from comfyone.gateway.services.jobs import Jobs

__all__ = ["V1Socket"]

AUTH_SECONDS = 10.0
UNAUTHORIZED, TOO_MANY = 4401, 4429


class V1Socket:
    """Serves ``/v1/ws``. ``most`` bounds the sockets of one tenant."""

    def __init__(self, authenticator: Authenticator, jobs: Jobs, most: int) -> None:
        self._authenticator = authenticator
        self._jobs = jobs
        self._most = most
        self._open: Counter[str] = Counter()

    async def __call__(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            key, principal = await self._authenticate(socket)
        except Fault as fault:
            return await _refuse(socket, UNAUTHORIZED, fault)
        if self._open[principal.tenant_id] >= self._most:
            full = Fault("queue_full", f"more than {self._most} sockets are open", hint="close one, or share one")
            return await _refuse(socket, TOO_MANY, full)
        self._open[principal.tenant_id] += 1
        try:
            await self._talk(socket, principal, key)
        finally:
            self._open[principal.tenant_id] -= 1

    async def _authenticate(self, socket: WebSocket) -> tuple[str | None, Principal]:
        """By the upgrade's own key, or else by a first frame ``{"type": "auth", "token": …}``."""
        key = key_of(socket.scope)
        if not key:
            try:
                async with asyncio.timeout(AUTH_SECONDS):
                    frame = _frame(await socket.receive_text())
            except (TimeoutError, WebSocketDisconnect, KeyError) as error:
                raise Fault("missing_key", "no key came with the upgrade or in a first 'auth' frame") from error
            key = str(frame.get("token") or "") if frame.get("type") == "auth" else None
        principal = await self._authenticator.authenticate(key)
        principal.require(Scope.JOBS)
        return key, principal

    async def _talk(self, socket: WebSocket, principal: Principal, key: str | None) -> None:
        waiting = "pending" if socket.query_params.get("spelling") == "pending" else "pendding"
        events = self._jobs.watch(principal, previews=socket.query_params.get("previews") == "1")
        watch = asyncio.ensure_future(self._authenticator.until_lapsed(key))
        tasks: list[asyncio.Future[Any]] = [
            watch,
            *map(asyncio.ensure_future, (_tell(socket, events, waiting), _listen(socket))),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await _refuse(socket, UNAUTHORIZED, watch.result())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(socket: WebSocket, events: AsyncGenerator[JobEvent], waiting: str) -> None:
    """Writes one connection's messages. ``waiting`` is how a position is called."""
    positions = Positions(waiting)
    async with aclosing(events):
        async for event in events:
            for message in (*positions.messages_of(event), *messages_of(event)):
                await socket.send_text(msgspec.json.encode(message).decode())


class Positions:
    """Tells each position once to one connection, however often its expected time changes."""

    def __init__(self, waiting: str) -> None:
        self._waiting = waiting
        self._told: dict[str, int] = {}

    def messages_of(self, event: JobEvent) -> list[dict[str, Any]]:
        if event.type != Passing.POSITION:
            if event.number is not None and event.type != JobState.QUEUED:
                self._told.pop(event.job_id, None)  # it has moved on; should it wait again, it is told again
            return []
        position, eta = event.data["position"], event.data["eta"]
        if self._told.get(event.job_id) == position:
            return []
        self._told[event.job_id] = position
        data = {"current": position} if eta is None else {"current": position, "eta": eta}
        return [{"type": self._waiting, "taskId": event.job_id, "data": data}]


def messages_of(event: JobEvent) -> list[dict[str, Any]]:
    """An event in v1's words; ``finished`` comes at every end."""

    def message(type_: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"type": type_, "taskId": event.job_id, "data": data}

    match event.type:
        case Passing.PROGRESS:
            return [message("progress", {"process": event.data["percent"]})]
        case Passing.PREVIEW:
            return [message("preview", dict(event.data))]
        case JobState.RUNNING:
            return [message("progress", {"process": 0})]
        case JobState.SUCCEEDED:
            return [message("progress", {"process": 100}), message("finished", {"success": True})]
        case JobState.FAILED:
            error = event.data.get("error", {})
            details = {"message": error.get("message", ""), "error": error.get("type"), "node_id": error.get("node_id")}
            return [message("error", details), message("finished", {"success": False})]
        case JobState.CANCELLED:
            return [message("finished", {"success": False})]
    return []


async def _listen(socket: WebSocket) -> None:
    """Reads until the client goes. The first frame may repeat the key; whatever else comes is answered with an error."""
    while True:
        try:
            text = await socket.receive_text()
        except (WebSocketDisconnect, RuntimeError):
            return
        except KeyError:  # a binary frame
            text = ""
        if _frame(text).get("type") != "auth":
            await socket.send_text(
                '{"type":"error","data":{"message":"this socket takes no frames but auth","error":"invalid_body"}}'
            )


def _frame(text: str) -> dict[str, Any]:
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return frame if isinstance(frame, dict) else {}


async def _refuse(socket: WebSocket, code: int, fault: Fault) -> None:
    message = {"type": "error", "data": {"message": fault.message, "error": fault.slug, "hint": fault.hint}}
    try:
        await socket.send_text(msgspec.json.encode(message).decode())
        await socket.close(code, fault.slug)
    except (WebSocketDisconnect, RuntimeError):
        return
