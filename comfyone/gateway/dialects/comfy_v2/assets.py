"""The operations on assets: uploads, and what jobs made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfy_v2.codec import V2Codec
from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.dialects.comfy_v2.records import V2Asset, asset_record, result_record
from comfyone.gateway.dialects.comfy_v2.results import Result, parse_result_id
from comfyone.gateway.dialects.comfy_v2.site import site_of
from comfyone.gateway.dialects.comfy_v2.uploads import TEXTS, content_of, described, file_name, lifetime_of, parse_hash
from comfyone.gateway.dialects.downloads import file_response
from comfyone.gateway.dialects.forms import Form
from comfyone.gateway.dialects.routing import Call, Route
from comfyone.gateway.domain.files import Asset, Content

__all__ = ["ASSET_ROUTES", "V2HashBody"]

_codec = V2Codec()


class V2HashBody(msgspec.Struct, frozen=True):
    hash: str
    file_path: str | None = None
    tags: list[str] = []
    expires_in: int | None = None


async def upload_asset(call: Call) -> Response:
    files = call.services.files
    form = Form(call.request, "file", files.limit, TEXTS)
    await files.expect(call.principal, form.least_size)
    with _broken_forms_refused():
        await form.open()
        asset, new = await files.receive(call.principal, content_of(form), lambda: described(form.texts))
    return await _created(call, asset, status=201 if new else 200, created_new=new)


@contextmanager
def _broken_forms_refused() -> Iterator[None]:
    """Any other body that is broken is answered with 400 here."""
    try:
        yield
    except Fault as fault:
        if fault.slug != "invalid_body":
            raise
        raise Refusal(422, "invalid_request", fault.message) from fault


async def create_asset_from_hash(call: Call) -> Response:
    body = decode(await call.bytes(), dict[str, Any])
    hash = parse_hash(body["hash"]) if isinstance(body.get("hash"), str) else None
    if hash is None:
        raise Refusal(422, "invalid_request", "hash is not 'blake3:' and 64 hexadecimal digits")
    path, lifetime = body.get("file_path"), body.get("expires_in")
    if path is not None and not isinstance(path, str):
        raise Refusal(422, "invalid_request", "file_path is not a string")
    if lifetime is not None and type(lifetime) is not int:
        raise Refusal(422, "invalid_request", "expires_in is not a number of seconds")
    name = None if path is None else file_name(path)
    if await call.services.files.with_hash(call.principal, hash) is None:
        raise Refusal(404, "blob_not_found", "there are no bytes with this hash")
    asset, new = await call.services.files.again(call.principal, hash, name, lifetime_of(lifetime))
    return await _created(call, asset, status=201 if new else 200, created_new=False)


async def find_asset_by_hash(call: Call) -> V2Asset:
    hash = parse_hash(call.path("hash"))
    asset = await call.services.files.with_hash(call.principal, hash) if hash else None
    if asset is None:
        raise Refusal(404, "blob_not_found", "there are no bytes with this hash")
    return asset_record(asset, site_of(call).links(call))


async def get_asset(call: Call) -> V2Asset:
    asset_id, links = call.path("id"), site_of(call).links(call)
    if place := parse_result_id(asset_id):
        view = await call.services.jobs.get(call.principal, place[0])
        return result_record(await _result(call, *place), view.job, links, site_of(call).retention)
    return asset_record(await call.services.files.upload_of(call.principal, asset_id), links)


async def get_asset_content(call: Call) -> Response:
    asset, content = await _content(call)
    if isinstance(content, Path) and not content.exists():
        raise Refusal(404, "output_unavailable", f"the bytes of '{asset.name}' are gone")
    return file_response(call.request, asset, content)


async def delete_asset(call: Call) -> None:
    asset_id = call.path("id")
    if place := parse_result_id(asset_id):
        await _result(call, *place)
        await call.services.files.delete_output(call.principal, *place)
    else:
        await call.services.files.delete_upload(call.principal, asset_id)


async def _content(call: Call) -> tuple[Asset, Content]:
    asset_id = call.path("id")
    if place := parse_result_id(asset_id):
        result = await _result(call, *place)
        if result.output.asset is None:
            return result.asset, result.content
        asset_id = result.output.asset.id
    else:
        await call.services.files.upload_of(call.principal, asset_id)
    found: tuple[Asset, Content] = await call.services.files.get(call.principal, asset_id)
    return found


async def _created(call: Call, asset: Asset, *, status: int, created_new: bool) -> Response:
    with suppress(Fault):  # there may be too many names, or a folder of this one: the asset is good without
        await call.services.folders.put(call.principal, "input", asset.name, asset)
    return _codec.success(asset_record(asset, site_of(call).links(call), created_new=created_new), status)


async def _result(call: Call, job_id: str, position: int) -> Result:
    """Raises:
    Fault: ``not_found``, also when it was deleted.
    """
    result = Result(job_id, position, await call.services.jobs.output(call.principal, job_id, position))
    if not result.is_there:
        raise Fault("not_found", f"no asset '{result.id}'", field="id")
    return result


ASSET_ROUTES = (
    Route(
        "POST",
        "/api/v2/assets",
        upload_asset,
        "Upload a file",
        answer=V2Asset,
        upload=True,
        status=201,
        also={200: "The same bytes were there already"},
        faults=("bad_file_name", "hash_mismatch", "too_large", "quota_exceeded"),
    ),
    Route(
        "POST",
        "/api/v2/assets/from-hash",
        create_asset_from_hash,
        "Name bytes that are there already",
        V2HashBody,
        V2Asset,
        status=201,
        also={200: "The same bytes had this name already"},
        faults=("not_found", "bad_file_name", "quota_exceeded"),
    ),
    Route(
        "GET",
        "/api/v2/assets/by-hash/{hash}",
        find_asset_by_hash,
        "Whether there are bytes of this hash; a HEAD suffices",
        answer=V2Asset,
        faults=("not_found",),
    ),
    Route("GET", "/api/v2/assets/{id}", get_asset, "An asset", answer=V2Asset, faults=("not_found",)),
    Route(
        "GET",
        "/api/v2/assets/{id}/content",
        get_asset_content,
        "The bytes of an asset, or parts of them",
        media="*/*",
        also={206: "The parts that were asked for", 304: "The caller has it already"},
        faults=("not_found", "range_unsatisfiable"),
    ),
    Route(
        "DELETE",
        "/api/v2/assets/{id}",
        delete_asset,
        "Delete an asset",
        status=204,
        faults=("not_found", "in_use"),
    ),
)
