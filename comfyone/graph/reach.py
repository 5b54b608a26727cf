"""What needs what in a graph, for many nodes at once. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from comfyone.graph.document import Graph, links_of

__all__ = ["Some", "sources_of"]


class Some(Collection[str]):
    """Some of the marked nodes, in their order, as the bits of a number: thousands of such sets are small."""

    __slots__ = ("_bits", "_marked")

    def __init__(self, marked: Sequence[str], bits: int) -> None:
        self._marked, self._bits = marked, bits

    def __len__(self) -> int:
        return self._bits.bit_count()

    def __iter__(self) -> Iterator[str]:
        bits = self._bits
        while bits:
            lowest = bits & -bits
            yield self._marked[lowest.bit_length() - 1]
            bits ^= lowest

    def __contains__(self, node_id: object) -> bool:
        return any(each == node_id for each in self)


def sources_of(graph: Graph, marked: Sequence[str]) -> dict[str, Some]:
    """For each node that is a marked one, or needs one: which ones. The graph is walked once, however many are marked."""
    own = {node_id: 1 << place for place, node_id in enumerate(marked)}
    givers = {
        node_id: [source for _, source, _ in links_of(node) if source in graph] for node_id, node in graph.items()
    }
    found: dict[str, int] = {}
    for group in _groups(givers):
        bits = 0
        for node_id in group:
            bits |= own.get(node_id, 0)
            for giver in givers[node_id]:
                bits |= found.get(giver, 0)
        if bits:
            found.update(dict.fromkeys(group, bits))
    return {node_id: Some(marked, bits) for node_id, bits in found.items()}


def _groups(givers: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Nodes that need one another, together; each group after all that it needs (Tarjan's components)."""
    number: dict[str, int] = {}
    least: dict[str, int] = {}
    stack: list[str] = []
    held: set[str] = set()
    for root in givers:
        path = [] if root in number else [(root, iter(givers[root]))]
        while path:
            node_id, rest = path[-1]
            if node_id not in number:
                number[node_id] = least[node_id] = len(number)
                stack.append(node_id)
                held.add(node_id)
            for giver in rest:
                if giver not in number:
                    path.append((giver, iter(givers[giver])))
                    break
                if giver in held:
                    least[node_id] = min(least[node_id], number[giver])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    least[above] = min(least[above], least[node_id])
                if least[node_id] == number[node_id]:
                    place = len(stack) - 1
                    while stack[place] != node_id:
                        place -= 1
                    yield (group := stack[place:])
                    held.difference_update(group)
                    del stack[place:]
