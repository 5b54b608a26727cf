"""Whether an input of a node class takes a value or a link: ComfyUI's own rules, as far as object_info tells them.

What object_info does not tell: whether a class checks an input by a function of its own, in place of its limits.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from comfyone.graph.catalog import ANY, COMBO, InputSpec, OutputSpec
from comfyone.graph.document import Problem, kind_of
from comfyone.graph.spelling import Nearest, or_nearest, plain_path, shown

__all__ = ["check_value", "spelled", "types_fit", "value_of"]

MAX_LISTED = 8
"""Choices that a message names when none is near."""

Report = Callable[..., Problem]

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_WORDS = {"INT": "whole number", "FLOAT": "number", "STRING": "text", "BOOLEAN": "boolean"}
_NEVER_VALUES = frozenset(
    {"AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET", "GLIGEN", "GUIDER", "HOOKS"}
    | {"IMAGE", "LATENT", "MASK", "MODEL", "NOISE", "SAMPLER", "SIGMAS", "STYLE_MODEL", "UPSCALE_MODEL", "VAE", "VIDEO"}
)
"""Types of ComfyUI's own that only exist while a graph runs. Other types may have widgets that we don't know."""

_FALSE_TEXTS = frozenset({"false", "no", "off", "0", "none"})


def types_fit(given: OutputSpec, wanted: InputSpec) -> bool:
    """Whether an output may be linked to an input. Types may be several with commas, one in common is enough."""
    if ANY in (given.type, wanted.type):
        return True
    if given.type == COMBO or wanted.type == COMBO:
        # the older form of an enumeration is the list itself, and equals nothing but the same list
        as_list = given.choices if given.choices is not None else given.type
        wanted_list = wanted.choices if wanted.old_form else wanted.type
        return as_list == wanted_list
    if given.type == wanted.type:
        return True
    types = {part.strip() for part in given.type.split(",")}
    return not types.isdisjoint(wanted.types)


def value_of(value: Any) -> Any:
    """A value without the wrapping that keeps a list from being read as a link."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def spelled(spec: InputSpec, value: Any) -> Any:
    """The value as the server writes it, if it is one of its choices but for the separators of a path."""
    if not isinstance(value, str) or spec.choices is None or value in spec.choices:
        return value
    plain = plain_path(value)
    return next((each for each in spec.choices if isinstance(each, str) and plain_path(each) == plain), value)


def check_value(
    spec: InputSpec, value: Any, where: Callable[[], str], node_id: str, nearest: Nearest
) -> Iterator[Problem]:
    """What is wrong with a value that is no link.

    Args:
        where: Tells the input as messages are to name it.
        node_id: The node, for the problems.
    """

    def error(text: str, *suggestions: Any) -> Problem:
        return Problem(f"{where()} {text}", node_id, spec.name, suggestions=suggestions)

    def warning(text: str, *suggestions: Any) -> Problem:
        return Problem(f"{where()} {text}", node_id, spec.name, "warning", suggestions)

    value = value_of(value)
    if not spec.is_widget and not _NEVER_VALUES.isdisjoint(spec.types):
        if value is not None or spec.required:
            yield error(f"is {kind_of(value)}, and takes a link to an output of type {spec.type}")
        return
    if spec.type in _CONVERSIONS:
        try:
            converted = _CONVERSIONS[spec.type](value)
        except (TypeError, ValueError, OverflowError):
            yield error(f"is {shown(value)}, which is no {_WORDS[spec.type]}", *_default(spec))
            return
        if doubt := _doubt(spec.type, value, converted):
            yield warning(*doubt)
        value = converted
    yield from (error(*found) for found in _limits(spec, value))
    if not spec.dynamic and spec.choices is not None:
        yield from _check_choice(spec, value, nearest, error, warning)


def _doubt(kind: str, value: Any, converted: Any) -> tuple[Any, ...] | None:
    """What ComfyUI makes of a value without a word, when it is hardly what was meant."""
    if kind == "INT" and isinstance(value, float) and converted != value:
        return f"is {value}, and ComfyUI cuts it to {converted}", converted
    if kind == "FLOAT" and isinstance(converted, float) and not math.isfinite(converted):
        return (f"is {converted}, which is not a finite number",)
    if kind == "BOOLEAN" and isinstance(value, str) and value.strip().lower() in _FALSE_TEXTS:
        return f"is the text {value!r}, which ComfyUI takes for true", False
    if kind == "STRING" and (value is None or isinstance(value, dict)):
        return f"is {kind_of(value)}, and ComfyUI makes the text {shown(converted)} of it", ""
    return None


def _limits(spec: InputSpec, value: Any) -> Iterator[tuple[Any, ...]]:
    """The first bound that a value is beyond, or can't be compared with."""
    for word, bound, beyond in (
        ("minimum", spec.options.get("min"), operator.lt),
        ("maximum", spec.options.get("max"), operator.gt),
    ):
        if bound is None:
            continue
        try:
            outside = beyond(value, bound)
        except TypeError:
            yield f"is {shown(value)}, which can't be compared with its {word} of {bound}", *_default(spec)
            return
        if outside:
            yield f"is {shown(value)}, and its {word} is {bound}", bound
            return


def _check_choice(spec: InputSpec, value: Any, nearest: Nearest, error: Report, warning: Report) -> Iterator[Problem]:
    choices = spec.choices or ()
    for each in value if spec.multiselect and isinstance(value, list) else [value]:
        if each in choices:
            continue
        own = spelled(spec, each)
        if own != each:
            yield warning(
                f"is {each!r}, which this server writes {own!r}; a plain ComfyUI takes no other spelling", own
            )
        elif not (spec.uploads and _may_be_elsewhere(each)):
            yield error(*_no_choice(spec, each, nearest))


def _may_be_elsewhere(value: Any) -> bool:
    """Whether it names a file that a server has without listing it: in a subfolder, or in another folder by a note."""
    return isinstance(value, str) and ("/" in plain_path(value) or value.endswith(("[input]", "[output]", "[temp]")))


def _no_choice(spec: InputSpec, value: Any, nearest: Nearest) -> tuple[Any, ...]:
    choices = spec.choices or ()
    if spec.uploads:
        near = nearest(value, choices) if isinstance(value, str) else ()
        return f"is {shown(value)}, and the server has no such file; upload it first{or_nearest(near)}", *near
    if not choices:
        return (f"is {shown(value)}, and the server has nothing to choose from there: a model is missing",)
    near = nearest(value, choices) if isinstance(value, str) else ()
    if near:
        return f"is {shown(value)}, which is none of its {len(choices)} choices{or_nearest(near)}", *near
    listed = ", ".join(repr(each) for each in choices[:MAX_LISTED])
    more = f" and {len(choices) - MAX_LISTED} more" if len(choices) > MAX_LISTED else ""
    return f"is {shown(value)}; its choices are {listed}{more}", *choices[:MAX_LISTED]


def _default(spec: InputSpec) -> tuple[Any, ...]:
    return (spec.default,) if spec.has_default else ()
