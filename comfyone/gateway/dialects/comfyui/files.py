"""Files: what jobs made, and what was uploaded under a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfyui.pictures import alpha_of, colours_of, drawn, masked, preview_of
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.downloads import file_response
from comfyone.gateway.dialects.forms import Form
from comfyone.gateway.dialects.routing import Call, Query
from comfyone.gateway.domain.files import Asset, Content, mime_of_name, sniff_mime
from comfyone.gateway.domain.folders import Clash, Folder, Reference, check_path, parse_reference

__all__ = ["FILE_ROUTES"]

FIELDS = ("type", "subfolder", "overwrite", "original_ref")
_FOLDERS = ("input", "output", "temp")
MAX_MASK = 64 * 1024 * 1024
"""Bytes of a mask: its picture has no more pixels than are worked on."""

_NAMED = {"Cache-Control": "private, no-cache"}
"""A name can be given to other bytes, so whoever keeps a file asks whether it is still that one."""


async def view(call: Call) -> Response:
    query = call.request.query_params
    reference = _reference(query.get("filename"), query.get("subfolder") or "", query.get("type") or "output")
    asset, content, lasting = await _open(call, reference)
    if picture := await _picture(query.get("preview"), query.get("channel"), content):
        return Response(picture[0], media_type=picture[1], headers=_disposition(asset.name))
    response = file_response(call.request, asset, content)
    if not lasting:
        response.headers.update(_NAMED)
    return response


def _reference(filename: str | None, subfolder: str, type_: str) -> Reference:
    """Raises:
    Fault: ``not_found`` without a name, ``bad_file_name`` when it leads elsewhere.
    """
    if not filename:
        raise Fault("not_found", "no filename was given", field="filename")
    named = parse_reference(filename, type_)
    if named.folder not in _FOLDERS:
        raise Fault("bad_file_name", f"there is no folder of type '{type_[:40]}'", field="type")
    path = f"{subfolder.strip('/')}/{named.path}" if subfolder.strip("/") else named.path
    return Reference(named.folder, check_path(path))


async def _open(call: Call, reference: Reference) -> tuple[Asset, Content, bool]:
    """The file, and whether it will always be the same under that name."""
    if job := reference.of_job():
        job_id, path = job
        subfolder, _, name = path.rpartition("/")
        made = await call.services.prompts.file(call.principal, job_id, name, subfolder, reference.folder)
        if isinstance(made, tuple):
            return *made, True
        return _unstored(name, made), made, False
    file, content = await call.services.folders.open(call.principal, reference.folder, reference.path)
    return replace(file.asset, name=file.name, created_at=file.modified_at), content, False


def _unstored(name: str, content: Content) -> Asset:
    """A file of a job that runs: it has no hash to be known by yet."""
    if isinstance(content, bytes):
        head, size = content[:32], len(content)
    else:
        with content.open("rb") as file:
            head, size = file.read(32), content.stat().st_size
    return Asset("", "", f"{name}-{size}", name, sniff_mime(head) or mime_of_name(name), size, 0.0)


async def _picture(preview: str | None, channel: str | None, content: Content) -> tuple[bytes, str] | None:
    """The picture in another form, if one is asked for and it is a picture."""
    if preview is not None:
        return await drawn(partial(preview_of, content, preview, channel or ""))
    if channel in ("rgb", "a"):
        return await drawn(partial(colours_of if channel == "rgb" else alpha_of, content))
    return None


def _disposition(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        **_NAMED,
    }


async def upload_image(call: Call) -> Any:
    form = await _opened(call)
    blob = await call.services.folders.receive(call.principal, form.chunks())
    folder, path = _target(form)
    return _told(folder, await call.services.folders.keep(call.principal, folder, path, blob, _clash(form)))


async def upload_mask(call: Call) -> Any:
    """A picture that the tenant has, with the alpha of the one that is sent."""
    form = await _opened(call, MAX_MASK)
    if "original_ref" in form.texts:
        await _original(call, form)  # so that no mask is taken in for one that is not there
    mask = await call.services.folders.receive(call.principal, form.chunks(), MAX_MASK)
    folder, path = _target(form)
    picture = await drawn(partial(masked, await _original(call, form), call.services.folders.content_of(mask)))
    if picture is None:
        raise Fault("wrong_file_type", "the original or the mask is no picture, or they differ in size", field="image")
    blob = await call.services.folders.receive(call.principal, _once(picture[0]))
    return _told(folder, await call.services.folders.keep(call.principal, folder, path, blob, _clash(form)))


async def _original(call: Call, form: Form) -> Content:
    named = decode(form.texts.get("original_ref", "{}").encode(), dict[str, str])
    reference = _reference(named.get("filename"), named.get("subfolder", ""), named.get("type", "output"))
    return (await _open(call, reference))[1]


async def _opened(call: Call, most: int | None = None) -> Form:
    limit = call.services.folders.limit
    form = Form(call.request, "image", limit if most is None else min(most, limit), FIELDS)
    await call.services.files.expect(call.principal, form.least_size)
    await form.open()
    return form


def _target(form: Form) -> tuple[Folder, str]:
    folder = form.texts.get("type") or "input"
    if folder not in _FOLDERS:
        raise Fault("bad_file_name", f"there is no folder of type '{folder[:40]}'", field="type")
    name, subfolder = form.filename or "", form.texts.get("subfolder", "").strip("/")
    return Folder(folder), check_path(f"{subfolder}/{name}" if subfolder else name)


def _clash(form: Form) -> Clash:
    return Clash.REPLACE if form.texts.get("overwrite") in ("true", "1") else Clash.RENAME


def _told(folder: Folder, file: Any) -> dict[str, str]:
    return {"name": file.name, "subfolder": file.subfolder, "type": folder}


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


_UPLOAD: dict[str, Any] = {
    "answer": dict[str, str],
    "upload": True,
    "part": "image",
    "faults": ("bad_file_name", "too_large", "quota_exceeded"),
}

FILE_ROUTES = (
    native(
        "GET",
        "/view",
        view,
        "A file: of a job, whose id begins its subfolder, or one that was uploaded",
        media="*/*",
        query=(
            Query("filename", "the name of the file"),
            Query("subfolder", "where it lies"),
            Query("type", "output, temp or input", default="output"),
            Query("preview", "a smaller picture, as webp;90"),
            Query("channel", "rgb, a or rgba"),
        ),
        faults=("not_found", "bad_file_name", "range_unsatisfiable"),
    ),
    native("POST", "/upload/image", upload_image, "Upload a file under a name", **_UPLOAD),
    native(
        "POST",
        "/upload/mask",
        upload_mask,
        "Give a picture another alpha",
        **{**_UPLOAD, "faults": (*_UPLOAD["faults"], "not_found", "wrong_file_type")},
    ),
)
