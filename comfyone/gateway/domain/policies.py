"""Policies of tenants: how they are changed, and which node classes they grant."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.tenants import Scope, TenantPolicy
from comfyone.graph.document import Graph

__all__ = ["WITHHOLDABLE", "changed_policy", "check_granted", "is_granted"]

WITHHOLDABLE = frozenset({Scope.GRAPHS, Scope.WORKFLOWS})
"""Scopes that a tenant can do without and still be one."""

MAX_CLASSES = 10_000
MAX_CLASS_NAME = 500
MAX_NUMBER = 2**53
"""The largest whole number that every reader of JSON takes as it is."""

_COUNTS = ("max_queued", "max_running", "max_per_minute", "max_bytes")
_MEASURES = ("weight", "max_backend_seconds")
_CLASSES = ("allowed_classes", "denied_classes")
_DEFAULT = TenantPolicy()


def changed_policy(policy: TenantPolicy, changes: Mapping[str, Any]) -> TenantPolicy:
    """The policy with fields set, or put back to their defaults by None.

    Args:
        changes: Field of `TenantPolicy` → value; sets may come as any collection of texts.

    Raises:
        Fault: ``invalid_body`` naming the field whose value it can't have.
    """
    return replace(policy, **{name: _checked(name, value) for name, value in changes.items()})


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return getattr(_DEFAULT, name)
    if name in _COUNTS or name in _MEASURES:
        return _check_number(name, value)
    return _check_classes(name, value) if name in _CLASSES else _check_withheld(value)


def _check_number(name: str, value: Any) -> Any:
    wanted = "a whole number" if name in _COUNTS else "a number"
    fits = isinstance(value, int) or (name in _MEASURES and isinstance(value, float) and math.isfinite(value))
    if not fits or isinstance(value, bool) or not 0 < value <= MAX_NUMBER:
        raise Fault("invalid_body", f"{name} is {value}", field=name, hint=f"give {wanted} above 0")
    return value


def _check_classes(name: str, value: Collection[str]) -> frozenset[str]:
    if len(value) > MAX_CLASSES:
        raise Fault("invalid_body", f"{name} has more than {MAX_CLASSES:,} classes", field=name)
    for entry in value:
        if not 0 < len(entry) <= MAX_CLASS_NAME:
            raise Fault("invalid_body", f"{name}: {entry[:40]!r} is no node class", field=name)
    return frozenset(value)


def _check_withheld(names: Collection[str]) -> frozenset[Scope]:
    known = sorted(WITHHOLDABLE)
    for name in names:
        if name not in known:
            raise Fault(
                "invalid_body",
                f"the scope '{name[:40]}' cannot be withheld",
                field="withheld",
                hint=f"choose among {', '.join(known)}",
            )
    return frozenset(Scope(name) for name in names)


def is_granted(policy: TenantPolicy, name: str) -> bool:
    """Whether a tenant may use a node class."""
    return name not in policy.denied_classes and (policy.allowed_classes is None or name in policy.allowed_classes)


def check_granted(policy: TenantPolicy, graph: Graph) -> None:
    """Raises:
    Fault: ``class_forbidden`` naming the first node whose class the policy does not grant.
    """
    if policy.allowed_classes is None and not policy.denied_classes:
        return
    for node_id, node in graph.items():
        name = node["class_type"]
        if not is_granted(policy, name):
            raise Fault(
                "class_forbidden",
                f"node '{node_id}' is of class '{name}', which this tenant may not use",
                field="workflow",
            )
