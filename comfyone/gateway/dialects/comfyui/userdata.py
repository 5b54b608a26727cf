"""A tenant's own files for the web page: its workflows, its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfyui.codec import json_answer
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.downloads import file_response
from comfyone.gateway.dialects.routing import Call, Query
from comfyone.gateway.domain.folders import Clash, Folder, NamedFile, check_path
from comfyone.graph.document import is_deeper

__all__ = ["USERDATA_ROUTES"]

SETTINGS = "comfy.settings.json"

MAX_SETTINGS = 1024 * 1024
"""Bytes of all settings: they are read whole at every question."""

MAX_NESTED = 100
"""Arrays and objects within each other in a setting."""


# files


async def list_userdata(call: Call) -> Any:
    query = call.request.query_params
    folder = _folder(query.get("dir", ""))
    if not folder:
        raise Fault("invalid_body", "Directory not provided", field="dir")
    files = await call.services.folders.list(call.principal, Folder.USERDATA, folder)
    if not files:
        raise Fault("not_found", "Directory not found", field="dir")
    if query.get("recurse", "").lower() != "true":
        files = [file for file in files if file.subfolder == folder]
    within = [replace(file, path=file.path.removeprefix(f"{folder}/")) for file in files]
    if query.get("full_info", "").lower() == "true":
        return [_info(file) for file in within]
    if query.get("split", "").lower() == "true":
        return [[file.path, *file.path.split("/")] for file in within]
    return [file.path for file in within]


async def list_userdata_v2(call: Call) -> Any:
    """All below a folder, folders first."""
    folder = _folder(call.request.query_params.get("path", ""))
    files = await call.services.folders.list(call.principal, Folder.USERDATA, folder)
    if folder and not files:
        raise Fault("not_found", "Requested path not found", field="path")
    folders = {above for file in files for above in _above(file.path) if len(above) > len(folder)}
    told = [{"name": path.rpartition("/")[2], "path": path, "type": "directory"} for path in folders]
    told += [
        {"name": file.name, "path": file.path, "type": "file", "size": file.asset.size, "modified": file.modified_at}
        for file in files
    ]
    return sorted(told, key=lambda entry: (entry["type"] != "directory", str(entry["name"]).lower(), entry["path"]))


async def get_userdata(call: Call) -> Response:
    file, content = await call.services.folders.open(call.principal, Folder.USERDATA, _names(call)[0])
    asset = replace(file.asset, name=file.name, created_at=file.modified_at)
    response = file_response(call.request, asset, content)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


async def post_userdata(call: Call) -> Any:
    """Stores a file; the path ``{file}/move/{dest}`` gives one another name."""
    names = _names(call)
    folders, principal = call.services.folders, call.principal
    if len(names) == 2:
        file = await folders.move(principal, Folder.USERDATA, names[0], names[1], _clash(call))
    else:
        check_path(names[0])
        content = _bounded(call, MAX_SETTINGS if names[0] == SETTINGS else folders.limit)
        file = await folders.store(principal, Folder.USERDATA, names[0], content, _clash(call))
    full = call.request.query_params.get("full_info", "").lower() == "true"
    return json_answer(_info(file) if full else file.path)


async def delete_userdata(call: Call) -> Response:
    await call.services.folders.delete(call.principal, Folder.USERDATA, _names(call)[0])
    return Response(status_code=204)


def _names(call: Call) -> tuple[str, ...]:
    """The file that the path names; or, of one that is moved, its old and its new name. A name may hold slashes where they
    are written ``%2F``, so the path is read as it came."""
    raw = call.request.scope.get("raw_path", b"").decode("ascii", "replace").partition("?")[0]
    parts = raw.partition("/userdata/")[2].split("/")
    if len(parts) == 3 and parts[1] == "move" and call.request.method == "POST":
        return unquote(parts[0]), unquote(parts[2])
    return (unquote("/".join(parts)),)


def _folder(text: str) -> str:
    """A folder's path; the empty one is the root."""
    path = unquote(text).strip("/")
    return "" if path in ("", ".") else check_path(path)


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _clash(call: Call) -> Clash:
    return Clash.REFUSE if call.request.query_params.get("overwrite") == "false" else Clash.REPLACE


