"""Fetches what a prompt produced and stores it, starting as soon as a node reports its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import msgspec

from comfyone.gateway.domain.evidence import FileRef, Gone, Produced
from comfyone.gateway.domain.files import Asset, Blob, Output, ServerFile, kind_of, mime_of_name, place_of, plain_name
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.ports import Blobs, Driver

__all__ = ["Collector"]

MAX_FETCHES = 8
"""Files that are fetched at the same time: each needs a connection, and one graph may name thousands."""

MAX_INLINE = 64
"""Files of a job that may be kept in the database, however small all are: they are in memory until its end."""


class Collector:
    """The outputs of one attempt. Only those of ``nodes`` count; with no nodes declared, all do. With ``named`` the outputs
    remember how the server named them."""

    def __init__(
        self, tenant_id: str, nodes: Sequence[str], driver: Driver, blobs: Blobs, *, named: bool = False
    ) -> None:
        self._tenant_id = tenant_id
        self._nodes = nodes
        self._driver = driver
        self._blobs = blobs
        self._named = named
        self._fetching: dict[FileRef, asyncio.Task[Blob]] = {}
        self._free = asyncio.Semaphore(MAX_FETCHES)

    def start(self, produced: Iterable[Produced]) -> None:
        """Begins to fetch, on a hint: what is fetched counts only if the evidence names it too."""
        for item in self._wanted(produced):
            if item.file and item.file not in self._fetching:
                inline = len(self._fetching) < MAX_INLINE
                task = asyncio.create_task(self._fetch(item.file, inline), name=f"fetch {item.file.filename}")
                task.add_done_callback(_seen)  # one that nobody comes back for may have failed
                self._fetching[item.file] = task

    async def finish(self, produced: Sequence[Produced]) -> list[Output]:
        """Everything that the evidence names, stored, in the order of the declared nodes.

        Raises:
            Gone: when a declared node produced nothing, or a file of it is no longer there.
            Unreachable: when the backend did not answer.
        """
        wanted = self._wanted(produced)
        missing = set(self._nodes) - {item.node_id for item in wanted}
        if missing:
            raise Gone(
                f"output node '{min(missing)}' produced nothing",
                hint="declare a node that saves something, such as SaveImage",
            )
        self.start(wanted)
        for file in {item.file for item in wanted if item.file}:
            await self._blob(file)
        order = {node_id: position for position, node_id in enumerate(self._nodes)}
        return [await self._output(item) for item in sorted(wanted, key=lambda item: order.get(item.node_id, 0))]

    async def announced(self, file: FileRef) -> Blob | None:
        """A file that a node has reported, as soon as it is here; None when none did, or it could not be had."""
        task = self._fetching.get(file) or self._at(place_of(file.filename, file.subfolder, file.type))
        if task is None:
            return None
        await asyncio.wait([task])  # not the task itself: whoever goes away must not take it along
        return None if task.cancelled() or task.exception() else task.result()

    def _at(self, place: tuple[str, str]) -> asyncio.Task[Blob] | None:
        places = ((place_of(file.filename, file.subfolder, file.type), task) for file, task in self._fetching.items())
        return next((task for found, task in places if found == place), None)

    def forget(self) -> None:
        """Drops what was begun: a later attempt fetches anew."""
        for task in self._fetching.values():
            task.cancel()
        self._fetching.clear()

    def _wanted(self, produced: Iterable[Produced]) -> list[Produced]:
        return [item for item in produced if not self._nodes or item.node_id in self._nodes]

    async def _output(self, item: Produced) -> Output:
        if item.file is None:
            told = _server_word(item) if self._named else None
            return Output(item.node_id, item.kind, value=msgspec.json.encode(item.value), file=told)
        blob = await self._blob(item.file)
        if blob.content is None and not self._blobs.renew(blob.hash):
            # It came hours ago, early in a long run, and has been swept as nobody's.
            self._fetching.pop(item.file)
            self.start([item])
            blob = await self._blob(item.file)
        name = plain_name(item.file.filename, "output")
        mime = blob.mime or mime_of_name(name)
        asset = Asset(new_id(), self._tenant_id, blob.hash, name, mime, blob.size, time.time())
        named = _server_file(item, item.file) if self._named else None
        return Output(item.node_id, kind_of(mime), name, asset, content=blob.content, file=named)

    async def _blob(self, file: FileRef) -> Blob:
        try:
            return await self._fetching[file]
        except BaseException:
            self._fetching.pop(file, None)  # so that another try fetches again
            raise

    async def _fetch(self, file: FileRef, inline: bool) -> Blob:
        async with self._free:
            blob = await self._blobs.put(self._driver.fetch(file), inline=inline)
        if blob.size == 0:
            raise Gone(f"file '{file.filename}' is empty")
        return blob


def _server_file(item: Produced, file: FileRef) -> ServerFile:
    return ServerFile(item.kind, file.filename, file.subfolder, file.type, item.more, item.remarks)


def _server_word(item: Produced) -> ServerFile | None:
    """How the server told of a value, if it said more than a list of values."""
    if not item.single and not item.remarks:
        return None
    return ServerFile(item.kind, "", "", "", remarks=item.remarks, single=item.single)


def _seen(task: asyncio.Task[Blob]) -> None:
    if not task.cancelled():
        task.exception()
