"""The operations of the registry; docs/reference/registry.md says what each means."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.registry.codec import Told
from comfyone.gateway.dialects.routing import Call, Query, Route
from comfyone.gateway.domain.apps import AppPolicy, Selection, app_of
from comfyone.gateway.domain.backends import Backend, BackendState

__all__ = ["REGISTRY_ROUTES"]

Choice = TypeVar("Choice", bound=StrEnum)

MAX_WEIGHT = 1_000_000
MAX_LIMIT = 1_000_000

Weight = Annotated[int, msgspec.Meta(ge=1, le=MAX_WEIGHT)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]


class NewAppBackend(msgspec.Struct, frozen=True):
    """``state`` is ``active`` or ``down``. A backend whose ``instance_id`` leads nowhere is given its ``url`` as well."""

    instance_id: str
    weight: Weight = 1
    state: BackendState = BackendState.UP
    url: str | None = None


class NewBackendOfApp(NewAppBackend, frozen=True, kw_only=True):
    app_id: str


class PolicyBody(msgspec.Struct, frozen=True):
    """``limit``: how many are chosen at most, 1 unless it says otherwise; all of them for ``all_active``."""

    policy_type: Selection
    limit: Limit | None = None


class NewWeight(msgspec.Struct, frozen=True):
    weight: Weight | None = None


class AppBackendRecord(msgspec.Struct, frozen=True):
    id: str
    app_id: str
    instance_id: str
    weight: int
    state: str


class PolicyRecord(msgspec.Struct, frozen=True):
    policy_type: str
    limit: int | None


class AddedRecord(msgspec.Struct, frozen=True):
    backend: AppBackendRecord
    policy: PolicyRecord


_STATES = {BackendState.UP: "active"}


def _record(backend: Backend) -> AppBackendRecord:
    state = _STATES.get(backend.state, backend.state)
    return AppBackendRecord(backend.id, app_of(backend) or "", backend.instance_id, backend.weight, state)


def _policy_record(policy: AppPolicy) -> PolicyRecord:
    return PolicyRecord(policy.policy_type, policy.limit)


# backends


async def add_backend(call: Call) -> Told:
    body: NewBackendOfApp = await call.body()
    return await _add(call, body.app_id, body)


async def add_app_backend(call: Call) -> Told:
    return await _add(call, call.path("app_id"), await call.body())


async def _add(call: Call, app_id: str, body: NewAppBackend) -> Told:
    backend, policy = await call.services.registry.add(
        call.principal, app_id, body.instance_id, url=body.url, weight=body.weight, state=body.state
    )
    return Told("Backend added successfully", AddedRecord(_record(backend), _policy_record(policy)))


async def list_all_backends(call: Call) -> list[AppBackendRecord]:
    return [_record(backend) for backend in await call.services.registry.all(call.principal)]


async def list_app_backends(call: Call) -> list[AppBackendRecord]:
    return [_record(backend) for backend in await call.services.registry.of(call.principal, call.path("app_id"))]


async def select_app_backends(call: Call) -> list[AppBackendRecord]:
    text = call.request.query_params.get("policy")
    selection = _chosen(Selection, text, "policy", Selection) if text else None
    chosen = await call.services.registry.choose(call.principal, call.path("app_id"), selection)
    return [_record(backend) for backend in chosen]


async def change_app_backend(call: Call) -> Told:
    state = _chosen(BackendState, _required(call, "state"), "state", ("active", *BackendState))
    await _change(call, state=state)
    return Told(f"Backend state updated to {_STATES.get(state, state)}")


async def move_app_backend(call: Call) -> Told:
    new_app_id = _required(call, "new_app_id")
    await _change(call, new_app_id=new_app_id)
    return Told(f"Backend app_id updated to {new_app_id}")


async def weigh_app_backend(call: Call) -> Told:
    weight = call.number("new_weight") or (await _weight_in_body(call))
    if weight > MAX_WEIGHT:
        raise Fault("invalid_body", f"new_weight: {weight} is above {MAX_WEIGHT:,}", field="new_weight")
    await _change(call, weight=weight)
    return Told(f"Backend weight updated to {weight}")


async def _weight_in_body(call: Call) -> int:
    raw = await call.bytes()
    weight = decode(raw, NewWeight).weight if raw else None
    if weight is None:
        raise Fault("invalid_body", "new_weight is required", field="new_weight", hint="send ?new_weight=2")
    return weight


async def _change(call: Call, **change: Any) -> None:
    await call.services.registry.change(call.principal, call.path("app_id"), call.path("backend_id"), **change)


async def remove_app_backend(call: Call) -> Told:
    await call.services.registry.remove(call.principal, call.path("app_id"), call.path("backend_id"))
    return Told("Backend removed successfully")


# policies


async def list_policies(_: Call) -> list[str]:
    return [str(selection) for selection in Selection]


async def get_policy(call: Call) -> PolicyRecord:
    return _policy_record(await call.services.registry.policy(call.principal, call.path("app_id")))


async def change_policy(call: Call) -> Told:
    body: PolicyBody = await call.body()
    usual = None if body.policy_type is Selection.ALL_ACTIVE else 1
    policy = AppPolicy(body.policy_type, body.limit or usual)
    app_id = call.path("app_id")
    await call.services.registry.set_policy(call.principal, app_id, policy)
    return Told(f"{app_id}'s policy updated to {policy.policy_type}", _policy_record(policy))


def _required(call: Call, name: str) -> str:
    value: str = call.request.query_params.get(name, "")
    if not value:
        raise Fault("invalid_body", f"{name} is required", field=name, hint=f"send ?{name}=…")
    return value


def _chosen(kind: type[Choice], text: str, field: str, choices: Iterable[str]) -> Choice:
    """Raises:
    Fault: ``invalid_body`` for a word that is none of the choices.
    """
    try:
        return kind(text)
    except ValueError as error:
        hint = f"choose among {', '.join(choices)}"
        raise Fault("invalid_body", f"{field}: '{text[:40]}' is none", field=field, hint=hint) from error


class _Probe(msgspec.Struct, frozen=True):
    app_id: msgspec.Raw


def _names_app(body: bytes) -> bool:
    """Whether a new backend is for an app: that tells the two bodies of ``POST /v1/backends`` apart."""
    try:
        msgspec.json.decode(body, type=_Probe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


_REGISTERING = ("backend_unresolvable", "backend_unreachable", "not_comfyui", "conflict", "scope_missing")
_ONE = "/v1/{app_id}/backends/{backend_id:path}"

REGISTRY_ROUTES = (
    Route(
        "POST",
        "/v1/backends",
        add_backend,
        "Register a backend for an app",
        NewBackendOfApp,
        AddedRecord,
        claims=_names_app,
        faults=_REGISTERING,
    ),
    Route("GET", "/v1/backends/all", list_all_backends, "The backends of all apps", answer=list[AppBackendRecord]),
    Route("GET", "/v1/policies", list_policies, "How backends of an app can be chosen", answer=list[str]),
    Route(
        "POST",
        "/v1/{app_id}/backends",
        add_app_backend,
        "Register a backend for an app",
        NewAppBackend,
        AddedRecord,
        faults=_REGISTERING,
    ),
    Route(
        "GET",
        "/v1/{app_id}/backends",
        select_app_backends,
        "The backends that the app's policy chooses now",
        answer=list[AppBackendRecord],
        query=(Query("policy", "choose in this way instead", choices=tuple(Selection)),),
        faults=("not_found",),
    ),
    Route(
        "GET",
        "/v1/{app_id}/backends/all",
        list_app_backends,
        "All backends of an app",
        answer=list[AppBackendRecord],
        faults=("not_found",),
    ),
    Route(
        "PATCH",
        f"{_ONE}/app",
        move_app_backend,
        "Move a backend to another app",
        query=(Query("new_app_id", "the other app"),),
        faults=("not_found", "scope_missing"),
    ),
    Route(
        "PATCH",
        f"{_ONE}/weight",
        weigh_app_backend,
        "Change a backend's weight",
        query=(Query("new_weight", 'the weight; or send it as {"weight": n}', int, None, 1),),
        faults=("not_found", "scope_missing", "invalid_json", "too_large"),
    ),
    Route(
        "PATCH",
        _ONE,
        change_app_backend,
        "Switch a backend on or off",
        query=(Query("state", "active or up, down, draining", choices=("active", *BackendState)),),
        faults=("not_found", "scope_missing"),
    ),
    Route("DELETE", _ONE, remove_app_backend, "Remove a backend", faults=("not_found", "scope_missing")),
    Route("GET", "/v1/{app_id}/policy", get_policy, "An app's policy", answer=PolicyRecord, faults=("not_found",)),
    Route(
        "PATCH",
        "/v1/{app_id}/policy",
        change_policy,
        "Change an app's policy",
        PolicyBody,
        PolicyRecord,
        faults=("not_found", "conflict", "scope_missing"),
    ),
)
