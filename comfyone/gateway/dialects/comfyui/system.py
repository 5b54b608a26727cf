"""The server itself, as far as there is one: its devices, what it can do, and what its owner keeps to themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.comfyui.web import scripts
from comfyone.gateway.dialects.routing import Call

__all__ = ["SYSTEM_ROUTES"]

FEATURES: dict[str, Any] = {"supports_preview_metadata": True}
_SYSTEM = (
    "os",
    "comfyui_version",
    "required_frontend_version",
    "installed_templates_version",
    "required_templates_version",
    "python_version",
    "pytorch_version",
)
_DEVICE = ("name", "type", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free")


async def system_stats(call: Call) -> Any:
    """The devices of all backends as those of one server; of the hosts themselves only what a version is."""
    answers = [one for one in await _ask(call, "/system_stats") if isinstance(one, dict)]
    systems = [one["system"] for one in answers if isinstance(one.get("system"), dict)]
    first = systems[0] if systems else {}
    memory = {
        name: sum(system[name] for system in systems if isinstance(system.get(name), int))
        for name in ("ram_total", "ram_free")
    }
    devices = [device for one in answers for device in one.get("devices") or () if isinstance(device, dict)]
    return {
        "system": {**{name: first.get(name) for name in _SYSTEM}, **memory, "embedded_python": False, "argv": []},
        "devices": [
            {**{name: device.get(name) for name in _DEVICE}, "index": index} for index, device in enumerate(devices)
        ],
    }


async def features(call: Call) -> Any:
    return {**FEATURES, "max_upload_size": call.services.folders.limit}


async def i18n(call: Call) -> Any:
    return _merged(await _ask(call, "/i18n"))


async def workflow_templates(call: Call) -> Any:
    found: dict[str, list[Any]] = {}
    for answer in await _ask(call, "/workflow_templates"):
        for module, names in answer.items() if isinstance(answer, dict) else ():
            known = found.setdefault(module, [])
            known += [name for name in names if name not in known] if isinstance(names, list) else []
    return found


async def workflow_template(call: Call) -> Any:
    module, name = call.path("module"), call.path("name")
    if not name.endswith(".json") or ".." in (module, name):
        raise Fault("not_found", f"no template '{name[:200]}'")
    path = f"/api/workflow_templates/{quote(module, safe='')}/{quote(name, safe='')}"
    return _first(await _ask(call, path), name)


async def global_subgraphs(call: Call) -> Any:
    return _merged(await _ask(call, "/global_subgraphs"))


async def global_subgraph(call: Call) -> Any:
    subgraph_id = call.path("id")
    if not (subgraph_id.isascii() and subgraph_id.isalnum()):
        raise Fault("not_found", f"no subgraph '{subgraph_id[:200]}'", field="id")
    return _first(await _ask(call, f"/global_subgraphs/{subgraph_id}"), subgraph_id)


async def refuse_internal(_: Call) -> Any:
    """What shows the host, or changes it."""
    raise Fault("scope_missing", "this is the host's own affair")


async def _ask(call: Call, path: str) -> Any:
    return await call.services.dispatcher.ask(call.principal.tenant_id, path)


def _first(answers: Iterable[Any], name: str) -> Any:
    found = next((answer for answer in answers if isinstance(answer, dict)), None)
    if found is None:
        raise Fault("not_found", f"there is no '{name[:200]}'")
    return found


def _merged(answers: Iterable[Any]) -> dict[str, Any]:
    """Objects as one; where two say different things, the first is believed."""
    merged: dict[str, Any] = {}
    for answer in answers:
        for key, value in answer.items() if isinstance(answer, dict) else ():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = _merged([merged[key], value]) if both else merged.get(key, value)
    return merged


async def extensions(_: Call) -> Any:
    return scripts()


_OBJECT: dict[str, Any] = {"answer": dict[str, Any]}

SYSTEM_ROUTES = (
    native("GET", "/system_stats", system_stats, "The devices of all backends", **_OBJECT),
    native("GET", "/features", features, "What this server can do", **_OBJECT),
    native("GET", "/extensions", extensions, "Scripts that the page loads", answer=list[str]),
    native("GET", "/i18n", i18n, "Translations of node classes", **_OBJECT),
    native("GET", "/workflow_templates", workflow_templates, "Example workflows by extension", **_OBJECT),
    native(
        "GET",
        "/workflow_templates/{module}/{name}",
        workflow_template,
        "An example workflow",
        faults=("not_found",),
        **_OBJECT,
    ),
    native("GET", "/global_subgraphs", global_subgraphs, "Subgraphs by id", **_OBJECT),
    native("GET", "/global_subgraphs/{id}", global_subgraph, "A subgraph", faults=("not_found",), **_OBJECT),
    *(
        native(method, "/internal/{path:path}", refuse_internal, "The host's own affair", described=False)
        for method in ("GET", "POST", "PATCH")
    ),
)
