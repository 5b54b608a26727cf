"""Uploading, reading and deleting files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset, Blob, Content, check_file_name, mime_of_name
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Blobs, Session, Store, TenantDoor
from comfyone.gateway.services.quota import Quota

__all__ = ["Described", "Files"]

_MEDIA = ("image", "video", "audio")
_TEXTUAL = frozenset({"image/svg+xml"})
"""Media types whose content is text, so that no first bytes tell them."""


@dataclass(frozen=True, slots=True)
class Described:
    """What an uploader says of a file: its name and media type, the hash that it must have, and seconds after which it may be
    deleted; None: as the gateway is set."""

    name: str
    mime: str | None = None
    hash: str | None = None
    lifetime: float | None = None


class Files:
    """``limit`` is the size of the largest file, in bytes; ``lifetime`` how long an upload is kept that does not say."""

    def __init__(self, store: Store, blobs: Blobs, quota: Quota, *, limit: int, lifetime: float | None) -> None:
        self._store = store
        self._blobs = blobs
        self._quota = quota
        self._lifetime = lifetime
        self.limit = limit

    async def expect(self, principal: Principal, size: int) -> None:
        """Before any of an upload is read: whether a file of so many bytes could be stored.

        Raises:
            Fault: ``quota_exceeded``.
        """
        principal.require(Scope.JOBS)
        await self._quota.require_room(principal, size)

    async def upload(
        self,
        principal: Principal,
        name: str | None,
        declared: str | None,
        chunks: AsyncIterator[bytes],
        lifetime: float | None = None,
    ) -> Asset:
        """Stores a file under its content. The same content and name again is the same asset, kept for the longer time.

        Args:
            declared: The media type that the uploader claims, if any.
            lifetime: Seconds after which it may be deleted; None: as the gateway is set.

        Raises:
            Fault: ``bad_file_name``, ``too_large``, ``quota_exceeded``, ``empty_file``, or ``wrong_file_type`` when the
                content is not the kind of medium that name or claimed type say.
        """
        principal.require(Scope.JOBS)
        name = check_file_name(name)
        blob = await self._blobs.put(self._quota.bounded(principal, chunks), limit=self.limit)
        if blob.size == 0:
            raise Fault("empty_file", f"'{name}' has no bytes", field="file")
        for claimed in (declared, mime_of_name(name)):
            _check_type(name, claimed, blob)
        asset, _ = await self._add(principal, blob, name, blob.mime or mime_of_name(name), lifetime)
        return asset

    async def receive(
        self, principal: Principal, chunks: AsyncIterator[bytes], describe: Callable[[], Described]
    ) -> tuple[Asset, bool]:
        """Stores a file of any content, of which ``describe`` says the rest once all bytes have come.

        Returns:
            The asset, and whether the tenant had no file of this content before.

        Raises:
            Fault: as `upload`, but for ``empty_file`` and ``wrong_file_type``; ``hash_mismatch``, and nothing is kept.
        """
        principal.require(Scope.JOBS)

        def check(hash: str) -> None:
            wished = describe().hash
            if wished is not None and wished != hash:
                raise Fault("hash_mismatch", f"the content has the hash {hash}, and not {wished}", field="hash")

        blob = await self._blobs.put(self._quota.bounded(principal, chunks), limit=self.limit, check=check)
        described = describe()
        name = check_file_name(described.name)
        mime = blob.mime or described.mime or mime_of_name(name)
        return await self._add(principal, blob, name, mime, described.lifetime)

    async def _add(
        self, principal: Principal, blob: Blob, name: str, mime: str, lifetime: float | None
    ) -> tuple[Asset, bool]:
        now = time.time()
        asset = Asset(new_id(), principal.tenant_id, blob.hash, name, mime, blob.size, now, self._until(now, lifetime))

        def add(session: Session) -> tuple[Asset, bool]:
            door = session.tenant(principal.tenant_id)
            new = not door.holds(asset.hash)
            self._quota.admit(principal, door, asset, blob.content)
            return door.add_asset(asset, uploaded=True, content=blob.content), new

        return await self._store.write(add)

    async def with_hash(self, principal: Principal, hash: str) -> Asset | None:
        """A file of this content, if the tenant has one and its bytes are there."""
        principal.require(Scope.JOBS)
        found = await self._store.read(lambda session: _with_hash(session.tenant(principal.tenant_id), hash))
        return found[0] if found and self._is_there(found) else None

    async def again(
        self, principal: Principal, hash: str, name: str | None, lifetime: float | None = None
    ) -> tuple[Asset, bool]:
        """Gives a content that the tenant has another name; None: the one that it has.

        Returns:
            The asset, and whether it is new; the same content and name again is the same asset.

        Raises:
            Fault: ``not_found`` when there is no such content; ``bad_file_name``, ``quota_exceeded``.
        """
        principal.require(Scope.JOBS)
        if name is not None:
            check_file_name(name)
        now = time.time()

        def add(session: Session) -> tuple[Asset, bool]:
            door = session.tenant(principal.tenant_id)
            found = _with_hash(door, hash)
            if found is None or not self._is_there(found):
                raise Fault("not_found", f"no file has the hash '{hash}'", field="hash")
            like, content = found
            asset = replace(
                like, id=new_id(), name=name or like.name, created_at=now, expires_at=self._until(now, lifetime)
            )
            self._quota.admit(principal, door, asset, content)
            added = door.add_asset(asset, uploaded=True, content=content)
            return added, added.id == asset.id

        return await self._store.write(add)

    def _until(self, now: float, lifetime: float | None) -> float | None:
        lifetime = self._lifetime if lifetime is None else lifetime
        return None if lifetime is None else now + lifetime

    def _is_there(self, found: tuple[Asset, bytes | None]) -> bool:
        asset, content = found
        return content is not None or self._blobs.path(asset.hash).exists()

    async def get(self, principal: Principal, asset_id: str) -> tuple[Asset, Content]:
        principal.require(Scope.JOBS)
        asset, content = await self._store.read(lambda session: session.tenant(principal.tenant_id).content(asset_id))
        return asset, content or self._blobs.path(asset.hash)

    async def upload_of(self, principal: Principal, asset_id: str) -> Asset:
        """An upload whose time is not over. What jobs made is none.

        Raises:
            Fault: ``not_found``.
        """
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).upload(asset_id, time.time()))

    async def delete_upload(self, principal: Principal, asset_id: str) -> None:
        """Deletes an upload; where the same file is also the result of a job, or has a name in a folder by itself, that keeps
        it.

        Raises:
            Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        principal.require(Scope.JOBS)
        await self._store.write(
            lambda session: session.tenant(principal.tenant_id).delete_upload(asset_id, time.time())
        )
        self._quota.forget(principal.tenant_id)

    async def delete_output(self, principal: Principal, job_id: str, position: int) -> None:
        """Deletes what a job produced, by its place among all of that.

        Raises:
            Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        principal.require(Scope.JOBS)
        await self._store.write(lambda session: session.tenant(principal.tenant_id).delete_output(job_id, position))
        self._quota.forget(principal.tenant_id)

    async def delete(self, principal: Principal, asset_id: str) -> None:
        """Raises:
        Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        principal.require(Scope.JOBS)
        await self._store.write(lambda session: session.tenant(principal.tenant_id).delete_asset(asset_id))
        self._quota.forget(principal.tenant_id)


def _with_hash(door: TenantDoor, hash: str) -> tuple[Asset, bytes | None] | None:
    asset = door.with_hash(hash, time.time())
    return door.content(asset.id) if asset else None


def _check_type(name: str, claimed: str | None, blob: Blob) -> None:
    kind = (claimed or "").partition("/")[0]
    if kind in _MEDIA and claimed not in _TEXTUAL and (blob.mime or "").partition("/")[0] != kind:
        found = blob.mime or "no known medium"
        raise Fault("wrong_file_type", f"'{name}' claims to be {claimed}, but its content is {found}", field="file")
