"""What a node class is: its inputs and outputs as ``/object_info`` tells them, and the function that computes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from comfyone.emulator.files import Files

Spec = tuple[Any, ...]
"""The type of an input, and its options if it has any. A callable type lists its choices from the folders."""

MAX_RESOLUTION = 16384
SAVING = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


class Run(Protocol):
    """What a node sees of the prompt it runs in."""

    files: Files
    node_id: str
    prompt: Mapping[str, Any]
    extra_pnginfo: Mapping[str, Any] | None
    step_time: float
    preview_prefix: str

    async def progress(self, value: int, maximum: int, preview: Callable[[], Image.Image] | None = None) -> None:
        """Tell how far it is, with a picture drawn only if somebody gets it."""

    async def pause(self, seconds: float) -> None:
        """Wait; ends with an error when the prompt is interrupted."""

    def say(self, text: str) -> None:
        """Show a line of text at the node."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A result with something to show: the ``ui`` part, and the values that go on."""

    ui: dict[str, Any]
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node class, as data."""

    name: str
    compute: Callable[..., Any]
    required: dict[str, Spec]
    outputs: tuple[str, ...]
    category: str
    display_name: str | None
    module: str = "nodes"
    optional: dict[str, Spec] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    is_output: bool = False
    modern: bool = False
    """Declared with the newer schema, whose description has three more fields."""
    fingerprint: Callable[[Files, Mapping[str, Any]], str] | None = None
    """A change of its answer makes an earlier result useless although the inputs are the same."""
    check: Callable[[Files, Any], bool | str] | None = None
    """Looks at the input named ``checked`` in place of the usual limits; a text says what is wrong."""
    checked: str = ""
    is_async: bool = False
    specs: dict[str, tuple[str, Spec]] = field(init=False)
    is_listing: bool = field(init=False)

    def __post_init__(self) -> None:
        groups = (("required", self.required), ("optional", self.optional))
        specs = {name: (group, spec) for group, specs in groups for name, spec in specs.items()}
        object.__setattr__(self, "specs", specs)
        object.__setattr__(self, "is_listing", any(callable(spec[0]) for _, spec in specs.values()))

    def inputs(self, files: Files) -> dict[str, tuple[str, Spec]]:
        """Each input's category (``required``, ``optional``) and its spec, choices listed."""
        if self.is_listing:
            return {name: (group, _listed(spec, files)) for name, (group, spec) in self.specs.items()}
        return self.specs

    def describe(self, files: Files) -> dict[str, Any]:
        """The entry in ``/object_info``."""
        groups = {"required": self.required, "optional": self.optional}
        told: dict[str, Any] = {
            group: {name: _listed(spec, files) for name, spec in specs.items()}
            for group, specs in groups.items()
            if specs
        }
        told |= {"hidden": self.hidden} if self.hidden else {}
        entry = {
            "input": told,
            "input_order": {group: list(specs) for group, specs in told.items()},
            "output": self.outputs,
            "output_is_list": [False] * len(self.outputs),
            "output_name": self.output_names or self.outputs,
            "name": self.name,
            "display_name": self.display_name,
            "description": "",
            "python_module": self.module,
            "category": self.category,
            "output_node": self.is_output,
        }
        return entry | ({"deprecated": False, "experimental": False, "api_node": False} if self.modern else {})


def _listed(spec: Spec, files: Files) -> Spec:
    return (spec[0](files), *spec[1:]) if callable(spec[0]) else spec


class Registry(dict[str, Node]):
    """Node classes by name."""

    def node(
        self,
        name: str,
        required: dict[str, Spec],
        outputs: Iterable[str] = (),
        *,
        category: str,
        display_name: str | None = "",
        **more: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function as a node class. It gets the ``Run`` and the inputs by name."""

        def register(compute: Callable[..., Any]) -> Callable[..., Any]:
            shown = name if display_name == "" else display_name
            waits = inspect.iscoroutinefunction(compute)
            self[name] = Node(name, compute, required, tuple(outputs), category, shown, is_async=waits, **more)
            return compute

        return register


def integer(default: int | None, least: int, most: int, step: int | None = 1, **more: Any) -> Spec:
    """An ``INT`` input; None leaves an option out."""
    options = {"default": default, "min": least, "max": most, "step": step}
    return ("INT", {name: value for name, value in options.items() if value is not None} | more)


def number(default: float | None, least: float, most: float, step: float | None = 0.01, **more: Any) -> Spec:
    """A ``FLOAT`` input; None leaves an option out."""
    options = {"default": default, "min": least, "max": most, "step": step}
    return ("FLOAT", {name: value for name, value in options.items() if value is not None} | more)


def choice(*options: str) -> Spec:
    """An input that is one of some words."""
    return (list(options),)


def combo(*options: str) -> Spec:
    """The same in the newer schema, where the server does not check the word."""
    return ("COMBO", {"multiselect": False, "options": list(options)})
