"""The bodies that administration takes. A field that it doesn't know is refused: a misspelt limit would be none."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from comfyone.gateway.domain.backends import BackendState

__all__ = ["NewKey", "NewSharedBackend", "NewTenant", "SharedBackendChange", "TenantChange", "policy_of"]

Weight = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Labels = dict[str, str]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class TenantChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of `TenantPolicy`. What is absent stays; null puts a field back to its default."""

    weight: float | UnsetType | None = UNSET
    max_queued: int | UnsetType | None = UNSET
    max_running: int | UnsetType | None = UNSET
    max_per_minute: int | UnsetType | None = UNSET
    max_bytes: int | UnsetType | None = UNSET
    max_backend_seconds: float | UnsetType | None = UNSET
    withheld: list[str] | UnsetType | None = UNSET
    allowed_classes: list[str] | UnsetType | None = UNSET
    denied_classes: list[str] | UnsetType | None = UNSET


class NewTenant(TenantChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``workflows``: the only ones, by name, that the key may run. ``expires``: RFC 3339."""

    name: str = ""
    scopes: list[str] | None = None
    workflows: list[str] | None = None
    expires: Moment | None = None


class NewSharedBackend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    url: str
    weight: Weight = 1
    labels: Labels = {}
    state: BackendState = BackendState.UP


class SharedBackendChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: BackendState | None = None
    weight: Weight | None = None
    labels: Labels | None = None


def policy_of(body: TenantChange) -> dict[str, Any]:
    """What a body says of a policy."""
    values = {name: getattr(body, name) for name in TenantChange.__struct_fields__}
    return {name: value for name, value in values.items() if value is not UNSET}
