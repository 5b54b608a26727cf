"""Parsed graphs, kept in memory: a version of a workflow never changes, so it is parsed once."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.ports import Store
from comfyone.graph.document import Graph

__all__ = ["Graphs"]

MAX_GRAPHS = 256


class Graphs:
    """Nobody may change what these return."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parsed: OrderedDict[tuple[str, int], Graph] = OrderedDict()

    async def of(self, job: Job) -> Graph:
        """The graph of a job, without its values."""
        key = (job.workflow_id or "", job.version or 0)
        if key in self._parsed:
            return self._parsed[key]
        raw = await self._store.read(lambda session: session.engine.graph(job))
        return self.of_version(*key, raw) if job.workflow_id else msgspec.json.decode(raw)

    def of_version(self, workflow_id: str, version: int, raw: bytes) -> Graph:
        """The graph of a workflow's version, whose bytes are at hand."""
        key = (workflow_id, version)
        graph = self._parsed.get(key)
        if graph is None:
            graph = self._parsed[key] = msgspec.json.decode(raw)
            if len(self._parsed) > MAX_GRAPHS:
                self._parsed.popitem(last=False)
        return graph
