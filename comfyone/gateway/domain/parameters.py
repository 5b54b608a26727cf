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

SAMPLERS = {
    "euler a": "euler_ancestral",
    "euler": "euler",
    "lms": "lms",
    "heun": "heun",
    "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral",
    "dpm fast": "dpm_fast",
    "dpm adaptive": "dpm_adaptive",
    "dpm++ 2s a": "dpmpp_2s_ancestral",
    "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "lcm": "lcm",
    "unipc": "uni_pc",
}
"""Samplers as other user interfaces call them, and ComfyUI's words for them."""

SCHEDULERS = {"karras", "exponential"}
"""What may stand behind the sampler there, and is an input of its own in ComfyUI."""

_POSITIVE, _NEGATIVE = _SYNONYMS[:2]
_SAMPLER, _SEEDS = _SYNONYMS[3:5]

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
    for name, value in _translated(given, workflow.inputs).items():
        spec = _meant(workflow, graph, name)
        if spec.name in values.get(spec.id, {}):
            raise Fault("invalid_input", f"{spec.label} is given twice, the second time as '{name}'", field=name)
        values.setdefault(spec.id, {})[spec.name] = _seeded(spec, value, draw)
    return values


def _translated(given: Mapping[str, Any], specs: Sequence[InputSpec]) -> dict[str, Any]:
    """With samplers in ComfyUI's words: ``DPM++ 2M Karras`` is a sampler, and a scheduler where the workflow takes one."""
    translated: dict[str, Any] = {}
    for name, value in given.items():
        words = value.lower().split() if isinstance(value, str) and _plain(name) in _SAMPLER else []
        scheduler = words.pop() if words and words[-1] in SCHEDULERS else None
        sampler = SAMPLERS.get(" ".join(words))
        translated[name] = sampler or value
        if sampler and scheduler and "scheduler" not in given and any(spec.name == "scheduler" for spec in specs):
            translated["scheduler"] = scheduler
    return translated


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
    is_negative = plain in _NEGATIVE - _POSITIVE
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
