"""What a backend can do: its node classes, and what their enumerated inputs may be, model files above all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyone.gateway.domain.files import parse_asset_path
from comfyone.gateway.domain.folders import Upload
from comfyone.gateway.domain.jobs import Needs
from comfyone.gateway.domain.node_info import ClassInfo
from comfyone.gateway.domain.strays import LOADERS, Loaders, loaders_with
from comfyone.graph.document import Graph
from comfyone.graph.spelling import nearest, shown

__all__ = ["MAX_NAMED", "Catalogue", "catalogue_of", "missing_text", "needs_of", "spelled"]

Input = tuple[str, str]
"""Node class, name of the input."""

MAX_NAMED = 5
"""Missing things that a message names, and backends that miss them; the rest is counted."""

MAX_SHOWN = 200
"""Characters of a name in a message."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """``choices``: for each enumerated input the values that it takes, ``/`` between folders, and how the server spells
    each. Equal choices of different inputs are one object."""

    classes: frozenset[str] = frozenset()
    choices: Mapping[Input, Mapping[str, str]] = field(default_factory=dict)
    uploads: Mapping[Input, Upload] = field(default_factory=dict)
    """The inputs whose choices are uploaded files."""

    loaders: Loaders = field(default_factory=lambda: LOADERS)
    """Those and all other inputs that name a file in the server's folders."""

    info: Mapping[str, ClassInfo] = field(default_factory=dict, compare=False, repr=False)
    """What the server says of each class, as it says it."""

    token: object = field(default_factory=object, compare=False, repr=False)
    """Tells this reading of a backend from every other."""

    def lacks(self, needs: Needs) -> list[str]:
        """What of it is missing here, in words; nothing when a backend with this catalogue is able."""
        classes = sorted(needs.classes - self.classes)
        missing = [self._class_text(name) for name in classes[:MAX_NAMED]]
        missing += [f"node class {shown(name)}" for name in classes[MAX_NAMED:]]  # which are only counted
        return missing + [
            f"{shown(value, MAX_SHOWN)} for {class_}.{name}"
            for class_, name, value in sorted(needs.choices)
            if class_ in self.classes and value not in self.choices.get((class_, name), {value: value})
        ]

    def has(self, needs: Needs) -> bool:
        return needs.classes <= self.classes and all(
            value in self.choices.get((class_, name), (value,)) for class_, name, value in needs.choices
        )

    def _class_text(self, name: str) -> str:
        near = nearest(name, self.classes)
        return f"node class {shown(name, MAX_SHOWN)}" + (f" (it has '{near[0]}')" if near else "")


def catalogue_of(object_info: Mapping[str, Any], written: Mapping[str, ClassInfo] | None = None) -> Catalogue:
    """Reads the answer to ``GET /object_info``, in both forms in which it writes enumerations; ``written`` is the same as it
    came."""
    choices: dict[Input, Mapping[str, str]] = {}
    uploads: dict[Input, Upload] = {}
    files: list[Input] = []
    known: dict[tuple[str, ...], Mapping[str, str]] = {}
    for class_, info in object_info.items():
        for name, values, options in _enumerations(info):
            upload = Upload.of(options)
            if upload or options.get("remote"):  # files that come and go; we place what a job needs there ourselves
                if upload:
                    uploads[class_, name] = upload
                if upload or _lists_files(options):
                    files.append((class_, name))
                continue
            own = tuple(value for value in values if isinstance(value, str))
            if own and len(own) == len(values):
                choices[class_, name] = known.setdefault(own, {_plain(value): value for value in own})
    return Catalogue(frozenset(object_info), choices, uploads, loaders_with(files), written or {})


def _lists_files(options: Mapping[str, Any]) -> bool:
    """Whether the editor asks the server for the names of files there."""
    remote = options.get("remote")
    return isinstance(remote, dict) and "/files/" in str(remote.get("route"))


def _enumerations(info: Any) -> Iterator[tuple[str, list[Any], Mapping[str, Any]]]:
    inputs = info.get("input") if isinstance(info, dict) else None
    for group in inputs.values() if isinstance(inputs, dict) else ():
        for name, spec in group.items() if isinstance(group, dict) else ():
            if not isinstance(spec, list) or not spec:
                continue
            options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            listed = (
                options.get("options") or [] if spec[0] == "COMBO" else None
            )  # what the editor asks for has no list
            values = spec[0] if isinstance(spec[0], list) else listed
            if isinstance(values, list):
                yield name, values, options


def needs_of(graph: Graph, values: Mapping[str, Mapping[str, Any]], catalogues: Iterable[Catalogue]) -> Needs:
    """What a graph with these values asks of a backend. An input counts as enumerated if any of the catalogues says so."""
    enumerated = [catalogue.choices for catalogue in catalogues]
    choices = set()
    for node_id, node in graph.items():
        class_ = node["class_type"]
        for name, value in {**node["inputs"], **values.get(node_id, {})}.items():
            if (
                isinstance(value, str)
                and any((class_, name) in known for known in enumerated)
                and parse_asset_path(value) is None
            ):
                choices.add((class_, name, _plain(value)))
    return Needs(frozenset(node["class_type"] for node in graph.values()), frozenset(choices))


def spelled(graph: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """The graph with enumerated values as the server of this catalogue writes them: its own separators in paths."""

    def own(class_: str, name: str, value: Any) -> Any:
        known = catalogue.choices.get((class_, name)) if isinstance(value, str) else None
        return known.get(_plain(value), value) if known else value

    return {
        node_id: {
            **node,
            "inputs": {name: own(node["class_type"], name, value) for name, value in node["inputs"].items()},
        }
        for node_id, node in graph.items()
    }


def missing_text(lacking: Mapping[str, list[str]], others: int = 0) -> str:
    """What is missing where, of each backend by name."""
    texts = [
        f"'{backend}' lacks {', '.join(missing[:MAX_NAMED])}"
        + (f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else "")
        for backend, missing in lacking.items()
    ]
    return "; ".join(texts) + (f"; and {others} more backends" if others else "")


def _plain(value: str) -> str:
    return value.replace("\\", "/")
