"""Image inputs that are given as URLs: fetched when the job is submitted, and files of the tenant from then on."""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from comfyone.errors import Fault
from comfyone.gateway.domain.addresses import AddressRefused, is_remote
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.domain.files import Asset, Blob, asset_path, mime_of_name
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.domain.workflows import InputSpec, InputType, Values, Workflow
from comfyone.gateway.ports import Blobs, Outbound, Session, Store, TenantDoor
from comfyone.gateway.services.quota import Quota

__all__ = ["Fetching", "remote_images"]

SECONDS = 30.0
"""How long an image may take to come."""

AT_ONCE = 4
"""Images that are fetched for one tenant at a time."""

MAX_WAITING = 64
"""Images of one tenant that wait for their turn."""

KEPT_SECONDS = 24 * 3600.0
"""How long a fetched image is kept at least: nobody uploaded it to keep it. Jobs that need it keep it until they have ended."""

MAX_STEM = 40
_EXTENSIONS = {"image/jpeg": ".jpg", "image/tiff": ".tiff", "image/webp": ".webp", "image/avif": ".avif"}


def remote_images(workflow: Workflow, values: Values) -> list[tuple[InputSpec, str]]:
    """The declared image inputs whose value is a URL, and that URL."""
    return [
        (spec, value)
        for spec in workflow.inputs
        if spec.type is InputType.IMAGE and is_remote(value := values.get(spec.id, {}).get(spec.name, ""))
    ]


@dataclass(slots=True)
class _Turn:
    """A tenant's place at the fetching."""

    free: asyncio.Semaphore
    waiting: int = 0


class Fetching:
    """``limit`` is the size of the largest image, in bytes."""

    def __init__(self, store: Store, blobs: Blobs, outbound: Outbound, quota: Quota, limit: int) -> None:
        self._store = store
        self._quota = quota
        self._blobs = blobs
        self._outbound = outbound
        self._limit = limit
        self._turns: dict[str, _Turn] = {}

    async def replace(self, principal: Principal, values: Values, images: Sequence[tuple[InputSpec, str]]) -> Values:
        """The values with the paths of files in place of these URLs. Either all images become files, or none does.

        Raises:
            Fault: naming the input: ``address_refused``, ``fetch_failed``, ``too_large``, ``quota_exceeded``, or
                ``invalid_input`` when what comes is no image; ``queue_full`` when the tenant has too many under way.
        """
        tasks = [asyncio.create_task(self._asset(principal, spec, url)) for spec, url in images]
        try:
            fetched = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

        def keep(session: Session) -> list[Asset]:
            return [self._keep(session.tenant(principal.tenant_id), principal, *one) for one in fetched]

        replaced = {node_id: dict(params) for node_id, params in values.items()}
        for (spec, _), asset in zip(images, await self._store.write(keep), strict=True):
            replaced[spec.id][spec.name] = asset_path(asset)
        return replaced

    def _keep(self, door: TenantDoor, principal: Principal, asset: Asset, blob: Blob) -> Asset:
        self._quota.admit(principal, door, asset, blob.content)
        return door.add_asset(asset, uploaded=True, content=blob.content)

    async def _asset(self, principal: Principal, spec: InputSpec, url: str) -> tuple[Asset, Blob]:
        """The asset that is to be kept of an image, and its bytes."""
        try:
            async with (
                self._turn(principal.tenant_id),
                asyncio.timeout(SECONDS),
                aclosing(self._outbound.fetch(url)) as chunks,
            ):
                blob = await self._blobs.put(self._quota.bounded(principal, chunks), limit=self._limit)
        except AddressRefused as error:
            raise Fault(
                "address_refused", f"{spec.label}: {error.message}", field=spec.name, hint=error.hint
            ) from error
        except Unreachable as error:
            raise Fault("fetch_failed", f"{spec.label}: {error.message}", field=spec.name) from error
        except TimeoutError as error:
            text = f"{spec.label}: the image did not come within {SECONDS:g} s"
            raise Fault("fetch_failed", text, field=spec.name) from error
        except Fault as fault:
            raise Fault(
                fault.slug,
                f"{spec.label}: {fault.message}",
                field=spec.name,
                hint=fault.hint,
                retry_after=fault.retry_after,
            ) from fault
        if not (blob.mime or "").startswith("image/"):
            text = f"{spec.label}: what the URL leads to is {blob.mime or 'no known medium'}, not an image"
            raise Fault("invalid_input", text, field=spec.name, hint="give the URL of a picture itself")
        mime, now, tenant_id = blob.mime or "", time.time(), principal.tenant_id
        name = image_name(url, mime)
        return Asset(new_id(), tenant_id, blob.hash, name, mime, blob.size, now, now + KEPT_SECONDS), blob

    @asynccontextmanager
    async def _turn(self, tenant_id: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(tenant_id, _Turn(asyncio.Semaphore(AT_ONCE)))
        if turn.waiting >= MAX_WAITING:
            raise Fault("queue_full", f"{MAX_WAITING} images are being fetched already", retry_after=5)
        turn.waiting += 1
        try:
            async with turn.free:
                yield
        finally:
            turn.waiting -= 1
            if turn.waiting == 0:
                del self._turns[tenant_id]


def image_name(url: str, mime: str) -> str:
    """The name of a fetched image: that of its URL, as far as it is a plain one, with the ending of what it really is."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    plain = "".join(letter for letter in name if letter.isprintable() and letter not in '/\\"').strip(". ")
    stem, ending = PurePosixPath(plain).stem or "image", _EXTENSIONS.get(mime) or mimetypes.guess_extension(mime) or ""
    return plain if mime_of_name(plain) == mime and len(plain) <= MAX_STEM else stem[:MAX_STEM] + ending
