"""The least that a job can cost here whose result is kept: accepted by a commit, ended by a commit, and the server's own
history read in between.

It knows one server and one kind of job, checks nothing, and survives nothing. Beside it the gateway's figure tells how much
is the gateway's own, and how much the way there is: two more commits, one more hop, and the picture fetched.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.bare import answer
from comfyone.gateway.drivers.http import Http


class Run:
    """One prompt over there: whether it is over, and its picture, which is fetched as soon as it is named."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.picture: asyncio.Task[bytes] | None = None


class Prototype:
    def __init__(self, url: str, database: Path) -> None:
        self._client_id = uuid.uuid4().hex
        self._url = url
        self._http = Http(url)
        self._runs: dict[str, Run] = {}
        self._sql = sqlite3.connect(database, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, body BLOB, result BLOB) WITHOUT ROWID")

    async def listen(self, ready: asyncio.Event) -> None:
        url = f"{self._url.replace('http', 'ws', 1)}/ws"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, params={"clientId": self._client_id}) as ws,
        ):
            ready.set()
            async for frame in ws:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._hear(msgspec.json.decode(frame.data))

    def _hear(self, message: Any) -> None:
        data = message["data"]
        run = self._runs.get(data.get("prompt_id"))
        if run is None:
            return
        if message["type"] == "executed":
            [file] = data["output"]["images"]
            run.picture = asyncio.create_task(self._fetch(file))
        elif message["type"] == "executing" and data["node"] is None:
            run.over.set()

    async def _fetch(self, file: dict[str, str]) -> bytes:
        async with self._http.stream("/view", file) as answer:
            return b"".join([piece async for piece in answer.chunks()])

    async def run(self, request: Request) -> Response:
        body = await request.body()
        graph: Any = msgspec.json.decode(body)
        id_, run = str(uuid.uuid4()), Run()
        self._runs[id_] = run
        self._sql.execute("INSERT INTO jobs VALUES (?, 'queued', ?, NULL)", (id_, body))
        asked = {"prompt": graph, "prompt_id": id_, "client_id": self._client_id}
        await self._http.call("POST", "/prompt", msgspec.json.encode(asked))
        await run.over.wait()
        history = msgspec.json.decode((await self._http.call("GET", f"/history/{id_}")).body)[id_]
        assert history["status"]["status_str"] == "success"
        assert run.picture is not None
        self._sql.execute("UPDATE jobs SET state = 'succeeded', result = ? WHERE id = ?", (await run.picture, id_))
        del self._runs[id_]
        return Response(msgspec.json.encode({"id": id_}), media_type="application/json")

    async def picture(self, request: Request) -> Response:
        found = self._sql.execute("SELECT result FROM jobs WHERE id = ?", (request.path_params["id"],)).fetchone()
        return Response(found[0], media_type="image/png")


async def serve(folder: Path, url: str) -> None:
    prototype, ready = Prototype(url, folder / "prototype.db"), asyncio.Event()
    listening = asyncio.create_task(prototype.listen(ready))
    await ready.wait()
    await answer([Route("/run", prototype.run, methods=["POST"]), Route("/pictures/{id}", prototype.picture)])
    listening.cancel()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), sys.argv[2]))