def _info(file: NamedFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "size": file.asset.size,
        "modified": file.modified_at,
        "created": file.created_at,
    }


async def _bounded(call: Call, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in call.request.stream():
        size += len(chunk)
        if size > most:
            raise Fault("too_large", f"the file is larger than {most:,} bytes", field="file")
        yield chunk


# settings


async def get_settings(call: Call) -> Any:
    return await _settings(call)


async def get_setting(call: Call) -> Response:
    return json_answer((await _settings(call)).get(call.path("id")))


async def post_settings(call: Call) -> None:
    changes = decode(await call.bytes(), dict[str, Any])
    await _change(call, changes)


async def post_setting(call: Call) -> None:
    await _change(call, {call.path("id"): decode(await call.bytes(), Any)})


async def _settings(call: Call) -> dict[str, Any]:
    try:
        file, content = await call.services.folders.open(call.principal, Folder.USERDATA, SETTINGS)
    except Fault as fault:
        if fault.slug != "not_found":
            raise
        return {}
    if file.asset.size > MAX_SETTINGS:
        return {}
    return _read(content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes))


async def _change(call: Call, changes: dict[str, Any]) -> None:
    """The page sends many of these at once."""
    if is_deeper(changes, MAX_NESTED):
        raise Fault("invalid_json", "the body is nested too deeply")

    def changed(content: bytes | None) -> bytes:
        return msgspec.json.encode({**_read(content or b"{}"), **changes})

    await call.services.folders.change(call.principal, Folder.USERDATA, SETTINGS, changed, MAX_SETTINGS)


def _read(content: bytes) -> dict[str, Any]:
    try:
        settings = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # it may be written as any file
        return {}
    return {} if is_deeper(settings, MAX_NESTED) else settings


async def get_users(_: Call) -> Any:
    return {"storage": "server", "migrated": True}


_STORING = ("bad_file_name", "too_large", "quota_exceeded", "conflict")

USERDATA_ROUTES = (
    native("GET", "/users", get_users, "Where settings are kept", answer=dict[str, Any]),
    native("GET", "/settings", get_settings, "All settings", answer=dict[str, Any]),
    native("POST", "/settings", post_settings, "Change settings", body=dict[str, Any], media="", faults=("too_large",)),
    native("GET", "/settings/{id}", get_setting, "A setting", answer=Any),
    native("POST", "/settings/{id}", post_setting, "Change a setting", body=Any, media="", faults=("too_large",)),
    native(
        "GET",
        "/userdata",
        list_userdata,
        "Files in a folder",
        answer=list[Any],
        query=(
            Query("dir", "the folder"),
            Query("recurse", "true: also in folders below"),
            Query("full_info", "true: with size and age"),
            Query("split", "true: paths in parts"),
        ),
        faults=("invalid_body", "bad_file_name", "not_found"),
    ),
    native(
        "GET",
        "/v2/userdata",
        list_userdata_v2,
        "All below a folder",
        answer=list[dict[str, Any]],
        query=(Query("path", "the folder; the root without one"),),
        faults=("bad_file_name", "not_found"),
    ),
    native(
        "GET",
        "/userdata/{file:path}",
        get_userdata,
        "A file",
        media="*/*",
        faults=("not_found", "range_unsatisfiable"),
    ),
    native(
        "POST",
        "/userdata/{file:path}",
        post_userdata,
        "Store a file, or move one ({file}/move/{dest})",
        answer=Any,
        sends="application/octet-stream",
        query=(
            Query("overwrite", "false: refuse a name that is taken"),
            Query("full_info", "true: with size and age"),
        ),
        faults=(*_STORING, "not_found"),
    ),
    native("DELETE", "/userdata/{file:path}", delete_userdata, "Delete a file", status=204, faults=("not_found",)),
)
