"""How far a job has come: one percentage over the whole graph that never goes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Progress"]


class Progress:
    """Adds up what is done of each node of the graph; nodes that the server makes up while it runs are no part of it.

    The most that was heard of a node counts: one that counts anew takes nothing back, and one that a message does not
    mention keeps what it had.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._shares = dict.fromkeys(nodes, 0.0)
        self.percent = 0.0

    def update(self, done: Iterable[str], fractions: Mapping[str, float]) -> bool:
        """Whether the percentage has grown. Below 100 until the job has ended, whatever the nodes say."""
        for node, share in (*fractions.items(), *((node, 1.0) for node in done)):
            if node in self._shares:
                self._shares[node] = max(self._shares[node], min(share, 1.0))
        before = self.percent
        self.percent = max(before, min(99.0, 100.0 * sum(self._shares.values()) / max(len(self._shares), 1)))
        return self.percent > before
