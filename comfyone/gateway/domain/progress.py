"""How far a job has come: one percentage over the whole graph that never goes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Progress"]


class Progress:
    """Counts nodes that are done, and the shares of those under way."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self._done: set[str] = set()
        self.percent = 0.0

    def update(self, done: Iterable[str], fractions: Mapping[str, float]) -> bool:
        """Whether the percentage has grown. Below 100 until the job has ended, whatever the nodes say."""
        self._done.update(self._nodes.intersection(done))
        under_way = sum(
            min(share, 1.0) for node, share in fractions.items() if node in self._nodes and node not in self._done
        )
        percent = min(99.0, 100.0 * (len(self._done) + under_way) / max(len(self._nodes), 1))
        grown = percent > self.percent
        self.percent = max(percent, self.percent)
        return grown
