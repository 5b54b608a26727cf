"""Backends: the ComfyUI servers that jobs run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from comfyone.errors import Fault

__all__ = [
    "SHARED_POOL",
    "Backend",
    "BackendState",
    "Condition",
    "ConditionChange",
    "Health",
    "clean_url",
    "find_backend",
    "is_url",
    "name_of_url",
]


class BackendState(StrEnum):
    """What its owner wants of a backend; whether it answers is its `Health`."""

    UP = "up"
    DRAINING = "draining"  # finishes what it has, takes no more
    DOWN = "down"

    @classmethod
    def _missing_(cls, value: object) -> BackendState | None:
        return cls.UP if value == "active" else None  # a registry's word for it, taken everywhere


@dataclass(frozen=True, slots=True)
class Backend:
    """One ComfyUI server of one tenant. ``url`` is empty where the reader is not to know it."""

    id: str
    tenant_id: str
    name: str
    instance_id: str
    url: str
    state: BackendState
    weight: int
    labels: Mapping[str, str]
    shared: bool
    created_at: float

    @property
    def pool(self) -> str:
        """The id of the pool it is in: its tenant's own, or the one that all share."""
        return SHARED_POOL if self.shared else self.tenant_id


SHARED_POOL = "shared"


class Condition(StrEnum):
    """How a backend is, as we see it."""

    LIVE = "live"
    UNREACHABLE = "unreachable"  # no socket
    QUARANTINED = "quarantined"  # it answers, but failed calls or lost jobs lately, and gets none until a probe is good


@dataclass(frozen=True, slots=True)
class Health:
    """What we saw of a backend last. ``load`` counts our jobs on it; the times are those of the connection, of the last job
    that it was given, and of when we last found out how it is: None where that never was."""

    condition: Condition
    reason: str | None = None
    load: int = 0
    connected_at: float | None = None
    given_at: float | None = None
    checked_at: float | None = None

    @property
    def live(self) -> bool:
        return self.condition is not Condition.UNREACHABLE


@dataclass(frozen=True, slots=True)
class ConditionChange:
    """What became of a backend, when and why."""

    at: float
    condition: str
    reason: str | None


def find_backend(backends: Sequence[Backend], key: str) -> Backend:
    """The backend that a caller names: by name, ``instance_id`` or url, in that order.

    Raises:
        Fault: ``not_found``.
    """
    for attribute in ("name", "instance_id", "url"):
        for backend in backends:
            if key and getattr(backend, attribute) == key:
                return backend
    raise Fault("not_found", f"no backend '{key}'", field="backend")


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def clean_url(url: str) -> str:
    """The address of a server without a trailing slash.

    Raises:
        Fault: ``invalid_body`` when it is no http(s) URL of a host, or carries user information, a query or a fragment.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or any(ord(character) <= 32 or ord(character) == 127 for character in url.strip()):
        raise Fault(
            "invalid_body", "the url is not an http or https address", field="url", hint="such as http://10.0.0.7:8188"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Fault(
            "invalid_body", "the url holds more than an address", field="url", hint="such as http://10.0.0.7:8188"
        )
    return parts.geturl().rstrip("/")


def name_of_url(url: str) -> str:
    """The name of a backend that was registered by its URL alone: host and port, and the path if it has one."""
    parts = urlsplit(url)
    return (parts.netloc + parts.path).rstrip("/")
