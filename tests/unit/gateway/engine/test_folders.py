"""A tenant's own folders: names that lead to files, files that go with their names, and nobody else's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfyone.errors import Fault
from comfyone.gateway.blobs.local import LocalBlobs
from comfyone.gateway.domain.catalogue import Catalogue, catalogue_of
from comfyone.gateway.domain.folders import Clash, check_path, numbered, parse_reference
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.services.folders import Folders
from comfyone.gateway.services.quota import Quota
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.engine.samples import TENANT, new_job, open_store

WHO = Principal(TENANT, "key", frozenset(Scope))
RIVAL = Principal("tenant-2", "key-2", frozenset(Scope))
OBJECT_INFO = {
    "Picture": {"input": {"required": {"file": [["host.png"], {"image_upload": True}]}}},
    "Made": {
        "input": {"required": {"image": ["COMBO", {"image_upload": True, "image_folder": "output", "options": []}]}}
    },
}


class Dispatch:
    """What the service asks of the engine: what the backends have."""

    def catalogues(self, tenant_id: str) -> list[Catalogue]:
        return [catalogue_of(OBJECT_INFO)]


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


def open_folders(store: SqliteStore, folder: Path, lifetime: float | None = None) -> Folders:
    blobs, dispatch = LocalBlobs(folder / "files"), Dispatch()
    return Folders(store, blobs, dispatch, Quota(store, None), limit=1000, lifetime=lifetime)  # type: ignore[arg-type]


async def assets(store: SqliteStore) -> list[str]:
    rows = await store.read(lambda session: session.all("SELECT name FROM assets ORDER BY id"))
    return [row[0] for row in rows]


async def test_a_file_is_found_by_its_name_and_by_nobody_else(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path)
        stored = await folders.store(WHO, "input", "sub/a.png", chunks(b"one"))
        assert (stored.name, stored.subfolder) == ("a.png", "sub")
        file, content = await folders.open(WHO, "input", "sub/a.png")
        assert isinstance(content, Path)
        assert content.read_bytes() == b"one"
        assert [each.path for each in await folders.list(WHO, "input", "sub")] == ["sub/a.png"]
        for who, folder in ((RIVAL, "input"), (WHO, "temp")):
            with pytest.raises(Fault, match="no file"):
                await folders.get(who, folder, "sub/a.png")
            assert await folders.list(who, folder) == []
        with pytest.raises(Fault):
            await folders.put(RIVAL, "input", "mine.png", file.asset)


async def test_a_name_that_is_taken_is_replaced_numbered_or_refused(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path)
        await folders.store(WHO, "input", "a.png", chunks(b"one"))
        same = await folders.store(WHO, "input", "a.png", chunks(b"one"), Clash.RENAME)
        other = await folders.store(WHO, "input", "a.png", chunks(b"two"), Clash.RENAME)
        assert (same.path, other.path) == ("a.png", "a (1).png")
        with pytest.raises(Fault) as refused:
            await folders.store(WHO, "input", "a.png", chunks(b"three"), Clash.REFUSE)
        assert refused.value.slug == "conflict"
        await folders.store(WHO, "input", "a.png", chunks(b"four"))
        assert [each.path for each in await folders.list(WHO, "input")] == ["a (1).png", "a.png"]
        assert len(await assets(store)) == 2, "what nothing names any more is gone"


async def test_a_file_that_loses_its_name_stays_as_long_as_a_job_needs_it(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path)
        used = (await folders.store(WHO, "input", "a.png", chunks(b"one"))).asset
        await store.write(lambda session: session.tenant(TENANT).add_job(new_job(assets=(used.id,))))
        await folders.delete(WHO, "input", "a.png")
        assert await assets(store) == ["a.png"]
        await store.write(lambda session: session.run("DELETE FROM asset_uses"))
        expiring = await store.read(lambda session: session.engine.expiring(time.time(), 10))
        assert expiring == [used.id]


async def test_an_input_expires_with_its_name_and_user_data_never(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path, lifetime=10.0)
        await folders.store(WHO, "input", "a.png", chunks(b"one"))
        await folders.store(WHO, "userdata", "b.json", chunks(b"two"))
        later = time.time() + 20
        due = await store.read(lambda session: session.engine.expiring(later, 10))
        await store.write(lambda session: session.engine.expire(due, later))
        assert await folders.list(WHO, "input") == []
        assert [each.path for each in await folders.list(WHO, "userdata")] == ["b.json"]


async def test_a_moved_file_has_its_new_name_alone(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path)
        await folders.store(WHO, "userdata", "a/b.json", chunks(b"one"))
        moved = await folders.move(WHO, "userdata", "a/b.json", "c.json")
        assert [each.path for each in await folders.list(WHO, "userdata")] == [moved.path] == ["c.json"]
        with pytest.raises(Fault, match="is a folder, or leads through a file"):
            await folders.store(WHO, "userdata", "c.json/d.json", chunks(b"two"))


async def test_a_plain_name_in_a_graph_becomes_the_path_of_the_file(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        folders = open_folders(store, tmp_path)
        a = (await folders.store(WHO, "input", "a.png", chunks(b"one"))).asset
        b = (await folders.store(WHO, "temp", "sub/b.png", chunks(b"two"))).asset
        graph: dict[str, Any] = {
            "1": {"class_type": "Picture", "inputs": {"file": "a.png"}},
            "2": {"class_type": "Picture", "inputs": {"file": "sub/b.png [temp]"}},
            "3": {"class_type": "Picture", "inputs": {"file": "host.png"}},
            "4": {"class_type": "LoadImage", "inputs": {"image": "a.png [input]"}},
            "5": {"class_type": "Text", "inputs": {"file": "a.png"}},
            "6": {"class_type": "Made", "inputs": {"image": "a.png"}},
            "7": {"class_type": "Picture", "inputs": {"file": f"{a.id}/a.png"}},
        }
        values, unresolved = await folders.values(WHO, graph)
        assert values == {
            "1": {"file": f"{a.id}/a.png"},
            "2": {"file": f"{b.id}/b.png"},
            "4": {"image": f"{a.id}/a.png"},
        }
        assert [each.node_id for each in unresolved] == ["3", "6"]
        assert (await folders.resolve(WHO, graph))["1"]["inputs"] == {"file": f"{a.id}/a.png"}
        assert (await folders.resolve(RIVAL, graph)) == graph


@pytest.mark.parametrize("path", ["", "..", "a/../b", "/a", "a//b", "a/", "a\x00b", "C:\\..\\b", "x/" * 40 + "a"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Fault) as refused:
        check_path(path)
    assert refused.value.slug == "bad_file_name"


def test_references_are_read_as_comfyui_writes_them() -> None:
    assert parse_reference("a.png").folder == "input"
    assert parse_reference("a b/c [1].png [output]").path == "a b/c [1].png"
    assert parse_reference("clip\\a.png[temp]").path == "clip/a.png"
    assert numbered("a/b.tar.gz", 2) == "a/b.tar (2).gz"
    assert numbered("a.b/c", 1) == "a.b/c (1)"
