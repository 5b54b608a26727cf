"""Which of a node's saved values belongs to which input: the editor saves them in the order of its widgets.

A file of another version has more or fewer values than the class has widgets now. So the values are laid against each
order that may have been meant, and what fits none of them is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from comfyone.graph.catalog import COMBO, InputSpec, NodeClass
from comfyone.graph.convert.document import Node
from comfyone.graph.convert.editor import CONTROLS, WIDGETS
from comfyone.graph.convert.slots import Slot, chosen, grows, has_widget, slots_for, slots_of, uploads
from comfyone.graph.seeds import SEED_NAMES
from comfyone.graph.spelling import shown

__all__ = ["Reading", "doubtful", "read_values"]

Grade = Literal["fits", "doubtful", "unfit"]

_BUTTONS = frozenset({"image", "upload3dmodel", "uploadExtraResources", "clear", "upload", "capture", "refresh", ""})
_NUMBERS = {"INT", "FLOAT"}
MOST_GROWN = 100
"""No class lets its inputs grow further."""


@dataclass(slots=True)
class Reading:
    """What a node's values were read as."""

    values: dict[str, Any] = field(default_factory=dict)
    """Values by name of the input, without those that are null."""
    controls: dict[str, str] = field(default_factory=dict)
    """What becomes of an input after a run, by its name."""
    unfit: list[str] = field(default_factory=list)
    """Sentences about values that can't be what the input takes."""
    doubts: int = 0
    absent: list[InputSpec] = field(default_factory=list)
    """Inputs with a widget for which the file has no value."""
    unknown: list[str] = field(default_factory=list)
    """Widgets of the file that the class has no more."""
    surplus: tuple[Any, ...] = ()
    """Values behind all that the class has a widget for: those of inputs that a newer version has put at its end."""

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """The lower, the likelier it is that the values were meant like this."""
        return len(self.unfit), len(self.surplus), len(self.absent), self.doubts


def read_values(node: Node, node_class: NodeClass) -> Reading:
    """Read the values of a node by the likeliest of the orders that they may be in."""
    if node.named:
        return _by_name(node, node_class)
    counts = range(min(len(node.values), MOST_GROWN) + 1) if grows(node_class) else [0]
    orders = [slots_of(node_class, own, grown) for own in _own_widgets(node, node_class) for grown in counts]
    readings = [_lay(slots, node.values, node) for slots in orders]
    for slots in _older_orders(node, node_class):
        reading = _lay(slots, node.values, node)
        if not reading.surplus and not reading.absent:  # these may only be meant where they explain all values
            reading.absent = [each for each in node_class.inputs.values() if _lacks(reading, each)]
            readings.append(reading)
    return min(readings, key=lambda reading: reading.rank)


def _lacks(reading: Reading, spec: InputSpec) -> bool:
    return has_widget(spec) and spec.name not in reading.values


def _own_widgets(node: Node, node_class: NodeClass) -> Iterator[frozenset[str]]:
    """The inputs that may have a widget of the class's own pack: none, or those that the file shows with one."""
    yield frozenset()
    specs = [
        node_class.inputs[socket.name] for socket in node.inputs if socket.widget and node_class.input(socket.name)
    ]
    if own := frozenset(spec.name for spec in specs if not has_widget(spec) and not spec.force_input):
        yield own


def _older_orders(node: Node, node_class: NodeClass) -> Iterator[list[Slot]]:
    forced = [spec.name for spec in node_class.inputs.values() if spec.force_input and spec.type in WIDGETS]
    if forced:  # before frontend 1.16 they had a value too
        yield [
            replace(slot, spec=None, role="silent") if slot.name in forced else slot
            for slot in slots_of(node_class, forced)
        ]
    if any(socket.widget for socket in node.inputs):
        yield list(_as_listed(node, node_class))


def _as_listed(node: Node, node_class: NodeClass) -> Iterator[Slot]:
    """The order of the widgets that the file itself lists among the inputs, as newer frontends do."""
    for socket in node.inputs:
        if not socket.widget:
            continue
        spec = node_class.inputs.get(socket.name)
        if spec is not None:
            yield from slots_for(spec)
        else:
            yield Slot(socket.name)
            if socket.name in SEED_NAMES:
                yield Slot(socket.name, role="control")
    yield from uploads(node_class)


