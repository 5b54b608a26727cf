"""Where an input's value comes from: links followed through all that the editor has and a graph has not.

Reroutes hand on, bypassed nodes let through what fits, muted ones give nothing, the sides of a subgraph lead out of it
or into it, and a primitive or a promoted widget is a value and no link. The rules are those of the editor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from comfyone.graph.catalog import ANY, Catalog, NodeClass
from comfyone.graph.convert.document import (
    BYPASSED,
    INPUT_SIDE,
    MUTED,
    OUTPUT_SIDE,
    Link,
    Node,
    Sheet,
    Socket,
    Workflow,
)
from comfyone.graph.convert.editor import NOTES, PASSED_ON, PRIMITIVE, RENAMED
from comfyone.graph.convert.promoted import Promoted, read_promoted
from comfyone.graph.convert.slots import has_widget

__all__ = ["Missing", "Origin", "Scope", "Trace", "Tracer", "Value"]

MAX_HOPS = 200
"""No file has so many reroutes in a row; one that stands within itself would go on for ever."""

_GETTER, _SETTER = "GetNode", "SetNode"
_ANYTHING = frozenset({"", ANY})


@dataclass(frozen=True, slots=True)
class Origin:
    """An output of a node in the result."""

    node_id: str
    slot: int


@dataclass(frozen=True, slots=True)
class Value:
    """A value that stands in another node's widget."""

    value: Any
    promoted: bool
    """It is a subgraph's own widget, and not a primitive's."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing. ``why`` says so of a link that is there; without one it is empty."""

    why: str = ""
    broken: bool = False
    """The file contradicts itself, and the editor would fail at it or drop the link."""


Trace = Origin | Value | Missing


@dataclass(frozen=True, slots=True)
class Scope:
    """A sheet at one of the places where it is used: the workflow itself, or an instance of a subgraph."""

    sheet: Sheet
    path: tuple[str, ...] = ()
    instance: Node | None = None
    outer: Scope | None = None

    def id_of(self, node: Node) -> str:
        """The id of a node in the result: those of the subgraphs around it come first."""
        return ":".join((*self.path, node.id))


