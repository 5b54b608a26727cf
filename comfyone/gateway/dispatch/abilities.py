"""Which backend is able to run what: what a graph needs against what each backend says that it has."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.catalogue import MAX_NAMED, Catalogue, missing_text, needs_of
from comfyone.gateway.domain.jobs import Failure, Job, Kind, Needs
from comfyone.gateway.domain.strays import GIVE_ASSET, stray_files
from comfyone.graph.document import Graph

__all__ = ["Abilities"]

MAX_KNOWN = 4096


class Abilities:
    """``visible`` gives the links that a tenant's jobs may go to."""

    def __init__(self, links: Mapping[str, Link], visible: Callable[[str], list[Link]]) -> None:
        self._links = links
        self._visible = visible
        self._known: OrderedDict[tuple[object, Needs], bool] = OrderedDict()

    def able(self, job: Job, backend_id: str) -> bool:
        """Whether a backend has what a job needs. One whose catalogue is not known yet gets the benefit of the doubt."""
        link = self._links.get(backend_id)
        return link is None or self._can(link, job.needs)

    def needs(self, tenant_id: str, graph: Graph, values: Mapping[str, Mapping[str, Any]]) -> Needs | None:
        """What a graph needs, or None while no catalogue says which inputs are enumerated."""
        catalogues = self.catalogues(tenant_id)
        if not catalogues:
            return None
        needs = needs_of(graph, values, catalogues)
        strays = stray_files(graph, values, [catalogue.loaders for catalogue in catalogues])
        return replace(needs, own=True) if any(strays) else needs

    def impossible(
        self, tenant_id: str, needs: Needs | None, labels: Mapping[str, str], backend_id: str | None
    ) -> Failure | None:
        """Why no backend of a tenant can ever run a job, whatever it does now; None when one can, or may."""
        links = [link for link in self._visible(tenant_id) if backend_id in (None, link.backend.id)]
        if not links or any(self._may(link, needs, labels) for link in links):
            return None
        takers = [link for link in links if labels.items() <= link.backend.labels.items()]
        if needs and needs.own and takers and all(link.backend.shared for link in takers):
            text = "it works on a server's own files or folders, and every server that it may go to is shared"
            return Failure("input_missing", text, hint=f"{GIVE_ASSET}; or register a backend of your own")
        lacking = {link.backend.name: _lacking(link, needs, labels) for link in links[:MAX_NAMED]}
        return Failure(
            "unable",
            f"no backend can run it: {missing_text(lacking, len(links) - len(lacking))}",
            hint="install what is missing, register a backend that has it, or ask for something else",
        )

    def takers(self, tenant_id: str, kind: Kind) -> list[Link]:
        """The backends that may run jobs of a kind, in whatever state they are."""
        links = [link for link in self._visible(tenant_id) if kind.wanted_backend_id in (None, link.backend.id)]
        return [link for link in links if self._may(link, kind.needs, dict(kind.labels))]

    def classes(self, tenant_id: str) -> frozenset[str]:
        return frozenset().union(*(catalogue.classes for catalogue in self.catalogues(tenant_id)))

    def _may(self, link: Link, needs: Needs | None, labels: Mapping[str, str]) -> bool:
        if not labels.items() <= link.backend.labels.items():
            return False
        return self._can(link, needs)

    def _can(self, link: Link, needs: Needs | None) -> bool:
        if needs is None:
            return True
        if needs.own and link.backend.shared:
            return False  # what lies there is not the tenant's
        return link.catalogue is None or self._has(link.catalogue, needs)

    def _has(self, catalogue: Catalogue, needs: Needs) -> bool:
        key = (catalogue.token, needs)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = catalogue.has(needs)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return known

    def catalogues(self, tenant_id: str) -> list[Catalogue]:
        """What the backends of a tenant have, as far as that is known."""
        distinct = {link.catalogue.token: link.catalogue for link in self._visible(tenant_id) if link.catalogue}
        return list(distinct.values())


def _lacking(link: Link, needs: Needs | None, labels: Mapping[str, str]) -> list[str]:
    wrong = [f"label {name}={value}" for name, value in labels.items() if link.backend.labels.get(name) != value]
    if needs and needs.own and link.backend.shared:
        wrong.append("files of the tenant in its own folders")
    return wrong + (link.catalogue.lacks(needs) if link.catalogue and needs else [])
