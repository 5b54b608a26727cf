"""Blobs: whole or not at all, under the hash of their content."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from comfyone.errors import Fault
from comfyone.gateway.blobs.local import DIRECT, LocalBlobs


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, DIRECT, DIRECT + 1, 3 * DIRECT])
async def test_a_blob_is_kept_under_its_hash_whatever_its_size(tmp_path: Path, size: int) -> None:
    blobs, content = LocalBlobs(tmp_path), os.urandom(size)
    blob = await blobs.put(chunks(content[: size // 2], content[size // 2 :]))
    assert (blob.hash, blob.size) == (blake3(content).hexdigest(), size)
    assert blobs.path(blob.hash).read_bytes() == content
    assert files_in(tmp_path) == [blobs.path(blob.hash)]


@pytest.mark.parametrize("size", [1, 99, 100])
async def test_few_bytes_are_given_back_and_not_stored(tmp_path: Path, size: int) -> None:
    blobs, content = LocalBlobs(tmp_path, small=100), os.urandom(size)
    blob = await blobs.put(chunks(content[:1], content[1:]))
    assert (blob.hash, blob.size, blob.content) == (blake3(content).hexdigest(), size, content)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [DIRECT, DIRECT + 1, 2 * DIRECT, 2 * DIRECT + 1])
async def test_nothing_is_cut_however_many_bytes_count_as_few(tmp_path: Path, size: int) -> None:
    blobs, content = LocalBlobs(tmp_path, small=2 * DIRECT), os.urandom(size)
    blob = await blobs.put(chunks(content[:-1], content[-1:]))
    kept = blobs.path(blob.hash).read_bytes() if blob.content is None else blob.content
    assert (blob.hash, blob.size, kept) == (blake3(content).hexdigest(), size, content)
    assert files_in(tmp_path) == ([blobs.path(blob.hash)] if blob.content is None else [])


async def test_few_bytes_are_stored_where_they_should_not_be_in_hand(tmp_path: Path) -> None:
    blob = await LocalBlobs(tmp_path, small=100).put(chunks(b"few"), inline=False)
    assert blob.content is None
    assert files_in(tmp_path) != []


async def test_more_than_few_bytes_are_stored(tmp_path: Path) -> None:
    blob = await LocalBlobs(tmp_path, small=100).put(chunks(bytes(60), bytes(41)))
    assert blob.content is None
    assert len(files_in(tmp_path)) == 1


async def test_a_sender_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(Fault, match="cannot be stored"):
        await LocalBlobs(tmp_path).put(broken())
    assert files_in(tmp_path) == []


async def test_a_put_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(DIRECT + 1)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(LocalBlobs(tmp_path).put(endless()))
    await begun.wait()
    assert len(files_in(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(tmp_path) == []


async def test_a_blob_over_the_limit_is_refused_before_it_is_read_to_its_end(tmp_path: Path) -> None:
    taken = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 10
            yield b"x" * 10

    with pytest.raises(Fault) as caught:
        await LocalBlobs(tmp_path).put(large(), limit=25)
    assert caught.value.slug == "too_large"
    assert taken == 30
    assert files_in(tmp_path) == []
    assert (await LocalBlobs(tmp_path).put(chunks(b"x" * 25), limit=25)).size == 25


async def test_the_same_content_twice_is_one_blob_even_at_once(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    first, second = await asyncio.gather(blobs.put(chunks(b"a", b"b")), blobs.put(chunks(b"ab")))
    assert first == second
    assert len(files_in(tmp_path)) == 1


async def test_what_a_killed_process_left_half_written_is_removed_and_the_rest_stays(tmp_path: Path) -> None:
    kept = await LocalBlobs(tmp_path).put(chunks(b"whole"))
    (tmp_path / "incoming" / "0123").write_bytes(b"half")
    blobs = LocalBlobs(tmp_path)
    assert files_in(tmp_path) == [blobs.path(kept.hash)]


async def test_only_old_blobs_are_offered_to_the_sweep_and_a_new_put_makes_one_young_again(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    old, young = await blobs.put(chunks(b"old")), await blobs.put(chunks(b"young"))
    hour_ago = time.time() - 3600
    os.utime(blobs.path(old.hash), (hour_ago, hour_ago))
    assert list(blobs.aged(1800)) == [old.hash]
    blobs.delete(young.hash, aged=1800)
    assert blobs.path(young.hash).exists()
    await blobs.put(chunks(b"old"))
    blobs.delete(old.hash, aged=1800)
    assert blobs.path(old.hash).exists()
    os.utime(blobs.path(old.hash), (hour_ago, hour_ago))
    blobs.delete(old.hash, aged=1800)
    blobs.delete(old.hash, aged=1800)
    assert not blobs.path(old.hash).exists()


async def test_a_disk_that_takes_no_more_is_a_fault_that_says_to_come_back(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    (tmp_path / "incoming").rmdir()
    with pytest.raises(Fault) as caught:
        await blobs.put(chunks(b"content"))
    assert caught.value.slug == "unavailable"
    assert caught.value.retry_after
    (tmp_path / "incoming").mkdir()
    assert (await blobs.put(chunks(b"content"))).size == 7


async def test_a_blob_that_is_renewed_is_young_and_one_that_is_gone_cannot_be(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = await blobs.put(chunks(b"content"))
    os.utime(blobs.path(blob.hash), (0, 0))
    assert blobs.renew(blob.hash)
    assert list(blobs.aged(1800)) == []
    blobs.path(blob.hash).unlink()
    assert not blobs.renew(blob.hash)


async def test_a_blob_and_its_name_are_on_the_disk_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    blobs = LocalBlobs(tmp_path)
    blob = await blobs.put(chunks(b"content"))
    assert Path(synced[0]).parent == tmp_path / "incoming"
    assert synced[1:] == [str(tmp_path), str(blobs.path(blob.hash).parent)]
