"""ComfyUI's UI format, which the editor saves, to its API format, which a server runs. Pure.

What stands in the result is what the editor itself would send for the same file to the same server, except where that
is a known fault of the editor. What can't be told from the file and from object_info is refused, never guessed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from comfyone.graph.catalog import COMBO, Catalog, InputSpec, NodeClass, read_catalog
from comfyone.graph.convert.document import Node, read_workflow
from comfyone.graph.convert.editor import (
    GROUP_PREFIXES,
    MADE_IN_BROWSER,
    NOTES,
    PASSED_ON,
    PATCHES_PROMPT,
    PRIMITIVE,
    SAVES_FILES,
    NestedTooDeeply,
    choose_alternatives,
    fill_in,
)
from comfyone.graph.convert.findings import Conversion, ConversionError, Note, Reason, Seed
from comfyone.graph.convert.slots import has_widget
from comfyone.graph.convert.trace import Missing, Origin, Scope, Trace, Tracer, Value
from comfyone.graph.convert.widgets import Reading, doubtful, read_values
from comfyone.graph.spelling import nearest, or_nearest, plain_path, shown

__all__ = ["convert"]

_EDITOR_ALONE = NOTES | PASSED_ON | {PRIMITIVE, "GetNode", "SetNode"}
_SAVE_AGAIN = "open the file in this server's editor, check the node and save it again"
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Nodes of all subgraphs, at all the places where these stand: a small file can name more than any memory holds."""


def convert(
    ui_workflow: Any,
    object_info: Mapping[str, Any] | Catalog,
    *,
    rng: random.Random | None = None,
    now: datetime | None = None,
) -> Conversion:
    """Convert a workflow that the editor saved into a graph that a server runs.

    Args:
        ui_workflow: The JSON object that "Save" wrote, of schema 0.4 or 1.0.
        object_info: What ``GET /object_info`` of the server answers; the order of widgets follows from it.
        rng: Chooses among the alternatives of prompts such as ``{red|blue}``; without it, the first is taken.
        now: Fills in ``%date:…%`` in names of files; without it, the placeholder stays.

    Raises:
        ConversionError: It is not certain what the graph would be. The error lists every reason.
        CatalogError: ``object_info`` is no such answer.
    """
    run = _Run(Tracer(read_workflow(ui_workflow), read_catalog(object_info)), rng, now)
    workflow = run.tracer.workflow
    for scope, node in run.walk(Scope(workflow.root), ()):
        run.add(scope, node)
    if not run.graph and not run.reasons:
        run.reasons.append(Reason("no node is left: all are notes, muted or bypassed", "unmute what is to run"))
    if run.reasons:
        raise ConversionError(run.reasons)
    return Conversion(run.graph, tuple(run.notes), tuple(run.seeds))