class Tracer:
    """Follows the links of one workflow."""

    def __init__(self, workflow: Workflow, catalog: Catalog) -> None:
        self._workflow = workflow
        self._catalog = catalog
        self._sockets: dict[tuple[int, str], tuple[Socket, ...]] = {}
        self._promoted: dict[tuple[int, str], Promoted] = {}

    @property
    def workflow(self) -> Workflow:
        return self._workflow

    @property
    def classes(self) -> Catalog:
        return self._catalog

    def class_of(self, node: Node) -> NodeClass | None:
        """The server's class of a node, also under the name that the class has now."""
        for name in (node.type, RENAMED.get(node.type)):
            if name is not None and name in self._catalog:
                return self._catalog[name]
        return None

    def inner(self, scope: Scope, node: Node) -> Scope | None:
        """The inside of a node that is a subgraph; None when it is none."""
        sheet = self._workflow.definitions.get(node.type)
        return None if sheet is None else Scope(sheet, (*scope.path, node.id), node, scope)

    def sockets(self, scope: Scope, node: Node) -> tuple[Socket, ...]:
        """The inputs of a node in the order of the editor, each with its link."""
        key = (id(scope.sheet), node.id)
        if key not in self._sockets:
            self._sockets[key] = tuple(self._read_sockets(node))
        return self._sockets[key]

    def promoted(self, scope: Scope, instance: Node) -> Promoted:
        """The values that an instance of a subgraph has for the widgets inside it."""
        key = (id(scope.sheet), instance.id)
        if key not in self._promoted:
            self._promoted[key] = read_promoted(instance, self._workflow.definitions[instance.type])
        return self._promoted[key]

    def override(self, scope: Scope, node: Node, widget: str) -> Value | None:
        """The value that an instance around a node has for one of its widgets without linking it."""
        name, found = widget, None
        within: Node = node
        around: Scope | None = scope
        while around is not None and around.instance is not None and around.outer is not None:
            overrides = self.promoted(around.outer, around.instance).overrides
            found = overrides.get((within.id, name), found)
            name, within, around = f"{within.id}: {name}", around.instance, around.outer
        return None if found is None else Value(found, promoted=True)

    def input(self, scope: Scope, node: Node, index: int) -> Trace:
        """What an input of a node gets."""
        return self._input(scope, node, index, None, frozenset())

    def _read_sockets(self, node: Node) -> Iterator[Socket]:
        definition = self._workflow.definitions.get(node.type)
        listed: Mapping[str, Socket] = {socket.name: socket for socket in reversed(node.inputs)}
        if definition is not None:
            for place, socket in enumerate(definition.inputs):
                own = listed.get(socket.name)
                if own is None and len(node.inputs) == len(definition.inputs):
                    own = node.inputs[place]  # it was renamed, and the instance not
                yield replace(socket, link=own.link if own else None, widget=own.widget if own else None)
            return
        node_class = self.class_of(node)
        if node_class is None:
            yield from node.inputs
            return
        specs = [spec for spec in node_class.inputs.values() if not spec.dynamic or spec.name in listed]
        plain = [spec for spec in specs if not has_widget(spec)]
        for spec in plain + [spec for spec in specs if has_widget(spec) and not spec.socketless]:
            own = listed.get(spec.name) or Socket(spec.name, spec.type)
            kind = own.type if spec.type == ANY else spec.type
            yield replace(own, type=kind, widget=spec.name if has_widget(spec) else None)
        yield from (socket for socket in node.inputs if socket.name not in node_class.inputs)

    def _output_type(self, node: Node, slot: int) -> str | None:
        """The type of an output; None when the node has no such output."""
        definition, node_class = self._workflow.definitions.get(node.type), self.class_of(node)
        if slot < 0:
            return None
        if definition is not None:
            return definition.outputs[slot].type if slot < len(definition.outputs) else None
        saved = node.outputs[slot].type if slot < len(node.outputs) else None
        if node_class is not None and slot < len(node_class.outputs):
            own = node_class.outputs[slot].type
            return saved or own if own == ANY else own
        return saved

    def _input(self, scope: Scope, node: Node, index: int, kind: str | None, seen: frozenset[str]) -> Trace:
        sockets = self.sockets(scope, node)
        if not 0 <= index < len(sockets):
            return Missing(f"{node.label(scope.id_of(node))} has no input number {index + 1}", broken=True)
        step = f"{scope.id_of(node)}<{index}"
        if step in seen or len(seen) > MAX_HOPS:
            return Missing(f"its link goes in a circle through {node.label(scope.id_of(node))}", broken=True)
        socket = sockets[index]
        if socket.link is None:
            return Missing()
        link = scope.sheet.links.get(socket.link)
        if link is None:
            return Missing(f"its link {socket.link} is not among the links of {scope.sheet.name}", broken=True)
        return self._from(scope, link, kind or socket.type, seen | {step})

    def _from(self, scope: Scope, link: Link, kind: str, seen: frozenset[str]) -> Trace:
        if link.origin == INPUT_SIDE and scope.instance is not None and scope.outer is not None:
            return self._from_outside(scope, scope.instance, scope.outer, link.origin_slot, seen)
        origin = scope.sheet.nodes.get(link.origin)
        if origin is None:
            return Missing(
                f"its link comes from node {link.origin}, which {scope.sheet.name} doesn't have", broken=True
            )
        return self._output(scope, origin, link.origin_slot, kind, seen)

    def _from_outside(self, scope: Scope, instance: Node, outer: Scope, slot: int, seen: frozenset[str]) -> Trace:
        """A link that comes from the input side of a subgraph."""
        sockets = self.sockets(outer, instance)
        if not 0 <= slot < len(sockets):
            return Missing(f"{scope.sheet.name} has no input number {slot + 1}", broken=True)
        if sockets[slot].link is not None:
            return self._input(outer, instance, slot, None, seen)
        name = sockets[slot].name
        above = self.override(outer, instance, name)
        if above is not None:
            return above
        values = self.promoted(outer, instance).values
        return Value(values[name], promoted=True) if name in values else Missing()

    def _output(self, scope: Scope, node: Node, slot: int, kind: str, seen: frozenset[str]) -> Trace:
        where = scope.id_of(node)
        step = f"{where}>{slot}"
        if step in seen or len(seen) > MAX_HOPS:
            return Missing(f"its link goes in a circle through {node.label(where)}", broken=True)
        seen = seen | {step}
        if node.type == PRIMITIVE:
            return _primitive(node, where)
        if node.mode == MUTED:
            return Missing(f"{node.label(where)}, which it comes from, is muted")
        if node.mode == BYPASSED:
            return self._through(scope, node, slot, kind, seen)
        inside = self.inner(scope, node)
        if inside is not None:
            return self._from_inside(scope, node, inside, slot, kind, seen)
        if node.type in PASSED_ON or node.type == _SETTER:
            return self._input(scope, node, 0, kind, seen)
        if node.type == _GETTER and self.class_of(node) is None:
            return self._named(scope, node, kind, seen)
        if node.type in NOTES and self.class_of(node) is None:
            return Missing(f"{node.label(where)} gives nothing")
        node_class = self.class_of(node)
        if node_class is not None and not 0 <= slot < len(node_class.outputs):
            return Missing(f"{node.label(where)} has no output number {slot + 1} on this server", broken=True)
        return Origin(where, slot)

    def _through(self, scope: Scope, node: Node, slot: int, kind: str, seen: frozenset[str]) -> Trace:
        """What a bypassed node lets through: the input on the same height if it fits, else the first that does."""
        index = self._bypass(scope, node, slot, kind)
        if index is None:
            return Missing(
                f"{node.label(scope.id_of(node))} is bypassed, and has no input of type {kind} to let through"
            )
        found = self._input(scope, node, index, None, seen)
        if isinstance(found, Missing) and not found.why:
            name = self.sockets(scope, node)[index].name
            return Missing(f"{node.label(scope.id_of(node))} is bypassed, and its input '{name}' is not connected")
        return found

    def _bypass(self, scope: Scope, node: Node, slot: int, kind: str) -> int | None:
        sockets, output = self.sockets(scope, node), self._output_type(node, slot)
        if not sockets or output is None:
            return None
        if kind in _ANYTHING:
            return slot if slot < len(sockets) else 0
        fitting = [_meet(each.type, output) and _meet(each.type, kind) for each in sockets]
        if slot < len(sockets) and fitting[slot]:
            return slot
        same = [index for index, each in enumerate(sockets) if each.type == kind]
        return next(iter(same + [index for index, fits in enumerate(fitting) if fits]), None)

    def _from_inside(
        self, scope: Scope, node: Node, inside: Scope, slot: int, kind: str, seen: frozenset[str]
    ) -> Trace:
        """A link that comes out of a subgraph."""
        link = next(
            (each for each in inside.sheet.links.values() if (each.target, each.target_slot) == (OUTPUT_SIDE, slot)),
            None,
        )
        if link is None:
            return Missing(f"output number {slot + 1} of {node.label(scope.id_of(node))} is not connected inside it")
        return self._from(inside, link, kind, seen)

    def _named(self, scope: Scope, node: Node, kind: str, seen: frozenset[str]) -> Trace:
        """A node that gets what another of the same name has set, wherever it is on the sheet."""
        name = node.values[0] if node.values else None
        for each in scope.sheet.nodes.values():
            if each.type == _SETTER and each.values and each.values[0] == name and name:
                return self._output(scope, each, 0, kind, seen)
        return Missing(f"{node.label(scope.id_of(node))} gets {name!r}, which no SetNode sets", broken=True)


def _primitive(node: Node, where: str) -> Trace:
    value = node.values[0] if node.values else (node.named or {}).get("value")
    return Missing(f"{node.label(where)} has no value") if value is None else Value(value, promoted=False)


def _meet(one: str, other: str) -> bool:
    """Whether an output of one type may be linked to an input of the other."""
    if one in _ANYTHING or other in _ANYTHING:
        return True
    return not {each.strip().lower() for each in one.split(",")}.isdisjoint(
        each.strip().lower() for each in other.split(",")
    )
