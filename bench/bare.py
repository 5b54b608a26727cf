"""The least that a durable submission can cost here: one route, one table, one writer that commits what waits.

It checks nothing and can do nothing else. Beside it the gateway's figure tells how much is the gateway's own, and how
much the machine's: the server, the disk and the load generator are the same.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Row = tuple[str, bytes]


class Writer:
    """Commits rows in batches of whatever has arrived."""

    def __init__(self, database: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Row, asyncio.Future[None]]] = SimpleQueue()
        self._database = database
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, row: Row) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((row, future))
        return future

    def _run(self) -> None:
        connection = sqlite3.connect(self._database, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO jobs VALUES (?, ?)", [row for row, _ in batch])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._settle, [future for _, future in batch])

    @staticmethod
    def _settle(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)


async def serve(folder: Path) -> None:
    writer = Writer(folder / "comfyone.db")

    async def accept(request: Request) -> Response:
        body = await request.body()
        content: Any = msgspec.json.decode(body)
        assert isinstance(content, dict)
        job_id = str(uuid.uuid4())
        await writer.add((job_id, body))
        return Response(msgspec.json.encode({"code": 0, "data": {"id": job_id}}), media_type="application/json")

    await answer([Route(path, accept, methods=["POST"]) for path in ("/v1/prompts", "/v1/prompts_workflow")])


async def answer(routes: Sequence[Route]) -> None:
    """Serves routes on a free port, and prints where."""
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, access_log=False, lifespan="off", loop="none")
    # With the protocol named, asyncio turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
