"""What the backends have: node classes, models, embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.routing import Call, Query

__all__ = ["CATALOG_ROUTES"]

_PRIVATE = ("configs", "custom_nodes")
"""Folders that hold no models: what is in them is the hosts' own affair."""


async def object_info(call: Call) -> Any:
    return await call.services.node_info.all(call.principal)


async def object_info_of(call: Call) -> Any:
    return await call.services.node_info.one(call.principal, call.path("node_class"))


async def embeddings(call: Call) -> Any:
    return _united(await _ask(call, "/embeddings"))


async def models(call: Call) -> Any:
    return [name for name in _united(await _ask(call, "/models")) if name not in _PRIVATE]


async def models_in(call: Call) -> Any:
    answers = await _ask(call, f"/models/{_folder(call)}")
    if not answers:
        raise _unknown(call.path("folder"))
    return _united(answers)


async def model_folders(call: Call) -> Any:
    """Where they lie on the hosts is the hosts' affair."""
    return [{"name": name, "folders": [name]} for name in await models(call)]


async def model_files(call: Call) -> Any:
    answers = await _ask(call, f"/experiment/models/{_folder(call)}")
    if not answers:
        raise _unknown(call.path("folder"))
    known: dict[str, Any] = {}
    for answer in answers:
        for file in answer if isinstance(answer, list) else ():
            if isinstance(file, dict) and isinstance(file.get("name"), str):
                known.setdefault(file["name"], {**file, "pathIndex": 0})
    return list(known.values())


async def view_metadata(call: Call) -> Any:
    """From the first backend that has the file."""
    filename = call.request.query_params.get("filename", "")
    folder = _folder(call)
    answers = await _ask(call, f"/view_metadata/{folder}", {"filename": filename}) if filename else ()
    found = next((answer for answer in answers if isinstance(answer, dict)), None)
    if found is None:
        raise Fault("not_found", f"no metadata of '{filename[:200]}'", field="filename")
    return found


async def _ask(call: Call, path: str, query: dict[str, str] | None = None) -> Any:
    return await call.services.dispatcher.ask(call.principal.tenant_id, path, query)


def _folder(call: Call) -> str:
    """A folder of models, as a part of a path on the backends which leads nowhere else.

    Raises:
        Fault: ``not_found`` for one that would, or holds no models.
    """
    name = call.path("folder")
    if name in ("", ".", "..", *_PRIVATE) or "/" in name or "\\" in name:
        raise _unknown(name)
    return quote(name, safe="")


def _unknown(name: str) -> Fault:
    return Fault("not_found", f"no folder '{name[:200]}'", field="folder")


def _united(answers: Iterable[Any]) -> list[str]:
    """All names of several lists, each once, in their order."""
    names = (name for answer in answers if isinstance(answer, list) for name in answer)
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


CATALOG_ROUTES = (
    native("GET", "/object_info", object_info, "All node classes", answer=dict[str, Any]),
    native("GET", "/object_info/{node_class}", object_info_of, "A node class", answer=dict[str, Any]),
    native("GET", "/embeddings", embeddings, "Embeddings", answer=list[str]),
    native("GET", "/models", models, "Folders of models", answer=list[str]),
    native("GET", "/models/{folder}", models_in, "Models of a folder", answer=list[str], faults=("not_found",)),
    native("GET", "/experiment/models", model_folders, "Folders of models", answer=list[dict[str, Any]]),
    native(
        "GET",
        "/experiment/models/{folder}",
        model_files,
        "Models of a folder, with size and age",
        answer=list[dict[str, Any]],
        faults=("not_found",),
    ),
    native(
        "GET",
        "/view_metadata/{folder}",
        view_metadata,
        "What a model file says of itself",
        answer=dict[str, Any],
        query=(Query("filename", "the name of the file"),),
        faults=("not_found",),
    ),
)
