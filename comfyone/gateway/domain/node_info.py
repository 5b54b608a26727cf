"""What several servers say of their node classes, as one would say it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfyone.gateway.domain.folders import Upload

__all__ = ["ClassInfo", "united", "variants", "with_files"]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class ClassInfo:
    """What a server says of one node class, as JSON. What several servers say in the same words is one object."""

    raw: bytes


def variants(infos: Iterable[Mapping[str, ClassInfo]]) -> dict[str, list[ClassInfo]]:
    """Everything that is said of each class, the same once, in the order of the servers."""
    found: dict[str, list[ClassInfo]] = {}
    for info in infos:
        for name, said in info.items():
            known = found.setdefault(name, [])
            if not any(said is one for one in known):
                known.append(said)
    return found


def united(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A class as the first server describes it; where it lists choices, the others' are among them too."""
    first, *others = said

    def unite(group: str, name: str, spec: Any) -> Any:
        lists = [_choices(_spec(one, group, name)) for one in others]
        more = [value for values in lists for value in values or ()]
        known = _choices(spec)
        if known is None or not more:
            return spec
        return _with_choices(spec, list(dict.fromkeys(map(_hashable, [*known, *more]))))

    return _mapped(first, unite)


def with_files(
    info: dict[str, Any], uploads: Mapping[str, Upload], files: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The class with a tenant's own files as the choices of its uploads.

    Args:
        uploads: Those of its inputs that are uploads.
        files: By folder, the names in it.
    """

    def own(group: str, name: str, spec: Any) -> Any:
        upload = uploads.get(name)
        if upload is None or _choices(spec) is None:
            return spec
        return _with_choices(spec, [file for file in files.get(upload.folder, ()) if upload.lists(file)])

    return _mapped(info, own)


def _mapped(info: dict[str, Any], change: Callable[[str, str, Any], Any]) -> dict[str, Any]:
    inputs = info.get("input")
    if not isinstance(inputs, dict):
        return info
    changed = {
        group: {name: change(group, name, spec) for name, spec in specs.items()} if isinstance(specs, dict) else specs
        for group, specs in inputs.items()
    }
    return {**info, "input": changed}


def _spec(info: Mapping[str, Any], group: str, name: str) -> Any:
    inputs = info.get("input")
    specs = inputs.get(group) if isinstance(inputs, dict) else None
    return specs.get(name) if isinstance(specs, dict) else None


def _choices(spec: Any) -> list[Any] | None:
    """The values of an enumeration, in either form in which a server writes one."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    listed = options.get("options") if spec[0] == "COMBO" else None
    return listed if isinstance(listed, list) else None


def _with_choices(spec: list[Any], values: list[Any]) -> list[Any]:
    if isinstance(spec[0], list):
        return [values, *spec[1:]]
    return [spec[0], {**spec[1], "options": values}, *spec[2:]]


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
