"""One workflow, many values: each combination of parameters becomes a job that is named after them. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count, product
from typing import Any, TypeAlias

from comfyone.errors import ValidationError

__all__ = ["Grid", "Planned", "Source", "sweep"]

Source: TypeAlias = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]
"""A workflow in API format, or what makes one from values by name: a template."""

Grid: TypeAlias = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]
"""Parameter to its values; or one mapping of parameter to value for each job."""

MODES = ("product", "zip")
_LONGEST_WORD = 28
_LONGEST_ID = 110  # leaves room for what a file's name needs besides


@dataclass(frozen=True, slots=True)
class Planned:
    """A job as it is to be added.

    Args:
        job_id: A name that is safe as a file's name.
        metadata: Holds ``parameters`` where it comes from a sweep.
    """

    job_id: str
    workflow: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def sweep(workflow: Source, grid: Grid, *, mode: str = "product", prefix: str = "") -> list[Planned]:
    """Plan a job for each combination of parameters.

        sweep(workflow, {"3.seed": [1, 2, 3], "6.text": ["an owl", "a fox"]})

    plans six jobs, ``seed=1_text=an-owl`` and so on. A name depends on the job's own values alone, so a grid can grow, and
    what is done stays done.

    Args:
        workflow: A graph, whose parameters are ``node.input``; or a function from values by name to a graph, such as
            ``partial(manager.instantiate_template, "portrait")``.
        grid: Parameter to its values, or one mapping of values for each job.
        mode: With a mapping: ``product`` for every combination, ``zip`` for the first values, the second, and so on.
        prefix: Put before every name.

    Raises:
        ValidationError: A parameter names no input, has no values, or changes nothing; lists to be zipped differ in length.
    """
    rows = list(_rows(grid, mode))
    make = workflow if callable(workflow) else _setter(workflow, rows)
    graphs = [make(dict(row)) for row in rows]
    _check_effect(rows, graphs)
    names = _names(rows, prefix)
    return [
        Planned(name, graph, {"parameters": dict(row)}) for name, graph, row in zip(names, graphs, rows, strict=True)
    ]


def _rows(grid: Grid, mode: str) -> Iterator[Mapping[str, Any]]:
    if not isinstance(grid, Mapping):
        yield from grid
        return
    if mode not in MODES:
        raise ValidationError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    columns = {name: _values(name, values) for name, values in grid.items()}
    if mode == "zip" and len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"'{name}' has {len(values)}" for name, values in columns.items())
        raise ValidationError(f"values to be zipped are equally many, but {lengths}")
    combined = zip(*columns.values(), strict=True) if mode == "zip" else product(*columns.values())
    for values in combined:
        yield dict(zip(columns, values, strict=True))


def _values(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValidationError(
            f"parameter '{name}' needs a list of values, not {values!r:.80}", hint=f"[{values!r:.40}]"
        )
    found = list(values)
    if not found:
        raise ValidationError(f"parameter '{name}' has no values")
    return found


def _setter(graph: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    places = {name: _place(graph, name) for row in rows for name in row}

    def with_row(row: dict[str, Any]) -> dict[str, Any]:
        changed = deepcopy(dict(graph))
        for name, value in row.items():
            node_id, input_name = places[name]
            changed[node_id]["inputs"][input_name] = deepcopy(value)
        return changed

    return with_row


def _place(graph: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Node and input of a parameter. An input's name may hold dots; a node's id rarely does."""
    dots = [index for index, letter in enumerate(name) if letter == "."]
    found = next(((name[:dot], name[dot + 1 :]) for dot in dots if name[:dot] in graph), None)
    if found is None:
        known = [f"{node_id}.{each}" for node_id in graph for each in _inputs(graph, node_id)]
        raise ValidationError(f"parameter '{name}' names no node of the workflow", hint=_near(name, known))
    inputs = _inputs(graph, found[0])
    if found[1] not in inputs:
        near = _near(name, [f"{found[0]}.{each}" for each in inputs])
        raise ValidationError(f"node '{found[0]}' has no input '{found[1]}'", hint=near)
    return found


def _inputs(graph: Mapping[str, Any], node_id: str) -> Mapping[str, Any]:
    node = graph[node_id]
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=3) or known[:6]
    return f"a parameter is NODE.INPUT, such as {', '.join(near)}" if near else "a parameter is NODE.INPUT"


def _check_effect(rows: Sequence[Mapping[str, Any]], graphs: Sequence[Mapping[str, Any]]) -> None:
    """Two jobs that differ in their values but not in their graphs are a mistake: a template ignores what it doesn't know."""
    first: dict[str, Mapping[str, Any]] = {}
    for row, graph in zip(rows, graphs, strict=True):
        earlier = first.setdefault(_digest(graph), row)
        if earlier != row:
            idle = sorted(name for name in row if earlier.get(name) != row[name])
            raise ValidationError(f"{' and '.join(map(repr, idle))} changes nothing in the workflow")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _names(rows: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    ends = Counter(name.rpartition(".")[2] for name in {name: None for row in rows for name in row})
    taken: set[str] = set()
    names = []
    for row in rows:
        words = (f"{_word(_short(name, ends))}={_word(value)}" for name, value in row.items())
        names.append(_free(_fitting(prefix + ("_".join(words) or "job"), row), taken))
    return names


def _short(name: str, ends: Mapping[str, int]) -> str:
    """The input's name, where no two nodes have one of that name."""
    end = name.rpartition(".")[2]
    return name if ends[end] > 1 else end


def _fitting(name: str, row: Mapping[str, Any]) -> str:
    encoded = name.encode(errors="replace")
    if len(encoded) <= _LONGEST_ID:
        return name
    return f"{encoded[: _LONGEST_ID - 9].decode(errors='ignore')}~{_digest(row)[:8]}"


def _free(name: str, taken: set[str]) -> str:
    """The name, or one like it; names that differ in case only would be one file on some systems."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in count(1))
    free = next(each for each in numbered if each.casefold() not in taken)
    taken.add(free.casefold())
    return free


def _word(value: Any) -> str:
    """A value as part of a name: all of it where it is short and plain, else its beginning and a few digits of its hash."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    plain = re.sub(r"[^\w.+-]+", "-", text).strip("-.")
    spaced = plain.replace("-", " ") == text or plain == text
    if spaced and len(plain) <= _LONGEST_WORD:
        return plain
    return f"{plain[: _LONGEST_WORD - 7].strip('-.')}~{_digest(value)[:6]}"
