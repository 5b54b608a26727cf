"""What a backend needs to run a job: the graph with its values, and the input files placed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.catalogue import Catalogue, spelled
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.domain.files import parse_asset_path, suffix_of
from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.domain.strays import stray_files
from comfyone.gateway.ports import Blobs, Store
from comfyone.gateway.services.graphs import Graphs
from comfyone.graph.document import Graph, with_values

__all__ = ["graph_for"]

TENANT = "comfyone_tenant"
"""An input that no node has."""

_SIGNED = b'"EXTRA_PNGINFO"'
"""What the description of a node holds that is told the workflow as its author drew it."""


async def graph_for(job: Job, link: Link, graphs: Graphs, store: Store, blobs: Blobs) -> dict[str, Any]:
    """The graph to send: the job's values set, the system variables filled in, every asset replaced by its file there.

    Raises:
        Fault: ``not_found`` when an input file has been deleted since; ``asset_unknown`` when it names another file of a
            shared server than was placed for it.
        Unreachable: when a file could not be placed, or it is not known yet which inputs of a shared server name files.
    """
    graph = with_values(await graphs.of(job), msgspec.json.decode(job.values))
    variables = {"{COMFYONE:TASK_ID}": job.id, "{COMFYONE:WORKFLOW_ID}": job.workflow_id or ""}
    paths: set[str] = set()

    def fill(text: str) -> str:
        for variable, value in variables.items():
            text = text.replace(variable, value)
        if parse_asset_path(text):
            paths.add(text)
        return text

    graph = _map_inputs(graph, fill)
    catalogue = link.catalogue
    if catalogue is not None:
        graph = spelled(graph, catalogue)
    if link.backend.shared:
        if catalogue is None:
            raise Unreachable(f"backend '{link.backend.name}' has not said yet what it can do")
        _check_files(graph, catalogue)
        graph = _set_apart(graph, job.tenant_id, catalogue)
    if not paths:
        return graph
    placed = {path: await _place(path, job, link, store, blobs) for path in paths}
    return _map_inputs(graph, lambda text: placed.get(text, text))


def _check_files(graph: Graph, catalogue: Catalogue) -> None:
    """The last door: whatever was known when the job was accepted, it touches nothing that lies there for others."""
    if stray := next(stray_files(graph, {}, [catalogue.loaders]), None):
        raise Fault("asset_unknown", stray.text, hint=stray.hint)


def _set_apart(graph: dict[str, Any], tenant_id: str, catalogue: Catalogue) -> dict[str, Any]:
    """The graph of which another tenant is given nothing that was saved for this one.

    ComfyUI gives a node's earlier files to whoever asks for the same inputs, and what it writes into them (the workflow as its
    author drew it) is no input. An input that a node doesn't know is ignored but for that comparison.
    """
    mark = {TENANT: sha256(tenant_id.encode()).hexdigest()[:16]}

    def signs(node: Mapping[str, Any]) -> bool:
        info = catalogue.info.get(node["class_type"])
        return info is not None and _SIGNED in info.raw

    return {
        node_id: {**node, "inputs": {**node["inputs"], **mark}} if signs(node) else node
        for node_id, node in graph.items()
    }


async def _place(path: str, job: Job, link: Link, store: Store, blobs: Blobs) -> str:
    asset_id = parse_asset_path(path)
    assert asset_id is not None
    asset, content = await store.read(lambda session: session.tenant(job.tenant_id).content(asset_id))
    try:
        return await link.place(asset.hash[:32] + suffix_of(asset.name), content or blobs.path(asset.hash))
    except FileNotFoundError as error:
        raise Fault("not_found", f"the bytes of file '{asset_id}' are gone", hint="upload it again") from error


def _map_inputs(graph: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {node_id: {**node, "inputs": _map_strings(node["inputs"], change)} for node_id, node in graph.items()}


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return value
