"""How far a job has come: one percentage over the whole graph that never goes back, and what is under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from comfyone.gateway.domain.evidence import Preview

__all__ = ["Progress", "Snapshot"]


class Snapshot(msgspec.Struct, frozen=True):
    """How far a job has come at a moment. ``step`` counts the ``steps`` of the node under way, if it has such; ``preview`` is
    the latest picture of unfinished work, if there is one and there was room to keep it."""

    percent: float
    nodes_done: int
    nodes_total: int
    node_id: str | None
    step: float | None
    steps: float | None
    preview: Preview | None = None


class Progress:
    """Adds up what is done of each node of the graph; nodes that the server makes up while it runs are no part of it.

    The most that was heard of a node counts: one that counts anew takes nothing back, and one that a message does not
    mention keeps what it had.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._shares = dict.fromkeys(nodes, 0.0)
        self._done: set[str] = set()
        self._node_id: str | None = None
        self._step: tuple[float, float] | None = None
        self.percent = 0.0

    def update(self, done: AbstractSet[str], fractions: Mapping[str, float]) -> bool:
        """Whether the percentage has grown. Below 100 until the job has ended, whatever the nodes say."""
        shares, grown = self._shares, False
        for node in done - self._done:  # a server names them all again in every message
            if node in shares:
                self._done.add(node)
                grown = grown or shares[node] < 1.0
                shares[node] = 1.0
        for node, share in fractions.items():
            if shares.get(node, 1.0) < share:
                shares[node] = min(share, 1.0)
                grown = True
        if not grown:
            return False
        before = self.percent
        self.percent = max(before, min(99.0, 100.0 * sum(shares.values()) / len(shares)))
        return self.percent > before

    def turn_to(self, node_id: str | None, step: tuple[float, float] | None) -> None:
        """A node is under way, and so many of its steps are done; None: nothing new is known of it."""
        if node_id is not None and node_id != self._node_id:
            self._node_id, self._step = node_id, None
        self._step = step or self._step

    def snapshot(self, preview: Preview | None = None) -> Snapshot:
        step, steps = self._step or (None, None)
        percent, total = round(self.percent, 1), len(self._shares)
        return Snapshot(percent, len(self._done), total, self._node_id, step, steps, preview)