class _Run:
    """One conversion and what it has found so far."""

    def __init__(self, tracer: Tracer, rng: random.Random | None, now: datetime | None) -> None:
        self.tracer = tracer
        self.graph: dict[str, dict[str, Any]] = {}
        self.notes: list[Note] = []
        self.seeds: list[Seed] = []
        self.reasons: list[Reason] = []
        self._rng = rng
        self._now = now
        self._walked = 0

    def walk(self, scope: Scope, around: tuple[str, ...]) -> Iterator[tuple[Scope, Node]]:
        """The nodes that are to run, those of subgraphs where the subgraph stands."""
        for node in scope.sheet.nodes.values():
            self._count()
            where = scope.id_of(node)
            inside = self.tracer.inner(scope, node)
            if not node.active:
                self._left_out(node, where)
            elif inside is None:
                if node.type not in _EDITOR_ALONE or self.tracer.class_of(node) is not None:
                    yield scope, node
            elif node.type in around or len(around) > MAX_DEPTH:
                self._refuse(node, where, "stands within itself", "take it out of its own definition")
            else:
                self._check_promoted(scope, node, where)
                yield from self.walk(inside, (*around, node.type))

    def _count(self) -> None:
        self._walked += 1
        if self._walked > MAX_NODES:
            text = f"its subgraphs, each at every place where it stands, come to more than {MAX_NODES:,} nodes"
            raise ConversionError([Reason(text, "use fewer instances of subgraphs that hold others")])

    def _check_promoted(self, scope: Scope, node: Node, where: str) -> None:
        """Values on an instance that are more than the widgets on it may belong to any of them."""
        known = self.tracer.promoted(scope, node).known
        if known is not None and any(value is not None for value in node.values[known:]):
            given = len(node.values)
            self._refuse(
                node, where, f"was saved with {given} values for the {known} widgets that stand on it", _SAVE_AGAIN
            )

    def _left_out(self, node: Node, where: str) -> None:
        if node.type not in _EDITOR_ALONE:
            word = "muted" if node.mode == 2 else "bypassed"
            self.notes.append(Note(f"{node.label(where)} is {word}, and left out", where, word))

    def _refuse(self, node: Node, where: str, text: str, hint: str) -> None:
        self.reasons.append(Reason(f"{node.label(where)} {text}", hint, where, node.type))

    def _note(self, node: Node, where: str, text: str, kind: str) -> None:
        self.notes.append(Note(f"{node.label(where)}: {text}", where, kind))

    def add(self, scope: Scope, node: Node) -> None:
        """Add one node to the graph, or a reason why not."""
        where = scope.id_of(node)
        node_class = self.tracer.class_of(node)
        if node_class is None:
            self._refuse(node, where, *self._unknown(node))
            return
        reading = read_values(node, node_class)
        self._check_reading(node, where, reading)
        traces = {
            socket.name: self.tracer.input(scope, node, index)
            for index, socket in enumerate(self.tracer.sockets(scope, node))
        }
        inputs = dict(self._widgets(scope, node, node_class, reading, traces))
        for name, found in traces.items():
            self._link(scope, node, node_class, name, found, inputs)
        title = node.title or node_class.display_name
        self.graph[where] = {"inputs": inputs, "class_type": node_class.name, "_meta": {"title": title}}

    def _unknown(self, node: Node) -> tuple[str, str]:
        if node.type.startswith(GROUP_PREFIXES):
            return "is a group node, which ComfyUI has replaced by subgraphs", (
                "open the file in a current editor, which turns group nodes into subgraphs, and save it again"
            )
        if node.type.startswith(PATCHES_PROMPT):
            return "draws links when the editor queues, which the file doesn't hold", (
                "let its pack turn its links into real ones ('Convert all UEs to real links'), and save again"
            )
        near = or_nearest(nearest(node.type, self.tracer.classes))
        return f"is of a class that the server doesn't have{near}", (
            "install the pack that has it, or delete, mute or bypass the node"
        )

    def _check_reading(self, node: Node, where: str, reading: Reading) -> None:
        if reading.unfit:
            self._refuse(node, where, f"was saved with {'; '.join(reading.unfit)}", _SAVE_AGAIN)
        elif reading.surplus:
            left = ", ".join(map(shown, reading.surplus))
            self._note(
                node, where, f"the server's class has no input any more, or not yet, for {left}; left out", "surplus"
            )
        if reading.unknown and not reading.unfit:
            names = ", ".join(f"'{name}'" for name in reading.unknown)
            self._note(node, where, f"the server's class has no input {names} any more; left out", "unknown")

    def _widgets(
        self, scope: Scope, node: Node, node_class: NodeClass, reading: Reading, traces: Mapping[str, Trace]
    ) -> Iterator[tuple[str, Any]]:
        """The inputs whose value stands in a widget."""
        where = scope.id_of(node)
        absent = {spec.name: spec for spec in reading.absent}
        specs = {name: spec for name, spec in node_class.inputs.items() if name in reading.values or name in absent}
        for name in [*specs, *(name for name in (*reading.values, *absent) if name not in specs)]:
            if isinstance(traces.get(name), Origin):
                continue
            spec = specs.get(name) or absent.get(name)
            found = self._value(scope, node, name, traces.get(name), reading)
            if spec is not None and spec.type in MADE_IN_BROWSER and not isinstance(found, dict):
                made = MADE_IN_BROWSER[spec.type]
                hint = "run it from the editor, or replace the node by one that loads a file"
                self._refuse(node, where, f"takes {made} for '{name}', which the editor makes when it queues", hint)
            elif found is not None:
                yield name, self._finished(scope, node, node_class, name, spec, found, traces.get(name))
            elif spec is not None:
                yield from self._by_default(node, where, spec)
            if found is not None and name in reading.controls:
                self.seeds.append(Seed(where, name, found, reading.controls[name]))

    def _value(self, scope: Scope, node: Node, name: str, trace: Trace | None, reading: Reading) -> Any:
        if isinstance(trace, Value):
            return trace.value
        above = self.tracer.override(scope, node, name)
        return reading.values.get(name) if above is None else above.value

    def _by_default(self, node: Node, where: str, spec: InputSpec) -> Iterator[tuple[str, Any]]:
        """The value that the editor gives to a widget for which a file has none."""
        default = spec.default
        if default is None and not has_widget(spec):
            return
        if default is None:
            self._note(node, where, f"the file has no value for '{spec.name}', and the server no default", "default")
            return
        self._note(
            node,
            where,
            f"the file has no value for '{spec.name}'; its default {shown(default)} stands there",
            "default",
        )
        yield spec.name, default

    def _finished(
        self,
        scope: Scope,
        node: Node,
        cls: NodeClass,
        name: str,
        spec: InputSpec | None,
        value: Any,
        trace: Trace | None,
    ) -> Any:
        """A value as it goes to the server."""
        where = scope.id_of(node)
        if isinstance(value, list):
            return {"__value__": value}  # a bare list would be a link
        if spec is None:
            return value
        if isinstance(value, float) and spec.type == "INT" and value.is_integer():
            return int(value)
        if spec.type == COMBO:
            return self._choice(node, where, cls, spec, value)
        if isinstance(value, str):
            promoted = isinstance(trace, Value) and trace.promoted
            return self._text(scope, node, cls, spec, value, promoted)
        if doubtful(spec, value):
            self._note(node, where, f"'{name}' is {shown(value)}, which this server may refuse", "range")
        return value

    def _choice(self, node: Node, where: str, cls: NodeClass, spec: InputSpec, value: Any) -> Any:
        """A value of an enumeration as the server spells it; one that it doesn't have stays as it is."""
        if not doubtful(spec, value) or not isinstance(value, str):
            return value
        choices = [each for each in spec.choices or () if isinstance(each, str)]
        same = [each for each in choices if plain_path(each) == plain_path(value)]
        if cls.name.startswith("KSampler") and spec.name == "sampler_name" and value.removeprefix("sample_") in choices:
            same = [value.removeprefix("sample_")]  # how the very first files wrote it
        if same:
            self._note(node, where, f"'{spec.name}' is {value!r}; the server writes {same[0]!r}", "spelling")
            return same[0]
        near = or_nearest(nearest(value, choices))
        self._note(node, where, f"'{spec.name}' is {value!r}, which is not among the server's choices{near}", "choice")
        return value

    def _text(self, scope: Scope, node: Node, cls: NodeClass, spec: InputSpec, value: str, promoted: bool) -> str:
        where = scope.id_of(node)
        if spec.options.get("dynamicPrompts") is True and not promoted:
            try:
                chosen = choose_alternatives(value, self._rng)
            except NestedTooDeeply as error:
                self._refuse(node, where, f"has alternatives in '{spec.name}' that {error}", "write them side by side")
                return value
            if chosen != value:
                self._note(
                    node, where, f"'{spec.name}' holds alternatives or comments; this was chosen: {chosen!r}", "prompt"
                )
            return chosen
        if spec.name == "filename_prefix" and cls.name in SAVES_FILES:
            filled, left = fill_in(value, self._widget_text, self._now)
            if left:
                self._note(node, where, f"{', '.join(left)} in '{spec.name}' is not filled in", "placeholder")
            return filled
        return value

    def _widget_text(self, name: str, widget: str) -> str | None:
        """The value of a widget of the node that a placeholder names, by its property or else by its title."""
        nodes = [node for sheet in self.tracer.workflow.sheets for node in sheet.nodes.values()]
        found = [node for node in nodes if node.properties.get("Node name for S&R") == name]
        for node in (found or [node for node in nodes if self._title(node) == name])[:1]:
            node_class = self.tracer.class_of(node)
            values = read_values(node, node_class).values if node_class else {}
            if widget in values:
                return _written(values[widget])
        return None

    def _title(self, node: Node) -> str:
        node_class = self.tracer.class_of(node)
        return node.title or (node_class.display_name if node_class else node.type)

    def _link(self, scope: Scope, node: Node, cls: NodeClass, name: str, found: Trace, inputs: dict[str, Any]) -> None:
        """Write a link into the inputs, or say what became of it."""
        where, spec = scope.id_of(node), cls.input(name)
        if isinstance(found, Origin):
            inputs[name] = [found.node_id, found.slot]
            return
        if name in inputs or (isinstance(found, Missing) and found.broken):
            self._instead(node, where, name, found, inputs)
            return
        if isinstance(found, Value):
            self._note(
                node, where, f"'{name}' has no widget that could take {shown(found.value)}; left out", "unconnected"
            )
        elif spec is not None and spec.required and not has_widget(spec):
            why = found.why or "nothing is connected to it"
            self._note(node, where, f"'{name}' is required and left out: {why}", "unconnected")
        elif found.why:
            self._note(node, where, f"'{name}' is left out: {found.why}", "unconnected")

    def _instead(self, node: Node, where: str, name: str, found: Trace, inputs: Mapping[str, Any]) -> None:
        """A link that leads to nothing, of an input that has a value besides or a file that contradicts itself."""
        if not isinstance(found, Missing) or not found.why:
            return
        if found.broken and name not in inputs:
            self._refuse(node, where, f"can't be linked at '{name}': {found.why}", _SAVE_AGAIN)
        else:
            self._note(node, where, f"'{name}' has the value of its widget: {found.why}", "unconnected")


def _written(value: Any) -> str:
    """A value as JavaScript writes it into a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
