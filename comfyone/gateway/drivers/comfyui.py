"""One ComfyUI server, over its own HTTP and WebSocket protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from typing import IO, Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from comfyone.gateway.domain.catalogue import Catalogue
from comfyone.gateway.domain.evidence import (
    FileRef,
    Gone,
    Hint,
    HintKind,
    Refused,
    Unreachable,
    Unsent,
    Where,
    Whereabouts,
    WrongServer,
)
from comfyone.gateway.domain.files import Content
from comfyone.gateway.domain.jobs import Failure
from comfyone.gateway.drivers.frames import GREETING, Frames
from comfyone.gateway.drivers.http import CALL_SECONDS, Answer, Http
from comfyone.gateway.drivers.messages import (
    ending_of,
    ids_in_queue,
    is_unable,
    left_out,
    refusal_of,
    where_in_queue,
)
from comfyone.gateway.drivers.object_info import Shelf
from comfyone.gateway.drivers.reading import read_json

__all__ = ["ComfyUIDriver", "client_session"]

INPUT_FOLDER = "comfyone"
"""Where our inputs lie among a server's own."""

PROBE_SECONDS = 5.0
CATALOGUE_SECONDS = 300.0
MAX_MESSAGE = 64 * 1024 * 1024
MAX_TOLD = 32 * 1024 * 1024
"""Bytes of the largest answer to a plain question."""

LARGE = 256 * 1024
"""Bytes of an answer that is read aside, so that nobody waits meanwhile."""

_UPLOAD = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)


def client_session() -> aiohttp.ClientSession:
    """What the drivers of a process share for sockets and uploads. It sends no cookies."""
    # No limit per host: sockets count too, and a server may be registered by many tenants. What runs is bounded by placement.
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


