"""How two graphs in API format differ, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfyone.graph.document import Graph
from comfyone.graph.spelling import shown
from comfyone.graph.structure import require_graph

__all__ = ["Change", "Difference", "diff"]

_ABSENT = "nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """An input that differs. One that a side doesn't have is None there, and not in ``before`` or ``after`` of it."""

    node_id: str
    class_type: str
    input: str
    before: Any
    after: Any
    there_before: bool = True
    there_after: bool = True

    def __str__(self) -> str:
        before = _shown(self.before) if self.there_before else _ABSENT
        after = _shown(self.after) if self.there_after else _ABSENT
        return f"~ {self.node_id} {self.class_type}.{self.input}: {before} → {after}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one graph to another. False when nothing did; as a text it has a line for each change."""

    added: tuple[tuple[str, str], ...] = ()
    """Nodes that only the second graph has, as id and class."""
    removed: tuple[tuple[str, str], ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        lines = [f"- {node_id} {name}" for node_id, name in self.removed]
        lines += [f"+ {node_id} {name}" for node_id, name in self.added]
        return "\n".join(lines + [str(change) for change in self.changed])


def diff(before: Graph, after: Graph) -> Difference:
    """Compare two graphs node by node. A node whose class differs counts as another node; titles don't count.

    Raises:
        GraphError: One of them is no graph in API format. An empty one is taken for a graph without nodes.
    """
    for graph in (before, after):
        if graph != {}:
            require_graph(graph)
    kept = {each: None for each in before if each in after and _class(before[each]) == _class(after[each])}
    return Difference(
        added=tuple((each, _class(after[each])) for each in after if each not in kept),
        removed=tuple((each, _class(before[each])) for each in before if each not in kept),
        changed=tuple(change for each in kept for change in _changes(each, before[each], after[each])),
    )


def _changes(node_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    old, new = before.get("inputs", {}), after.get("inputs", {})
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new or not _same(old[name], new[name]):
            yield Change(
                node_id,
                _class(before),
                name,
                old.get(name),
                new.get(name),
                there_before=name in old,
                there_after=name in new,
            )


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one to JSON: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _class(node: Mapping[str, Any]) -> str:
    return str(node.get("class_type", "?"))


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return f"output {value[1]} of node {value[0]}"
    return shown(value)
