"""Uploading, reading and deleting files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset, Blob, Content, check_file_name, mime_of_name
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Blobs, Session, Store
from comfyone.gateway.services.quota import Quota

__all__ = ["Files"]

_MEDIA = ("image", "video", "audio")
_TEXTUAL = frozenset({"image/svg+xml"})
"""Media types whose content is text, so that no first bytes tell them."""


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
        mime = blob.mime or mime_of_name(name)
        now, lifetime = time.time(), self._lifetime if lifetime is None else lifetime
        expires_at = None if lifetime is None else now + lifetime
        asset = Asset(new_id(), principal.tenant_id, blob.hash, name, mime, blob.size, now, expires_at)

        def add(session: Session) -> Asset:
            door = session.tenant(principal.tenant_id)
            self._quota.admit(principal, door, asset)
            return door.add_asset(asset, uploaded=True, content=blob.content)

        return await self._store.write(add)

    async def get(self, principal: Principal, asset_id: str) -> tuple[Asset, Content]:
        principal.require(Scope.JOBS)
        asset, content = await self._store.read(lambda session: session.tenant(principal.tenant_id).content(asset_id))
        return asset, content or self._blobs.path(asset.hash)

    async def delete(self, principal: Principal, asset_id: str) -> None:
        """Raises:
        Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        principal.require(Scope.JOBS)
        await self._store.write(lambda session: session.tenant(principal.tenant_id).delete_asset(asset_id))
        self._quota.forget(principal.tenant_id)


def _check_type(name: str, claimed: str | None, blob: Blob) -> None:
    kind = (claimed or "").partition("/")[0]
    if kind in _MEDIA and claimed not in _TEXTUAL and (blob.mime or "").partition("/")[0] != kind:
        found = blob.mime or "no known medium"
        raise Fault("wrong_file_type", f"'{name}' claims to be {claimed}, but its content is {found}", field="file")