class ComfyUIDriver:
    """See `comfyone.gateway.ports.Driver`.

    ``client_id`` is what ComfyUI addresses messages to. It stays the same over restarts of ours, so that a run that is
    under way goes on speaking to us.
    """

    def __init__(self, url: str, client_id: str, session: aiohttp.ClientSession, shelf: Shelf | None = None) -> None:
        self._url = url
        self._shelf = shelf or Shelf()
        self._client_id = client_id
        self._session = session
        self._http = Http(url)

    async def probe(self) -> None:
        answer = await self._http.call("GET", "/system_stats", seconds=PROBE_SECONDS)
        stats = read_json(answer.body)
        if answer.status != 200 or not isinstance(stats, dict) or "system" not in stats:
            raise WrongServer(f"what answers at {self._url} is no ComfyUI (GET /system_stats: {answer.status})")

    async def ping(self) -> None:
        await self._get("/prompt", PROBE_SECONDS)

    async def catalogue(self) -> Catalogue:
        answer = await self._http.call("GET", "/object_info", seconds=CATALOGUE_SECONDS)
        # megabytes on large installations: read aside, so that nobody waits meanwhile
        catalogue = await asyncio.to_thread(self._shelf.read, answer.body)
        if catalogue is None:
            raise Unreachable(f"{self._url} answered GET /object_info with {answer.status}")
        return catalogue

    async def ask(self, path: str, query: Mapping[str, str]) -> Any:
        asked = path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        answer = await self._http.call("GET", asked, most=MAX_TOLD)
        if answer.status in (400, 403, 404):
            return None
        body = answer.body
        told = read_json(body) if len(body) <= LARGE else await asyncio.to_thread(read_json, body)
        if answer.status != 200 or told is None:
            raise Unreachable(f"{self._url} answered GET {path} with {answer.status}")
        return told

    async def prompts(self) -> list[str]:
        return ids_in_queue(await self._get("/queue"))

    async def send(
        self, prompt_id: str, graph: Mapping[str, Any], *, extra: Mapping[str, Any], targets: Sequence[str]
    ) -> Mapping[str, Failure]:
        body: dict[str, Any] = {"prompt": graph, "prompt_id": prompt_id, "client_id": self._client_id}
        if extra:
            body["extra_data"] = extra
        if targets:
            body["partial_execution_targets"] = targets
        answer = await self._post("/prompt", body)
        told = read_json(answer.body)
        if answer.status == 200 and isinstance(told, dict):
            return left_out(told.get("node_errors"))
        if answer.status == 400 and isinstance(told, dict):
            raise Refused(refusal_of(told), unable=is_unable(told))
        if answer.status == 413:
            raise Refused(Failure("rejected", "the graph is larger than the server takes"))
        raise Unreachable(f"{self._url} answered POST /prompt with {answer.status}", answered=True)

    async def look(self, prompt_id: str, *, ended: bool) -> Whereabouts:
        """The queue first, then the history: a prompt that moves on between the two is then met in the second."""
        if ended and (seen := await self._ending(prompt_id)).ending:
            return seen
        queue = await self._get("/queue")
        where = where_in_queue(queue, prompt_id)
        return Whereabouts(where) if where is not Where.ABSENT else await self._ending(prompt_id)

    async def _ending(self, prompt_id: str) -> Whereabouts:
        entry = (await self._get(f"/history/{prompt_id}")).get(prompt_id)
        return ending_of(entry) if entry else Whereabouts(Where.ABSENT)

    async def stop(self, prompt_id: str) -> None:
        await self._tell("/queue", {"delete": [prompt_id]})
        # A server too old to know a targeted interrupt would stop whatever runs, so make sure that it is ours.
        if where_in_queue(await self._get("/queue"), prompt_id) is Where.RUNNING:
            await self._tell("/interrupt", {"prompt_id": prompt_id})

    async def place(self, name: str, content: Content) -> str:
        with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            status, answer = await self._upload(name, file)
        if status == 413:
            text = f"the server takes no file as large as '{name}'"
            raise Refused(Failure("rejected", text, hint="start ComfyUI with a larger --max-upload-size"))
        if status != 200 or not isinstance(answer, dict) or "name" not in answer:
            raise Unreachable(f"{self._url} answered POST /upload/image with {status}")
        subfolder = answer.get("subfolder")
        return f"{subfolder}/{answer['name']}" if subfolder else str(answer["name"])

    async def _upload(self, name: str, file: IO[bytes]) -> tuple[int, Any]:
        form = aiohttp.FormData({"type": "input", "subfolder": INPUT_FOLDER, "overwrite": "true"})
        form.add_field("image", file, filename=name, content_type="application/octet-stream")
        try:
            async with self._session.post(
                f"{self._url}/upload/image", data=form, timeout=_UPLOAD, allow_redirects=False
            ) as response:
                return response.status, read_json(await response.read())
        except aiohttp.ClientConnectorError as error:
            raise Unsent(f"{self._url} cannot be reached: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise Unreachable(f"{self._url} did not answer POST /upload/image: {_reason(error)}") from error

    async def fetch(self, file: FileRef) -> AsyncIterator[bytes]:
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        async with self._http.stream("/view", query) as answer:
            if answer.status in (400, 403, 404):
                raise Gone(f"{self._url} has no file '{file.filename}' any more ({answer.status})", vanished=True)
            if answer.status != 200:
                raise Unreachable(f"{self._url} answered GET /view with {answer.status}")
            async for chunk in answer.chunks():
                yield chunk

    async def free(self, *, cache: bool, models: bool) -> None:
        await self._tell("/free", {"free_memory": cache, "unload_models": models})

    async def hints(self) -> AsyncIterator[Hint]:
        """The socket closes itself when the server stays silent to pings, so a dead peer is noticed."""
        url = self._url.replace("http", "ws", 1) + "/ws"
        try:
            async with self._session.ws_connect(
                url,
                params={"clientId": self._client_id},
                heartbeat=20,
                max_msg_size=MAX_MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=2),
            ) as socket:
                await socket.send_str(GREETING)
                yield Hint(HintKind.CONNECTED)
                frames = Frames()
                async for message in socket:
                    if hint := _hint(frames, message):
                        yield hint
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the socket of {self._url} failed: {_reason(error)}") from error

    def close(self) -> None:
        self._http.close()

    async def _get(self, path: str, seconds: float = CALL_SECONDS) -> dict[str, Any]:
        answer = await self._http.call("GET", path, seconds=seconds)
        told = read_json(answer.body)
        if answer.status != 200 or not isinstance(told, dict):
            raise Unreachable(f"{self._url} answered GET {path} with {answer.status}")
        return told

    async def _tell(self, path: str, body: Mapping[str, Any]) -> None:
        answer = await self._post(path, body)
        if answer.status != 200:
            raise Unreachable(f"{self._url} answered POST {path} with {answer.status}")

    async def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return await self._http.call("POST", path, msgspec.json.encode(body))


def _hint(frames: Frames, message: aiohttp.WSMessage) -> Hint | None:
    if message.type is aiohttp.WSMsgType.TEXT:
        return frames.text(message.data)
    return frames.binary(message.data) if message.type is aiohttp.WSMsgType.BINARY else None


def _reason(error: BaseException) -> str:
    return str(getattr(error, "os_error", None) or error or type(error).__name__)
