"""One ComfyUI server, over its own HTTP and WebSocket protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from comfyone.gateway.domain.catalogue import Catalogue, catalogue_of
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
from comfyone.gateway.domain.jobs import Failure
from comfyone.gateway.drivers.frames import GREETING, Frames
from comfyone.gateway.drivers.messages import (
    ending_of,
    ids_in_queue,
    is_unable,
    left_out,
    refusal_of,
    where_in_queue,
)

__all__ = ["ComfyUIDriver", "client_session"]

INPUT_FOLDER = "comfyone"
"""Where our inputs lie among a server's own."""

CHUNK = 256 * 1024
PROBE_SECONDS = 5.0
MAX_MESSAGE = 64 * 1024 * 1024

_CALL = aiohttp.ClientTimeout(total=30, connect=5)
_TRANSFER = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)
_CATALOG = aiohttp.ClientTimeout(total=300, connect=5)
_PROBE = aiohttp.ClientTimeout(total=PROBE_SECONDS)


def client_session() -> aiohttp.ClientSession:
    """The HTTP session that the drivers of a process share. It sends no cookies and follows no redirects by itself."""
    # No limit per host: sockets count too, and a server may be registered by many tenants. What runs is bounded by placement.
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


class ComfyUIDriver:
    """See `comfyone.gateway.ports.Driver`.

    ``client_id`` is what ComfyUI addresses messages to. It stays the same over restarts of ours, so that a run that is
    under way goes on speaking to us.
    """

    def __init__(self, url: str, client_id: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._client_id = client_id
        self._session = session

    async def probe(self) -> None:
        async with self._request("GET", "/system_stats", timeout=_PROBE) as response:
            stats = await _json(response)
        if response.status != 200 or not isinstance(stats, dict) or "system" not in stats:
            raise WrongServer(f"what answers at {self._url} is no ComfyUI (GET /system_stats: {response.status})")

    async def ping(self) -> None:
        await self._get("/prompt", timeout=_PROBE)

    async def catalogue(self) -> Catalogue:
        async with self._request("GET", "/object_info", timeout=_CATALOG) as response:
            body = await response.read()
        # megabytes on large installations: read aside, so that nobody waits meanwhile
        object_info = await asyncio.to_thread(_decoded, body)
        if not isinstance(object_info, dict):
            raise Unreachable(f"{self._url} answered GET /object_info with {response.status}")
        return await asyncio.to_thread(catalogue_of, object_info)

    async def prompts(self) -> list[str]:
        return ids_in_queue(await self._get("/queue"))

    async def send(self, prompt_id: str, graph: Mapping[str, Any]) -> Mapping[str, Failure]:
        body = msgspec.json.encode({"prompt": graph, "prompt_id": prompt_id, "client_id": self._client_id})
        headers = {"Content-Type": "application/json"}
        async with self._request("POST", "/prompt", data=body, headers=headers) as response:
            answer = await _json(response)
        if response.status == 200 and isinstance(answer, dict):
            return left_out(answer.get("node_errors"))
        if response.status == 400 and isinstance(answer, dict):
            raise Refused(refusal_of(answer), unable=is_unable(answer))
        if response.status == 413:
            raise Refused(Failure("rejected", "the graph is larger than the server takes"))
        raise Unreachable(f"{self._url} answered POST /prompt with {response.status}", answered=True)

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
        await self._post("/queue", {"delete": [prompt_id]})
        # A server too old to know a targeted interrupt would stop whatever runs, so make sure that it is ours.
        if where_in_queue(await self._get("/queue"), prompt_id) is Where.RUNNING:
            await self._post("/interrupt", {"prompt_id": prompt_id})

    async def place(self, name: str, path: Path) -> str:
        with path.open("rb") as file:
            form = aiohttp.FormData({"type": "input", "subfolder": INPUT_FOLDER, "overwrite": "true"})
            form.add_field("image", file, filename=name, content_type="application/octet-stream")
            async with self._request("POST", "/upload/image", data=form, timeout=_TRANSFER) as response:
                answer = await _json(response)
        if response.status == 413:
            text = f"the server takes no file as large as '{name}'"
            raise Refused(Failure("rejected", text, hint="start ComfyUI with a larger --max-upload-size"))
        if response.status != 200 or not isinstance(answer, dict) or "name" not in answer:
            raise Unreachable(f"{self._url} answered POST /upload/image with {response.status}")
        subfolder = answer.get("subfolder")
        return f"{subfolder}/{answer['name']}" if subfolder else str(answer["name"])

    async def fetch(self, file: FileRef) -> AsyncIterator[bytes]:
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        async with self._request("GET", "/view", params=query, timeout=_TRANSFER) as response:
            if response.status in (400, 403, 404):
                raise Gone(f"{self._url} has no file '{file.filename}' any more ({response.status})", vanished=True)
            if response.status != 200:
                raise Unreachable(f"{self._url} answered GET /view with {response.status}")
            async for chunk in response.content.iter_chunked(CHUNK):
                yield chunk

    async def free(self) -> None:
        await self._post("/free", {"free_memory": True})

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

    async def _get(self, path: str, timeout: aiohttp.ClientTimeout = _CALL) -> dict[str, Any]:
        async with self._request("GET", path, timeout=timeout) as response:
            answer = await _json(response)
        if response.status != 200 or not isinstance(answer, dict):
            raise Unreachable(f"{self._url} answered GET {path} with {response.status}")
        return answer

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        async with self._request("POST", path, json=body) as response:
            if response.status != 200:
                raise Unreachable(f"{self._url} answered POST {path} with {response.status}")

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, timeout: aiohttp.ClientTimeout = _CALL, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one door through which a fault of the network becomes an error of ours."""
        try:
            async with self._session.request(
                method, self._url + path, timeout=timeout, allow_redirects=False, **options
            ) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            raise Unsent(f"{self._url} cannot be reached: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise Unreachable(f"{self._url} did not answer {method} {path}: {_reason(error)}") from error


def _hint(frames: Frames, message: aiohttp.WSMessage) -> Hint | None:
    if message.type is aiohttp.WSMsgType.TEXT:
        return frames.text(message.data)
    return frames.binary(message.data) if message.type is aiohttp.WSMsgType.BINARY else None


async def _json(response: aiohttp.ClientResponse) -> Any:
    return _decoded(await response.read())


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _reason(error: BaseException) -> str:
    return str(getattr(error, "os_error", None) or error or type(error).__name__)
