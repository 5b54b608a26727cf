"""Widgets of nodes inside a subgraph that stand on its instances, each instance with values of its own.

Files have had three forms: values in the order of the promoted inputs; a list ``proxyWidgets`` of what is promoted,
with values in its order or none at all; and names beside the values. Where there is no value, the node inside has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from comfyone.graph.convert.document import INPUT_SIDE, Node, Sheet

__all__ = ["Promoted", "read_promoted"]

_NO_VALUE = frozenset({"control_after_generate", "control_filter_list"})


@dataclass(slots=True)
class Promoted:
    """What an instance says of the widgets inside it."""

    values: dict[str, Any] = field(default_factory=dict)
    """By the name of the subgraph's input that is linked to the widget."""
    overrides: dict[tuple[str, str], Any] = field(default_factory=dict)
    """By inner node and widget, for widgets that no input is linked to."""
    known: int | None = None
    """How many widgets the values were laid against; None where they have names."""


def read_promoted(instance: Node, definition: Sheet) -> Promoted:
    """Read the values that an instance of a subgraph has for widgets inside it."""
    linked = dict(_linked_widgets(definition))
    if instance.named:
        names = {name for _, name in linked.items()} | {socket.name for socket in definition.inputs}
        return Promoted({key: value for key, value in instance.named.items() if key in names and value is not None})
    proxies = instance.properties.get("proxyWidgets")
    if isinstance(proxies, list) and proxies:
        return _by_proxies(instance, proxies, linked)
    names_in_order = list(_names_with_widget(definition))
    given = {name: value for name, value in zip(names_in_order, instance.values, strict=False) if value is not None}
    return Promoted(given, known=len(names_in_order))


def _by_proxies(instance: Node, proxies: list[Any], linked: dict[tuple[str, str], str]) -> Promoted:
    promoted = Promoted(known=len(proxies))
    for proxy, value in zip(proxies, instance.values, strict=False):
        if not isinstance(proxy, list) or len(proxy) < 2 or value is None:
            continue
        node, widget = str(proxy[0]), str(proxy[1])
        if node == "-1":
            promoted.values[widget] = value
        elif (node, widget) in linked:
            promoted.values[linked[node, widget]] = value
        elif not widget.startswith("$$") and widget.rpartition(": ")[2] not in _NO_VALUE:
            promoted.overrides[node, widget] = value
    return promoted


def _linked_widgets(definition: Sheet) -> Iterator[tuple[tuple[str, str], str]]:
    """Inner widgets that an input of the subgraph is linked to, and the name of that input."""
    for node in definition.nodes.values():
        for socket in node.inputs:
            link = definition.links.get(socket.link or "")
            if link is None or link.origin != INPUT_SIDE or not socket.widget:
                continue
            if 0 <= link.origin_slot < len(definition.inputs):
                yield (node.id, socket.widget), definition.inputs[link.origin_slot].name


def _names_with_widget(definition: Sheet) -> Iterator[str]:
    """The inputs of a subgraph that stand for a widget, in their order."""
    named = {name for _, name in _linked_widgets(definition)}
    yield from (socket.name for socket in definition.inputs if socket.name in named)
