"""Apps: backends that serve one purpose, under a label of theirs; and how one is chosen among those of an app."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import Backend, BackendState

__all__ = ["APP", "RESERVED", "AppPolicy", "Selection", "app_of", "check_app_id", "select"]

APP = "app"
"""The label of a backend that names its app. A job that asks for this label goes to backends of the app alone."""

RESERVED = frozenset(
    {
        "all",
        "backends",
        "files",
        "policies",
        "pool",
        "prompts",
        "prompts_workflow",
        "usage",
        "webhooks",
        "workflows",
        "ws",
    }
)
"""Words that mean something else where the id of an app stands in a path."""

_APP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Selection(StrEnum):
    """How backends of an app are chosen for whoever asks for some."""

    ROUND_ROBIN = "round_robin"  # so many in turn, the next time those after them
    WEIGHTED = "weighted"  # the heaviest first
    ALL_ACTIVE = "all_active"  # in the order of registration
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class AppPolicy:
    """``limit``: how many are chosen at most; None: all."""

    policy_type: Selection = Selection.ROUND_ROBIN
    limit: int | None = 1


def check_app_id(text: str, field: str = "app_id") -> str:
    """Raises:
    Fault: ``invalid_body`` for what can't stand in a path, or means something else there.
    """
    if text in RESERVED or not _APP_ID.fullmatch(text):
        hint = "1 to 63 letters, digits, '.', '_' and '-', and no word of this interface"
        raise Fault("invalid_body", f"{field}: '{text[:40]}' can't be the id of an app", field=field, hint=hint)
    return text


def app_of(backend: Backend) -> str | None:
    return backend.labels.get(APP)


def select(
    backends: Sequence[Backend], policy: AppPolicy, turn: int, shuffle: Callable[[list[Backend]], None]
) -> list[Backend]:
    """Those of an app's backends that its policy chooses among the ones that are up. Whether they answer is not asked.

    Args:
        turn: How many were chosen so far, for those that take turns.
    """
    active = [backend for backend in backends if backend.state is BackendState.UP]
    most = len(active) if policy.limit is None else min(policy.limit, len(active))
    match policy.policy_type:
        case Selection.ROUND_ROBIN if active:
            active = active[(first := turn % len(active)) :] + active[:first]
        case Selection.WEIGHTED:
            active.sort(key=lambda backend: -backend.weight)
        case Selection.RANDOM:
            shuffle(active)
    return active[:most]
