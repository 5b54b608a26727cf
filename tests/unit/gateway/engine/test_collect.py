"""Fetching what a prompt produced: soon, but never so much at once that nothing is left for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from comfyone.gateway.blobs.local import LocalBlobs
from comfyone.gateway.dispatch.collect import MAX_FETCHES, Collector
from comfyone.gateway.domain.evidence import FileRef, Produced
from comfyone.gateway.ports import Driver
from tests.unit.gateway.engine.samples import TENANT

MANY = 200


class Slow:
    """A server that has every file, and counts how many of them are asked for at the same time."""

    def __init__(self) -> None:
        self.busy = self.most = 0

    async def fetch(self, file: FileRef) -> AsyncIterator[bytes]:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0.001)
        yield file.filename.encode()
        self.busy -= 1


async def test_however_many_files_a_node_names_few_are_fetched_at_once(tmp_path: Path) -> None:
    server: Any = Slow()
    collector = Collector(TENANT, (), cast(Driver, server), LocalBlobs(tmp_path))
    produced = [Produced("3", "images", file=FileRef(f"{number}.png", "", "output")) for number in range(MANY)]
    collector.start(produced)
    outputs = await collector.finish(produced)
    assert [output.name for output in outputs] == [f"{number}.png" for number in range(MANY)]
    assert 1 < server.most <= MAX_FETCHES


async def test_what_a_windows_server_announces_is_found_by_its_place(tmp_path: Path) -> None:
    server: Any = Slow()
    collector = Collector(TENANT, (), cast(Driver, server), LocalBlobs(tmp_path))
    collector.start([Produced("3", "images", file=FileRef("x.png", "a\\b", "output"))])
    assert await collector.announced(FileRef("x.png", "a/b", "output")) is not None
    assert await collector.announced(FileRef("x.png", "a/b", "temp")) is None
