"""Tenants, their API keys, and who is asking."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import SHARED_POOL

__all__ = [
    "ALL_BUT_ADMIN",
    "KEY_PREFIX",
    "NOBODY",
    "ApiKey",
    "Principal",
    "Scope",
    "Tenant",
    "TenantPolicy",
    "check_tenant_name",
    "hash_key",
    "hint_of",
    "new_key",
    "parse_scopes",
    "parse_workflows",
    "principal_of",
]

KEY_PREFIX = "co_"
"""What every key that we make begins with, so that secret scanners can find it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_WORKFLOWS = 100
MAX_WORKFLOW_NAME = 200


class Scope(StrEnum):
    """What a key may touch."""

    JOBS = "jobs"  # submit, read and cancel jobs; upload and download files
    WORKFLOWS = "workflows"  # create, change and delete stored workflows
    BACKENDS = "backends"  # register, change and remove backends
    GRAPHS = "graphs"  # run graphs that are not stored
    WEBHOOKS = "webhooks"  # have all that happens told elsewhere, for as long as the webhook lives: longer than the key
    ADMIN = "admin"  # the operator's routes


ALL_BUT_ADMIN = frozenset(Scope) - {Scope.ADMIN}


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What the operator grants a tenant. A limit that is None is the gateway's own (its settings)."""

    weight: float = 1.0
    """Its share of a shared pool, against those of the others that have work there."""

    max_queued: int | None = None
    """Jobs that wait."""

    max_running: int | None = None
    """Jobs that backends have."""

    max_per_minute: int | None = None
    """Submissions within any minute."""

    max_bytes: int | None = None
    """Bytes of its files, uploads and results together."""

    max_backend_seconds: float | None = None
    """Seconds of backend time within a day (UTC)."""

    withheld: frozenset[Scope] = frozenset()
    """Scopes that none of its keys has, whatever they say: ``graphs`` or ``workflows``."""

    allowed_classes: frozenset[str] | None = None
    """The only node classes that its graphs may hold; None: any."""

    denied_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    name: str
    created_at: float
    policy: TenantPolicy = TenantPolicy()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: its hash, never itself. ``hint`` is its first characters, to tell keys apart."""

    id: str
    tenant_id: str
    name: str
    hint: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    workflows: tuple[str, ...] | None = None
    """The only workflows, by name, that it may run; None: all of its tenant's."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a tenant, by one of its keys."""

    tenant_id: str
    key_id: str
    scopes: frozenset[Scope]
    workflows: tuple[str, ...] | None = None
    policy: TenantPolicy = TenantPolicy()
    key_hint: str = ""

    @property
    def actor(self) -> str:
        """By whom something was done, for the audit log."""
        return f"key {self.key_hint}… {self.key_id}"

    def may_run(self, workflow: str) -> bool:
        """Whether the key may run the workflow of this name."""
        return self.workflows is None or workflow in self.workflows

    def require(self, scope: Scope) -> None:
        """Raises:
        Fault: ``scope_missing`` when the key lacks the scope.
        """
        if scope not in self.scopes:
            raise Fault("scope_missing", f"this key lacks the scope '{scope}'")


NOBODY = Principal("", "", frozenset())
"""Who asks for what needs no key: the owner of nothing."""


def principal_of(key: ApiKey, policy: TenantPolicy) -> Principal:
    """Who asks with a key. A key that is narrowed to workflows has no say in what a workflow is, and runs nothing else."""
    narrowed = frozenset() if key.workflows is None else frozenset({Scope.GRAPHS, Scope.WORKFLOWS})
    scopes = key.scopes - policy.withheld - narrowed
    return Principal(key.tenant_id, key.id, scopes, key.workflows, policy, key.hint)


def new_key() -> str:
    """A fresh API key: 256 random bits, with a prefix that secret scanners can find."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hint_of(key: str) -> str:
    """The first characters of a key, to tell keys apart: never so many that the rest could be guessed."""
    return key[: min(8, len(key) // 4)]


def hash_key(key: str) -> str:
    """What is stored of a key. Keys are random, so a plain hash is as good as a slow one and costs nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_scopes(names: list[str] | None) -> frozenset[Scope]:
    """The scopes of a new key; without names, all but ``admin``.

    Raises:
        Fault: ``invalid_body`` naming the scope that does not exist.
    """
    if not names:
        return ALL_BUT_ADMIN
    known = {scope.value for scope in Scope}
    for name in names:
        if name not in known:
            raise Fault(
                "invalid_body", f"no scope '{name}'", field="scope", hint=f"choose among {', '.join(sorted(known))}"
            )
    return frozenset(Scope(name) for name in names)


def parse_workflows(names: list[str] | None) -> tuple[str, ...] | None:
    """The workflows that a new key is narrowed to; None: it is not.

    Raises:
        Fault: ``invalid_body`` naming the name that no workflow can have, or when there are none or too many.
    """
    if names is None:
        return None
    unique = tuple(dict.fromkeys(name.strip() for name in names))
    if not 0 < len(unique) <= MAX_WORKFLOWS:
        raise Fault("invalid_body", f"a key is narrowed to 1 to {MAX_WORKFLOWS} workflows", field="workflows")
    for name in unique:
        if not 0 < len(name) <= MAX_WORKFLOW_NAME or not name.isprintable():
            raise Fault("invalid_body", f"{name[:40]!r} is no name of a workflow", field="workflows")
    return unique


def check_tenant_name(name: str) -> str:
    """Raises:
    Fault: ``invalid_body`` when the name could not be a folder, a label or an argument, or is that of the shared pool.
    """
    if not _NAME.fullmatch(name) or name == SHARED_POOL:
        raise Fault(
            "invalid_body",
            f"{name!r} is no tenant name",
            field="name",
            hint=f"use 1 to 63 letters, digits, dots, dashes or underscores, but not '{SHARED_POOL}'",
        )
    return name
