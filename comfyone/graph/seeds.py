"""The seeds of a graph: which inputs they are, and new ones for them. What was chosen is always told."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfyone.errors import ValidationError
from comfyone.graph.catalog import Catalog, InputSpec, read_catalog
from comfyone.graph.document import Graph, is_link, kind_of
from comfyone.graph.edit import copy_graph, node_of
from comfyone.graph.spelling import nearest, or_nearest, shown
from comfyone.graph.structure import label, require_graph

__all__ = [
    "RANDOM",
    "SEED_NAMES",
    "SeedError",
    "SeedInput",
    "Seeded",
    "Seeds",
    "fill_random",
    "find_seeds",
    "randomize",
    "set_seeds",
]

RANDOM = -1
"""Written in place of a seed: choose one."""
SEED_NAMES = frozenset({"seed", "noise_seed"})

Seeds = Mapping[str, Mapping[str, int]]
"""Node id → input name → seed."""

_ANYWHERE = 2**32 - 1  # every generator takes it
_EDITOR = 2**50  # the highest that ComfyUI's editor chooses


class SeedError(ValidationError, ValueError):
    """What was given is no seed, or no seed of this graph."""


@dataclass(frozen=True, slots=True)
class SeedInput:
    """An input that is a seed, with its value now and the seeds that may be chosen for it."""

    node_id: str
    name: str
    value: int
    minimum: int = 0
    maximum: int = _ANYWHERE


@dataclass(frozen=True, slots=True)
class Seeded:
    """A new graph, and all seeds that it has now: given to `set_seeds`, they make the same graph again."""

    graph: dict[str, Any]
    seeds: dict[str, dict[str, int]]


def find_seeds(graph: Graph, object_info: Mapping[str, Any] | Catalog | None = None) -> list[SeedInput]:
    """The inputs of a graph that are seeds and have a value, in the graph's order.

    They are those named ``seed`` or ``noise_seed``; primitive numbers that such an input is linked to; and, with
    ``object_info``, whole numbers that the editor can change after each run.

    Raises:
        GraphError: It is no graph in API format.
        CatalogError: ``object_info`` is not the answer to ``GET /object_info``.
    """
    require_graph(graph)
    catalog = read_catalog(object_info or {})
    feeding = _feeding(graph)
    found = []
    for node_id, node in graph.items():
        node_class = catalog.get(node["class_type"])
        for name, value in node["inputs"].items():
            spec = node_class.input(name) if node_class else None
            by_name = name in SEED_NAMES or (node_id, name) in feeding
            if (by_name or _controlled(spec)) and _is_whole(value):
                found.append(_seed_input(node_id, name, int(value), spec))
    return found


def _feeding(graph: Graph) -> set[tuple[str, str]]:
    """The values of primitive nodes that seeds are linked to."""
    sources = {
        value[0]
        for node in graph.values()
        for name, value in node["inputs"].items()
        if name in SEED_NAMES and is_link(value)
    }
    return {
        (node_id, "value")
        for node_id in sources
        if node_id in graph and graph[node_id]["class_type"].startswith("Primitive")
    }


def _controlled(spec: InputSpec | None) -> bool:
    return spec is not None and spec.type == "INT" and spec.control_after_generate


def _is_whole(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _seed_input(node_id: str, name: str, value: int, spec: InputSpec | None) -> SeedInput:
    if spec is None:
        return SeedInput(node_id, name, value)
    low = spec.minimum if spec.minimum is not None else 0
    high = spec.maximum if spec.maximum is not None else _ANYWHERE
    low, high = max(0, int(low)), min(_EDITOR, int(high))
    return SeedInput(node_id, name, value, low, max(low, high))


def randomize(
    graph: Graph, rng: random.Random | None = None, object_info: Mapping[str, Any] | Catalog | None = None
) -> Seeded:
    """The graph with a new seed for each of its seeds.

    Args:
        rng: Where chance comes from; give ``random.Random(7)`` for the same choice every time.

    Raises:
        GraphError: It is no graph in API format.
        CatalogError: ``object_info`` is not the answer to ``GET /object_info``.
    """
    rng = rng or random.SystemRandom()
    return _seeded(
        graph, {found: rng.randint(found.minimum, found.maximum) for found in find_seeds(graph, object_info)}
    )


def fill_random(
    graph: Graph, rng: random.Random | None = None, object_info: Mapping[str, Any] | Catalog | None = None
) -> Seeded:
    """The graph with a new seed in place of each that is -1; the others stay, and are told as well.

    Raises:
        GraphError: It is no graph in API format.
        CatalogError: ``object_info`` is not the answer to ``GET /object_info``.
    """
    return set_seeds(graph, {}, rng, object_info)


def set_seeds(
    graph: Graph,
    seeds: int | Seeds,
    rng: random.Random | None = None,
    object_info: Mapping[str, Any] | Catalog | None = None,
) -> Seeded:
    """The graph with given seeds: one number for all of them, or a number for each; -1 has one chosen.

    Args:
        seeds: A number, or what an earlier `Seeded` recorded. Seeds that a record doesn't name stay as they are.

    Raises:
        SeedError: A seed is no whole number, or below -1; or a record has another form, or names an input that is not
            there.
        NodeNotFoundError: A record names a node that the graph lacks.
        GraphError: It is no graph in API format.
        CatalogError: ``object_info`` is not the answer to ``GET /object_info``.
    """
    rng = rng or random.SystemRandom()
    inputs = {(found.node_id, found.name): found for found in find_seeds(graph, object_info)}
    if isinstance(seeds, Mapping):
        wanted = _by_input(graph, seeds, read_catalog(object_info or {}))
    else:
        _check(seeds, "the seed")
        wanted = dict.fromkeys(inputs, seeds)
    chosen = {}
    for key in [*inputs, *(key for key in wanted if key not in inputs)]:
        found = inputs.get(key) or SeedInput(*key, value=RANDOM)
        seed = wanted.get(key, found.value)
        chosen[found] = rng.randint(found.minimum, found.maximum) if seed == RANDOM else seed
    return _seeded(graph, chosen)


def _by_input(graph: Graph, seeds: Seeds, catalog: Catalog) -> dict[tuple[str, str], int]:
    for node_id, named in seeds.items():
        node = node_of(graph, node_id)
        if not isinstance(named, Mapping):
            raise SeedError(
                f"the seeds of node '{node_id}' are {kind_of(named)}",
                {"node_id": node_id},
                hint=f'write {{"{node_id}": {{"seed": 7}}}}: node id → input → seed',
            )
        node_class = catalog.get(node["class_type"])
        known = dict.fromkeys([*node["inputs"], *(node_class.inputs if node_class else ())])
        for name, seed in named.items():
            if name not in known:
                raise SeedError(
                    f"{label(graph, node_id, name)} is not there{or_nearest(nearest(str(name), known))}",
                    {"node_id": node_id, "input_name": name},
                )
            _check(seed, f"the seed for input '{name}' of node '{node_id}'")
    return {(node_id, name): seed for node_id, named in seeds.items() for name, seed in named.items()}


def _check(seed: Any, what: str) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < RANDOM:
        raise SeedError(f"{what} is {shown(seed)}", hint="give a whole number from 0, or -1 to have one chosen")


def _seeded(graph: Graph, chosen: Mapping[SeedInput, int]) -> Seeded:
    changed = copy_graph(graph)
    seeds: dict[str, dict[str, int]] = {}
    for found, seed in chosen.items():
        changed[found.node_id]["inputs"][found.name] = seed
        seeds.setdefault(found.node_id, {})[found.name] = seed
    return Seeded(changed, seeds)
