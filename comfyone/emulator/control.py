"""The sandbox's own interface below ``/sandbox``, and what the knobs do to requests."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from comfyone.emulator.routes import answer, cut, read_json
from comfyone.emulator.scenario import Scenario, ScenarioError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from comfyone.emulator.server import Server

OWN = "/sandbox/"
LONGEST_ABSENCE = 3600
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Control:
    """Handlers for the knobs and the records."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/sandbox/scenario", self.get_scenario),
            web.patch("/sandbox/scenario", self.patch_scenario),
            web.delete("/sandbox/scenario", self.reset_scenario),
            web.post("/sandbox/restart", self.restart),
            web.post("/sandbox/refuse", self.refuse),
            web.post("/sandbox/drop_sockets", self.drop_sockets),
            web.get("/sandbox/executions", self.executions),
        ]

    async def get_scenario(self, request: web.Request) -> web.Response:
        return answer(self._server.scenario)

    async def patch_scenario(self, request: web.Request) -> web.Response:
        try:
            self._server.set(await read_json(request))
        except json.JSONDecodeError as error:
            return _refusal(f"scenario: the body is not JSON ({error}); send an object of knobs")
        except (ScenarioError, msgspec.ValidationError) as error:
            return _refusal(str(error))
        return answer(self._server.scenario)

    async def reset_scenario(self, request: web.Request) -> web.Response:
        self._server.set(msgspec.to_builtins(Scenario()))
        return answer(self._server.scenario)

    async def restart(self, request: web.Request) -> web.Response:
        return await self._away(request, self._server.restart)

    async def refuse(self, request: web.Request) -> web.Response:
        return await self._away(request, self._server.refuse)

    async def _away(self, request: web.Request, leave: object) -> web.Response:
        """Be away for ``seconds`` (query parameter); the answer goes out before the connection is cut."""
        text = request.query.get("seconds", "0")
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= LONGEST_ABSENCE:
            return _refusal(f"seconds: {text!r} is not a number from 0 to {LONGEST_ABSENCE}")
        self._server.after_answer(leave, seconds)
        return answer({"seconds": seconds}, 202)

    async def drop_sockets(self, request: web.Request) -> web.Response:
        self._server.machine.sockets.cut_all()
        return answer({})

    async def executions(self, request: web.Request) -> web.Response:
        records = self._server.records
        wanted = request.query.get("prompt_id")
        return answer({"executions": list(records) if wanted is None else records.of(wanted)})


def _refusal(message: str) -> web.Response:
    return answer({"error": {"type": "bad_scenario", "message": message}}, 400)


def troubles(server: Server) -> Middleware:
    """Make the middleware that lets requests fail as the scenario says, and answers 500 for what a handler raises."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(OWN):
            return await handler(request)
        scenario, path = server.scenario, request.path.removeprefix("/api")
        if scenario.slow_requests and (delay := scenario.delay(path)):
            if request.content_type == "application/json":
                await request.read()  # it has come: who hangs up meanwhile does not take it back
            await asyncio.sleep(delay)
        if scenario.reset_connections:
            cut(request)
            return web.Response(status=503)  # nobody hears it, but nothing is done either
        if scenario.fail_requests and scenario.take_failure(path):
            return web.Response(status=scenario.fail_status, text=f"{scenario.fail_status}: the scenario says so\n")
        if _is_foreign(request):
            return web.Response(status=403)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 (the HTTP edge: the original answers everything unforeseen like this)
            text = "500 Internal Server Error\n\nServer got itself in trouble"
            response = web.Response(status=500, text=text)
            response.force_close()
            return response

    return middleware


def _is_foreign(request: web.Request) -> bool:
    """Whether a page of another site asks, which a server on this machine refuses."""
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    if origin is None:
        return False
    here, there = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
    if here.hostname not in LOOPBACK or not there.hostname:
        return False
    ports = (here.port, there.port) if here.port and there.port else (None, None)
    return (here.hostname, ports[0]) != (there.hostname, ports[1])
