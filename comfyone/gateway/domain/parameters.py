"""Parameters as clients of many kinds name them, put where a stored workflow declares its inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.workflows import InputSpec, Values, Workflow, named_values
from comfyone.graph.document import Graph

__all__ = ["fitted_values"]

_SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset({"prompt", "positive_prompt", "positive", "text"}),
    frozenset({"negative_prompt", "negative", "text"}),
    frozenset({"cfg", "cfg_scale", "guidance", "guidance_scale"}),
    frozenset({"sampler", "sampler_name"}),
    frozenset({"seed", "noise_seed"}),
    frozenset({"steps", "num_inference_steps"}),
    frozenset({"denoise", "denoising_strength", "strength"}),
    frozenset({"batch_size", "num_images"}),
    frozenset({"model", "checkpoint", "ckpt_name"}),
    frozenset({"image", "input_image", "init_image"}),
)

_POSITIVE, _NEGATIVE = _SYNONYMS[:2]
_SEEDS = _SYNONYMS[4]

RANDOM = -1
"""The seed that means: any."""

MAX_SEED = 2**53 - 1
"""The largest that survives a client whose numbers are all floats."""


def fitted_values(workflow: Workflow, graph: Graph, given: Mapping[str, Any], draw: Callable[[int], int]) -> Values:
    """Values addressed by an input's name or title, or by a common word for it, put under their nodes.

    Where several texts are declared, the graph tells which is the prompt and which the negative one.

    Args:
        draw: A random number below another one, for seeds that are to be any.

    Raises:
        Fault: ``invalid_input`` for a name that no input, or more than one, has; or when two names mean the same input.
    """
    values: Values = {}
    for name, value in given.items():
        spec = _meant(workflow, graph, name)
        if spec.name in values.get(spec.id, {}):
            raise Fault("invalid_input", f"{spec.label} is given twice, the second time as '{name}'", field=name)
        values.setdefault(spec.id, {})[spec.name] = _seeded(spec, value, draw)
    return values


def _meant(workflow: Workflow, graph: Graph, name: str) -> InputSpec:
    """The input that a name means: the one that is called exactly so, else nearly so, else by a synonym."""
    specs, plain = workflow.inputs, _plain(name)
    if not any(name in (spec.name, spec.title) for spec in specs):
        near = [spec for spec in specs if plain in _words(spec)]
        alike = near or _synonymous(specs, graph, plain)
        if len(alike) > 1:
            hint = f"it can mean {' or '.join(spec.label for spec in alike)}; give the inputs titles"
            raise Fault("invalid_input", f"input '{name}' is ambiguous", field=name, hint=hint)
        if alike:
            return alike[0]
    ((node_id, params),) = named_values(workflow, {name: None}).items()
    return next(spec for spec in specs if spec.id == node_id and spec.name in params)


def _synonymous(specs: Sequence[InputSpec], graph: Graph, plain: str) -> list[InputSpec]:
    known = {word for group in _SYNONYMS if plain in group for word in group}
    alike = [spec for spec in specs if _words(spec) & known]
    return _by_role(alike, graph, plain) if plain in _POSITIVE | _NEGATIVE else alike


def _by_role(specs: Iterable[InputSpec], graph: Graph, plain: str) -> list[InputSpec]:
    """Those texts that are what the name says: by their own words, or by where the graph leads them."""
    is_negative = plain in _NEGATIVE
    against = _feeding(graph, "negative")
    fitting = [
        spec for spec in specs if is_negative == bool(spec.id in against or _words(spec) & (_NEGATIVE - _POSITIVE))
    ]
    return [spec for spec in fitting if _words(spec) & (_POSITIVE ^ _NEGATIVE)] or fitting


def _feeding(graph: Graph, role: str) -> set[str]:
    """The nodes whose output goes into inputs of that name, directly or through others, and into none of its opposite."""
    other = "positive" if role == "negative" else "negative"
    return _upstream(graph, role) - _upstream(graph, other)


def _upstream(graph: Graph, role: str) -> set[str]:
    found: set[str] = set()
    todo = [str(link[0]) for node in graph.values() if _is_link(link := node["inputs"].get(role))]
    while todo:
        node_id = todo.pop()
        if node_id in graph and node_id not in found:
            found.add(node_id)
            inputs = graph[node_id]["inputs"]
            roles = {"positive", "negative"} & inputs.keys()  # what hands both on is asked for this one alone
            todo += [str(inputs[name][0]) for name in ({role} & roles if roles else inputs) if _is_link(inputs[name])]
    return found


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _seeded(spec: InputSpec, value: Any, draw: Callable[[int], int]) -> Any:
    if value != RANDOM or isinstance(value, bool) or not _words(spec) & _SEEDS:
        return value
    least = int(max(spec.minimum or 0, 0))
    most = int(MAX_SEED if spec.maximum is None else min(spec.maximum, MAX_SEED))
    return least + draw(max(most - least, 0) + 1)


def _words(spec: InputSpec) -> set[str]:
    return {_plain(spec.name), _plain(spec.title or "")} - {""}


def _plain(text: str) -> str:
    """``Negative Prompt`` and ``negative-prompt`` are ``negative_prompt``."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
