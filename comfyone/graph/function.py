"""Declared inputs as the source of a typed Python function that runs the workflow through `ComfyOne`."""

from __future__ import annotations

import keyword
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping

from comfyone.graph.declared import DeclaredInput
from comfyone.graph.schema import named

__all__ = ["function_source"]

MAX_LITERALS = 64
"""Choices that a type lists; with more of them it is that of any choice."""

_TAKEN = frozenset(
    {"client", "Any", "AsyncComfyOne", "BinaryIO", "ComfyOne", "Literal", "PathLike", "Result", "AsyncResult"}
)
_TAKEN |= {"_inputs", "__debug__", "annotations"}
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_IMAGE = "str | PathLike[str] | bytes | BinaryIO"

_BLOCKING = ("ComfyOne", "Result", "", "")
_ASYNC = ("AsyncComfyOne", "AsyncResult", "async ", "await ")
_HELPER = '''
def _inputs(given: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What is given, by node; None stands for what is not."""
    kept = {node: {name: value for name, value in held.items() if value is not None} for node, held in given.items()}
    return [{"id": node, "params": held} for node, held in kept.items() if held]
'''


def function_source(
    name: str,
    inputs: Iterable[DeclaredInput],
    *,
    workflow: str | None = None,
    description: str | None = None,
    asynchronous: bool = False,
) -> str:
    """The source of a module with one function, which takes the inputs by keyword and gives the job's result.

    Args:
        name: What the function is called, once it is made a name of Python.
        workflow: The workflow's id or name, where it isn't ``name``.
        description: What the workflow does, for the docstring.
        asynchronous: Whether it is ``async`` and takes an `AsyncComfyOne`.
    """
    parameters = _parameters(inputs)
    function = _identifier(name, "workflow", _TAKEN)
    client, result, start, wait = _ASYNC if asynchronous else _BLOCKING
    takes = [f"client: {client}", *(["*"] if parameters else [])]
    takes += [f"{each}: {_annotation(declared)}{_default(declared)}" for each, declared in parameters.items()]
    lines = [
        f"{start}def {function}(",
        *(f"    {each}," for each in takes),
        f") -> {result}:",
        _docstring(description or f"Run the workflow {name!r}.", parameters),
        f"    return {wait}client.run({workflow or name!r}, inputs=_inputs({_given(parameters)}))",
    ]
    body = "\n".join(lines) + "\n"
    return f"{_head(body, function, asynchronous)}{_HELPER}\n\n{body}"


def _head(body: str, function: str, asynchronous: bool) -> str:
    used = [each for each in ("Any", "BinaryIO", "Literal") if each == "Any" or each in body]
    own = "from comfyone import AsyncComfyOne, AsyncResult" if asynchronous else "from comfyone import ComfyOne, Result"
    lines = [
        '"""Made by comfyone from the inputs that a workflow declares; make it anew when they change."""',
        "",
        "from __future__ import annotations",
        "",
        *(["from os import PathLike"] if "PathLike[" in body else []),
        f"from typing import {', '.join(used)}",
        "",
        own,
        "",
        f"__all__ = [{function!r}]",
        "",
    ]
    return "\n".join(lines) + "\n"


def _parameters(inputs: Iterable[DeclaredInput]) -> dict[str, DeclaredInput]:
    """The inputs by the names of the function's parameters; those that must be given come first."""
    found: dict[str, DeclaredInput] = {}
    for name, declared in sorted(named(inputs).items(), key=lambda pair: not pair[1].required):
        found[_identifier(name, "value", _TAKEN | found.keys())] = declared
    return found


def _identifier(text: str, fallback: str, taken: Iterable[str]) -> str:
    """A name of Python that is most like a text."""
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", text)).strip("_") or fallback
    name = unicodedata.normalize("NFKC", name if name.isidentifier() else f"{fallback}_{name}")
    if not name.isidentifier():  # letters that count as such, and yet begin or make no name
        name = re.sub(r"[^0-9A-Za-z_]+", "_", name)
    taken = frozenset(taken)
    while keyword.iskeyword(name) or name in taken:
        name += "_"
    return name


def _annotation(declared: DeclaredInput) -> str:
    text = _IMAGE if declared.kind == "image" else _TYPES[declared.kind]
    choices = declared.choices or ()
    if 0 < len(choices) <= MAX_LITERALS and all(type(each) in (str, int, bool) for each in choices):
        text = f"Literal[{', '.join(map(repr, choices))}]"
    return text if declared.required or declared.default is not None else f"{text} | None"


def _default(declared: DeclaredInput) -> str:
    return "" if declared.required else f" = {declared.default!r}"


def _given(parameters: Mapping[str, DeclaredInput]) -> str:
    """The values by node, as the source of a dictionary."""
    by_node: dict[str, list[str]] = {}
    for name, declared in parameters.items():
        by_node.setdefault(declared.node_id, []).append(f"{declared.name!r}: {name}")
    return "{" + ", ".join(f"{node!r}: {{{', '.join(held)}}}" for node, held in by_node.items()) + "}"


def _docstring(description: str, parameters: Mapping[str, DeclaredInput]) -> str:
    lines = [_plain(description)]
    if parameters:
        lines += ["", "Args:"]
        lines += [f"    {name}: {_told(declared)}" for name, declared in parameters.items()]
    return textwrap.indent('"""' + "\n".join(lines) + ('\n"""' if len(lines) > 1 else '"""'), "    ")


def _told(declared: DeclaredInput) -> str:
    text = declared.description or declared.title or f"{declared.name} of node {declared.node_id}"
    bounds = [
        f"{word} {bound}" for word, bound in (("from", declared.minimum), ("to", declared.maximum)) if bound is not None
    ]
    return _plain(text) + (f" ({' '.join(bounds)})" if bounds else "")


def _plain(text: str) -> str:
    """A text on one line that ends no docstring and means nothing special in one."""
    one_line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return one_line.replace("\\", "\\\\").replace('"', "'")
