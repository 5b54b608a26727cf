"""Bytes vanish when nobody names them any more, and never otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from comfyone.gateway.blobs.local import LocalBlobs
from comfyone.gateway.dispatch.abilities import Abilities
from comfyone.gateway.dispatch.collect import Collector
from comfyone.gateway.dispatch.housekeeping import BLOB_AGE, Housekeeping
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.evidence import FileRef, Produced
from comfyone.gateway.domain.files import Asset, Blob
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.engine.samples import TENANT, open_store

T = TypeVar("T")


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


def age(blobs: LocalBlobs, hash: str) -> None:
    """Makes a blob as old as the sweep wants it."""
    then = time.time() - BLOB_AGE - 60
    os.utime(blobs.path(hash), (then, then))


async def old_blob(blobs: LocalBlobs, content: bytes) -> Blob:
    blob = await blobs.put(chunks(content))
    age(blobs, blob.hash)
    return blob


def asset(blob: Blob) -> Asset:
    return Asset(new_id(), TENANT, blob.hash, "a.bin", "application/octet-stream", blob.size, time.time())


def sweeper(store: Any, blobs: LocalBlobs) -> Housekeeping:
    return Housekeeping(store, blobs, Limits(), _none, Abilities({}, _none))


def _none(tenant_id: str) -> list[Any]:
    return []


class Interrupted:
    """A store in which something happens right after each look, before anything is done about it."""

    def __init__(self, store: SqliteStore, meanwhile: Callable[[], Any]) -> None:
        self._store = store
        self._meanwhile = meanwhile

    async def read(self, query: Callable[[SqlSession], T]) -> T:
        found = await self._store.read(query)
        await self._meanwhile()
        return found


async def test_the_sweep_takes_old_bytes_that_no_asset_names(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "files")
    async with open_store(tmp_path / "db") as store:
        orphan, named, young = await old_blob(blobs, b"1"), await old_blob(blobs, b"2"), await blobs.put(chunks(b"3"))
        kept = asset(named)
        await store.write(lambda session: session.tenant(TENANT).add_asset(kept, uploaded=True))
        await sweeper(store, blobs).sweep_blobs()
        assert [blobs.path(blob.hash).exists() for blob in (orphan, named, young)] == [False, True, True]
        await store.write(lambda session: session.tenant(TENANT).delete_asset(kept.id))
        await sweeper(store, blobs).sweep_blobs()
        assert not blobs.path(named.hash).exists()


@pytest.mark.parametrize("committed", [False, True])
async def test_an_upload_of_the_same_content_in_the_middle_of_a_sweep_keeps_it(tmp_path: Path, committed: bool) -> None:
    blobs = LocalBlobs(tmp_path / "files")
    async with open_store(tmp_path / "db") as store:
        orphan = await old_blob(blobs, b"again")

        async def upload() -> None:
            blob = await blobs.put(chunks(b"again"))
            assert blob.hash == orphan.hash
            if committed:
                await store.write(lambda session: session.tenant(TENANT).add_asset(asset(blob), uploaded=True))

        await sweeper(Interrupted(store, upload), blobs).sweep_blobs()
        assert blobs.path(orphan.hash).read_bytes() == b"again"


class Server:
    """A backend that has one file, and counts how often it is fetched."""

    def __init__(self) -> None:
        self.fetched = 0

    async def fetch(self, file: FileRef) -> AsyncIterator[bytes]:
        self.fetched += 1
        yield b"a picture"


@pytest.mark.parametrize("swept", [False, True])
async def test_what_was_fetched_early_in_a_long_run_is_there_at_its_end(tmp_path: Path, swept: bool) -> None:
    blobs, server = LocalBlobs(tmp_path / "files"), Server()
    produced = [Produced("9", "images", FileRef("a.png", "", "output"))]
    async with open_store(tmp_path / "db") as store:
        collector = Collector(TENANT, ["9"], server, blobs)  # type: ignore[arg-type]
        collector.start(produced)
        [early] = await collector.finish(produced)
        assert early.asset is not None
        age(blobs, early.asset.hash)
        if swept:
            await sweeper(store, blobs).sweep_blobs()
        [output] = await collector.finish(produced)
        assert output.asset is not None
        await sweeper(store, blobs).sweep_blobs()  # before the end is committed
        assert blobs.path(output.asset.hash).read_bytes() == b"a picture"
        assert server.fetched == (2 if swept else 1)
