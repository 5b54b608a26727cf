"""A tenant's files under the names that ComfyUI's clients give them: its inputs, its passing files, and its user data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.files import (
    Asset,
    Blob,
    Content,
    asset_path,
    is_at,
    mime_of_name,
    parse_asset_path,
    place_of,
)
from comfyone.gateway.domain.folders import (
    Clash,
    Folder,
    NamedFile,
    Reference,
    Upload,
    check_path,
    numbered,
    references_of,
)
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.domain.workflows import Values
from comfyone.gateway.ports import Blobs, Dispatch, FolderDoor, JobView, Session, Store
from comfyone.gateway.services.quota import Quota
from comfyone.graph.document import Graph, with_values

__all__ = ["Folders", "Unresolved"]

MAX_NAMES = 10_000
"""Names in one folder of a tenant."""

MAX_NUMBER = 1000
"""How often a name may be taken before an upload under it is refused."""


MAX_TRIES = 100
"""How often a file is changed anew that somebody else has changed meanwhile."""

Choose = Callable[[FolderDoor, Folder, str], tuple[str, NamedFile | None] | None]
"""Says under which name to store a file, or which file to take for it; or not to store it."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An input that names a file which the tenant does not have."""

    node_id: str
    input: str
    value: str


class Folders:
    """``limit`` is the size of the largest file, in bytes; ``lifetime`` how long inputs are kept, in seconds.

    A file that is stored here is kept by its name: whoever takes the name away, or gives it to other bytes, has let it go.
    """

    def __init__(
        self, store: Store, blobs: Blobs, dispatch: Dispatch, quota: Quota, *, limit: int, lifetime: float | None
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._dispatch = dispatch
        self._quota = quota
        self._lifetime = lifetime
        self.limit = limit

    async def store(
        self,
        principal: Principal,
        folder: str,
        path: str,
        chunks: AsyncIterator[bytes],
        clash: Clash = Clash.REPLACE,
    ) -> NamedFile:
        """Stores a file under a name, see `receive` and `keep`."""
        where, path = Folder(folder), check_path(path)
        return await self.keep(principal, where, path, await self.receive(principal, chunks), clash)

    async def receive(self, principal: Principal, chunks: AsyncIterator[bytes], most: int | None = None) -> Blob:
        """Takes in bytes that have no name yet, ``most`` of them; without a name they are soon forgotten.

        Raises:
            Fault: ``too_large``, ``quota_exceeded``.
        """
        principal.require(Scope.JOBS)
        limit = self.limit if most is None else min(most, self.limit)
        return await self._blobs.put(self._quota.bounded(principal, chunks), limit=limit)

    def content_of(self, blob: Blob) -> Content:
        """The bytes that were just received, or where they are."""
        return blob.content or self._blobs.path(blob.hash)

    async def keep(
        self, principal: Principal, folder: str, path: str, blob: Blob, clash: Clash = Clash.REPLACE
    ) -> NamedFile:
        """Gives a name to bytes that were just received.

        Raises:
            Fault: ``bad_file_name``, ``quota_exceeded``; ``conflict`` when the name is taken and that is to be `Clash.REFUSE`,
                or is that of a folder.
        """
        principal.require(Scope.JOBS)
        choose = partial(_free_name, hash=blob.hash, clash=clash)
        named = await self._name(principal, Folder(folder), check_path(path), blob, choose)
        assert named is not None
        return named

    async def _name(
        self, principal: Principal, folder: Folder, path: str, blob: Blob, choose: Choose
    ) -> NamedFile | None:
        """Stores bytes under the name that is chosen, unless the file there is chosen instead; None when nothing is."""
        asset = self._asset(principal, folder, path, blob)

        def add(session: Session) -> NamedFile | None:
            door = session.folders(principal.tenant_id)
            chosen = choose(door, folder, path)
            if chosen is None:
                return None
            name, earlier = chosen
            if earlier is not None:  # the same bytes again: nothing changes, but how long they are kept
                door.put(folder, name, earlier.asset, earlier.modified_at, MAX_NAMES, until=asset.expires_at)
                return _found(door, folder, name)
            self._quota.admit(principal, tenant := session.tenant(principal.tenant_id), asset, blob.content)
            kept = tenant.add_asset(asset, uploaded=False, content=blob.content)
            door.put(folder, name, kept, asset.created_at, MAX_NAMES, until=asset.expires_at)
            return _found(door, folder, name)

        stored = await self._store.write(add)
        self._quota.forget(principal.tenant_id)  # what had the name before may be gone
        return stored

    async def change(
        self, principal: Principal, folder: str, path: str, change: Callable[[bytes | None], bytes], most: int
    ) -> NamedFile:
        """Replaces a file of ``most`` bytes by what ``change`` makes of it, of None where there is none, or a larger one;
        whoever changes it at the same time comes before or after.

        Raises:
            Fault: as `keep`; ``too_large`` for what would be larger; ``unavailable`` when it never was left alone for long
                enough.
        """
        for _ in range(MAX_TRIES):
            file, content = await self._look(principal, Folder(folder), path)
            if file is not None and file.asset.size > most:
                content = None
            if isinstance(content, Path):
                content = await asyncio.to_thread(content.read_bytes)
            changed = change(content)
            if len(changed) > most:
                raise Fault("too_large", f"'{path}' would have {len(changed):,} bytes, at most {most:,} are kept")
            blob = await self.receive(principal, _once(changed))
            named = await self._name(principal, Folder(folder), path, blob, partial(_unchanged, earlier=file))
            if named is not None:
                return named
        raise Fault("unavailable", f"'{path}' is being changed by too many", field="file", retry_after=1)

    async def _look(self, principal: Principal, folder: Folder, path: str) -> tuple[NamedFile | None, Content | None]:
        try:
            return await self.open(principal, folder, path)
        except Fault as fault:
            if fault.slug != "not_found":
                raise
            return None, None

    async def put(self, principal: Principal, folder: str, path: str, asset: Asset) -> NamedFile:
        """Gives a name to an upload of the tenant, for as long as it is one. The file that had the name is let go.

        Raises:
            Fault: ``bad_file_name``, ``quota_exceeded``, ``conflict``; ``not_found`` when the tenant has no such upload.
        """
        principal.require(Scope.JOBS)
        where, path, now = Folder(folder), check_path(path), time.time()

        def name(session: Session) -> NamedFile:
            door = session.folders(principal.tenant_id)
            upload = session.tenant(principal.tenant_id).upload(asset.id, now)
            door.put(where, path, upload, now, MAX_NAMES, uploaded=True)
            return _found(door, where, path)

        return await self._store.write(name)

    async def get(self, principal: Principal, folder: str, path: str) -> NamedFile:
        """Raises:
        Fault: ``not_found``.
        """
        principal.require(Scope.JOBS)
        where = Folder(folder)
        return await self._store.read(lambda session: _found(session.folders(principal.tenant_id), where, path))

    async def open(self, principal: Principal, folder: str, path: str) -> tuple[NamedFile, Content]:
        """A file and its bytes, or where they are.

        Raises:
            Fault: ``not_found``.
        """
        principal.require(Scope.JOBS)
        where = Folder(folder)

        def query(session: Session) -> tuple[NamedFile, bytes | None]:
            file = _found(session.folders(principal.tenant_id), where, path)
            return file, session.tenant(principal.tenant_id).content(file.asset.id)[1]

        file, content = await self._store.read(query)
        return file, content or self._blobs.path(file.asset.hash)

    async def list(self, principal: Principal, folder: str, below: str = "") -> list[NamedFile]:
        """The files of a folder, or of one within it, by path."""
        principal.require(Scope.JOBS)
        where = Folder(folder)
        return await self._store.read(lambda session: session.folders(principal.tenant_id).all(where, below))

    async def delete(self, principal: Principal, folder: str, path: str) -> None:
        """Raises:
        Fault: ``not_found``.
        """
        principal.require(Scope.JOBS)
        where = Folder(folder)
        if not await self._store.write(lambda session: session.folders(principal.tenant_id).delete(where, path)):
            raise _unknown(path)
        self._quota.forget(principal.tenant_id)

    async def move(
        self, principal: Principal, folder: str, path: str, new_path: str, clash: Clash = Clash.REPLACE
    ) -> NamedFile:
        """Gives a file another name.

        Raises:
            Fault: ``not_found``, ``bad_file_name``; ``conflict`` when the new name is taken and that is to be `Clash.REFUSE`.
        """
        principal.require(Scope.JOBS)
        where, new_path, now = Folder(folder), check_path(new_path), time.time()

        def rename(session: Session) -> NamedFile:
            door = session.folders(principal.tenant_id)
            file = _found(door, where, path)
            target, _ = _free_name(door, where, new_path, "", clash)
            door.move(where, file.path, target, now, MAX_NAMES)
            return _found(door, where, target)

        return await self._store.write(rename)

    # graphs

    async def values(self, principal: Principal, graph: Graph) -> tuple[Values, Sequence[Unresolved]]:
        """The values to set in a graph so that every plain file name in it becomes the path of an asset, by node and input;
        and the inputs that name a file which the tenant does not have."""
        named = list(references_of(graph, self._uploads(principal.tenant_id)))
        if not named:
            return {}, []

        def query(session: Session) -> dict[Reference, Asset]:
            wanted = {reference for *_, reference in named}
            found = {reference: _asset_of(session, principal.tenant_id, reference) for reference in wanted}
            return {reference: asset for reference, asset in found.items() if asset}

        assets = await self._store.read(query)
        values: dict[str, dict[str, Any]] = {}
        unresolved = []
        for node_id, name, value, reference in named:
            if asset := assets.get(reference):
                values.setdefault(node_id, {})[name] = asset_path(asset)
            elif reference.path != value or parse_asset_path(value) is None:
                unresolved.append(Unresolved(node_id, name, value))
        return values, unresolved

    async def resolve(self, principal: Principal, graph: Graph) -> Graph:
        """The graph with every plain file name that the tenant has replaced by the path of the asset; others stay."""
        values, _ = await self.values(principal, graph)
        return with_values(graph, values) if values else graph

    def _uploads(self, tenant_id: str) -> Mapping[tuple[str, str], Upload]:
        found: dict[tuple[str, str], Upload] = {}
        for catalogue in self._dispatch.catalogues(tenant_id):
            found.update(catalogue.uploads)
        return found

    def _asset(self, principal: Principal, folder: Folder, path: str, blob: Blob) -> Asset:
        name, now = path.rpartition("/")[2], time.time()
        passing = self._lifetime is not None and folder is not Folder.USERDATA
        expires_at = now + (self._lifetime or 0.0) if passing else None
        mime = blob.mime or mime_of_name(name)
        return Asset(new_id(), principal.tenant_id, blob.hash, name, mime, blob.size, now, expires_at)


def _free_name(door: FolderDoor, folder: Folder, path: str, hash: str, clash: Clash) -> tuple[str, NamedFile | None]:
    """The name to take; or, to rename, the file that is there already with the same bytes."""
    if clash is Clash.REPLACE:
        return path, None
    for number in range(MAX_NUMBER):
        name = numbered(path, number) if number else path
        earlier = door.find(folder, name)
        if earlier is None:
            return name, None
        if clash is Clash.REFUSE:
            break
        if earlier.asset.hash == hash:
            return name, earlier
    raise Fault("conflict", f"there is a file '{path}' already", field="file")


def _unchanged(
    door: FolderDoor, folder: Folder, path: str, earlier: NamedFile | None
) -> tuple[str, NamedFile | None] | None:
    """The same name, if it stands for the same file as before; None when somebody else was faster."""
    now = door.find(folder, path)
    return (path, None) if (now and now.asset.id) == (earlier and earlier.asset.id) else None


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _asset_of(session: Session, tenant_id: str, reference: Reference) -> Asset | None:
    if job := reference.of_job():
        return _output(session, tenant_id, job[0], place_of(job[1], "", reference.folder))
    file = session.folders(tenant_id).find(Folder(reference.folder), reference.path)
    return file.asset if file else None


def _output(session: Session, tenant_id: str, job_id: str, place: tuple[str, str]) -> Asset | None:
    try:
        view: JobView = session.tenant(tenant_id).job(job_id)
    except Fault:  # unknown, or somebody else's: no file either way
        return None
    return next((output.asset for output in view.outputs if output.asset and is_at(output, place)), None)


def _found(door: FolderDoor, folder: Folder, path: str) -> NamedFile:
    file = door.find(folder, path)
    if file is None:
        raise _unknown(path)
    return file


def _unknown(path: str) -> Fault:
    return Fault("not_found", f"no file '{path[:200]}'", field="file")