def _lay(slots: Sequence[Slot], values: Sequence[Any], node: Node) -> Reading:
    """Lay values against places, one after the other."""
    reading, ahead, at = Reading(), deque(slots), 0
    linked = {socket.name for socket in node.inputs if socket.link is not None}
    while ahead:
        slot = ahead.popleft()
        value = values[at] if at < len(values) else None
        if slot.role == "silent":
            at += 1
        elif slot.role != "value":
            at += _beside(slot, value, reading) if at < len(values) else 0
        elif at < len(values):
            at += 1
            ahead.extendleft(reversed(_take(slot, value, reading, slot.name in linked)))
        elif slot.spec is not None:
            reading.absent.append(slot.spec)
    left = values[at:]
    reading.surplus = () if all(_says_nothing(value) for value in left) else tuple(left)
    return reading


def _beside(slot: Slot, value: Any, reading: Reading) -> int:
    """How many values a widget takes that is no input: none, when an older file doesn't have it."""
    if slot.role == "control" and (isinstance(value, bool) or _among(CONTROLS, value)):
        reading.controls[slot.name] = value if isinstance(value, str) else "randomize" if value else "fixed"
        return 1
    if slot.role == "filter":
        return int(slot.name in reading.controls and isinstance(value, str))
    return int(slot.role == "button" and (value is None or _among(_BUTTONS, value)))


def _among(known: frozenset[str], value: Any) -> bool:
    return isinstance(value, str) and value in known


def _take(slot: Slot, value: Any, reading: Reading, linked: bool) -> list[Slot]:
    """Note a value; further places follow when it is what decides about them."""
    if slot.spec is None:
        reading.unknown.append(slot.name)
        return []
    grade = "fits" if value is None else _grade(slot.spec, value)
    if grade == "unfit" and not linked:
        reading.unfit.append(f"{shown(value)} for '{slot.name}', which takes {_taken(slot.spec)}")
    reading.doubts += grade != "fits"
    if value is None:
        reading.absent.append(slot.spec)
    else:
        reading.values[slot.name] = value
    return chosen(slot.spec, value)


def _by_name(node: Node, node_class: NodeClass) -> Reading:
    """Read values that the file names, as some packs save them and newer frontends do besides."""
    named, reading = node.named or {}, Reading()
    own = [name for name in named if name in node_class.inputs and not has_widget(node_class.inputs[name])]
    linked = {socket.name for socket in node.inputs if socket.link is not None}
    counted = min(len(named), MOST_GROWN) if grows(node_class) else 0
    ahead = deque(slot for slot in slots_of(node_class, own, counted) if slot.name in named or "." not in slot.name)
    while ahead:
        slot = ahead.popleft()
        if slot.role == "control":
            _beside(slot, named.get("control_after_generate"), reading)
        elif slot.role == "value":
            ahead.extendleft(reversed(_take(slot, named.get(slot.name), reading, slot.name in linked)))
    return reading


def doubtful(spec: InputSpec, value: Any) -> bool:
    """Whether a value is of the right kind, but none that the server takes now."""
    return _grade(spec, value) != "fits"


def _grade(spec: InputSpec, value: Any) -> Grade:
    if spec.type in _NUMBERS:
        return _grade_number(spec, value)
    if spec.type == "BOOLEAN":
        return "fits" if isinstance(value, bool) else "doubtful" if value in (0, 1) else "unfit"
    if spec.type == "STRING":
        return "fits" if isinstance(value, str) else "doubtful" if _kind(value) is float else "unfit"
    if spec.type == COMBO:
        return _grade_choice(spec, value)
    return "fits"


def _grade_number(spec: InputSpec, value: Any) -> Grade:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "unfit"
    if spec.type == "INT" and isinstance(value, float) and not value.is_integer():
        return "unfit"
    low, high = spec.minimum, spec.maximum
    return "doubtful" if (low is not None and value < low) or (high is not None and value > high) else "fits"


def _grade_choice(spec: InputSpec, value: Any) -> Grade:
    if isinstance(value, list):
        return "fits" if spec.multiselect else "unfit"
    if isinstance(value, dict):
        return "unfit"
    if not spec.choices:
        return "fits" if isinstance(value, str) else "doubtful"
    if any(value == each and type(value) is type(each) for each in spec.choices):
        return "fits"
    alike = any(_kind(value) is _kind(each) for each in spec.choices)
    return "doubtful" if alike else "unfit"


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _says_nothing(value: Any) -> bool:
    """Whether a value is of a widget that is no input; some frontends have even saved the button itself."""
    return value is None or isinstance(value, dict) or _among(_BUTTONS | CONTROLS, value)


def _taken(spec: InputSpec) -> str:
    if spec.type == COMBO and spec.choices:
        return f"one of {len(spec.choices)} choices such as {shown(spec.choices[0])}"
    return {"INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "true or false"}.get(
        spec.type, spec.type
    )
