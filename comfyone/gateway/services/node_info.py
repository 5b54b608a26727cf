"""The node classes of a tenant's backends, told as one ComfyUI would tell them: with the tenant's own files in the lists."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from comfyone.gateway.domain.catalogue import Catalogue
from comfyone.gateway.domain.folders import Folder, Upload
from comfyone.gateway.domain.node_info import united, variants, with_files
from comfyone.gateway.domain.policies import is_granted
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.ports import Dispatch
from comfyone.gateway.services.folders import Folders
from comfyone.graph.catalog import Catalog

__all__ = ["NodeInfo"]

MAX_KEPT = 64
"""Unions of backends that are kept; nearly all tenants see the same few."""


@dataclass(frozen=True, slots=True)
class _Union:
    """What some backends have together: each class as JSON, and which of its inputs are uploads."""

    classes: Mapping[str, bytes]
    uploads: Mapping[str, Mapping[str, Upload]]
    catalog: Catalog


class NodeInfo:
    def __init__(self, dispatch: Dispatch, folders: Folders) -> None:
        self._dispatch = dispatch
        self._folders = folders
        self._unions: OrderedDict[tuple[object, ...], _Union] = OrderedDict()

    async def all(self, principal: Principal) -> dict[str, msgspec.Raw]:
        """Every class that the tenant may use, as JSON."""
        await self._dispatch.known_classes(principal.tenant_id)
        union = await self._union(principal.tenant_id)
        own = await self._with_files(principal, union, list(union.uploads))
        return {
            name: msgspec.Raw(own.get(name, raw))
            for name, raw in union.classes.items()
            if is_granted(principal.policy, name)
        }

    async def one(self, principal: Principal, name: str) -> dict[str, msgspec.Raw]:
        """One class, or nothing where the tenant has no such one."""
        union = await self._union(principal.tenant_id)
        if name not in union.classes or not is_granted(principal.policy, name):
            return {}
        own = await self._with_files(principal, union, [name] if name in union.uploads else [])
        return {name: msgspec.Raw(own.get(name, union.classes[name]))}

    async def catalog(self, principal: Principal) -> Catalog | None:
        """The same, read, to check graphs by: without the tenant's files. None while no backend has said what it has."""
        union = await self._union(principal.tenant_id)
        return union.catalog if union.classes else None

    async def _union(self, tenant_id: str) -> _Union:
        catalogues = self._dispatch.catalogues(tenant_id)
        key = tuple(catalogue.token for catalogue in catalogues)
        union = self._unions.get(key)
        if union is None:
            union = self._unions[key] = await asyncio.to_thread(_unite, catalogues)
            if len(self._unions) > MAX_KEPT:
                self._unions.popitem(last=False)
        return union

    async def _with_files(self, principal: Principal, union: _Union, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        files = {
            folder.value: [file.path for file in await self._folders.list(principal, folder) if not file.subfolder]
            for folder in (Folder.INPUT, Folder.OUTPUT)
        }
        return {
            name: msgspec.json.encode(with_files(msgspec.json.decode(union.classes[name]), union.uploads[name], files))
            for name in names
        }


def _unite(catalogues: Sequence[Catalogue]) -> _Union:
    classes = {}
    for name, said in variants(catalogue.info for catalogue in catalogues).items():
        one = said[0].raw
        if len(said) > 1:
            one = msgspec.json.encode(united([msgspec.json.decode(info.raw) for info in said]))
        classes[name] = one
    uploads: defaultdict[str, dict[str, Upload]] = defaultdict(dict)
    for catalogue in catalogues:
        for (class_, name), upload in catalogue.uploads.items():
            uploads[class_][name] = upload
    return _Union(classes, dict(uploads), Catalog(_Read(classes)))


class _Read(Mapping[str, object]):
    """Classes that are read when they are asked for."""

    def __init__(self, classes: Mapping[str, bytes]) -> None:
        self._classes = classes

    def __getitem__(self, name: str) -> object:
        return msgspec.json.decode(self._classes[name])

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)
