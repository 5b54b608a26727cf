"""``comfyone tenants`` and ``comfyone keys``: administration on the state itself, also beside a running gateway."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import Json, fail, reported, show, table
from comfyone.settings import load_settings

__all__ = ["keys", "tenants"]

tenants = typer.Typer(help="Tenants: whoever has data here.", no_args_is_help=True)
keys = typer.Typer(help="API keys of tenants.", no_args_is_help=True)

StateDir = Annotated[Path | None, typer.Option(help="The gateway's state folder.")]
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@contextmanager
def _state(state_dir: Path | None) -> Iterator[Any]:
    with reported():
        folder = load_settings(None, {"state_dir": state_dir}).state_dir
        path = need("comfyone.gateway.app", "gateway").database_path(folder)
        with need("comfyone.gateway.storage.sqlite", "gateway").transaction(path) as session:
            yield session


@tenants.command("create")
def create_tenant(name: str, state_dir: StateDir = None, json: Json = False) -> None:
    """Make a tenant."""
    with _state(state_dir) as session:
        tenant = need("comfyone.gateway.services.accounts", "gateway").make_tenant(session, name)
    show({"id": tenant.id, "name": tenant.name}) if json else typer.echo(f"tenant {tenant.name}")


@tenants.command("list")
def list_tenants(state_dir: StateDir = None, json: Json = False) -> None:
    """Show all tenants."""
    with _state(state_dir) as session:
        rows = [
            {"name": tenant.name, "id": tenant.id, "created": _moment(tenant.created_at)}
            for tenant in session.accounts.tenants()
        ]
    show(rows) if json else table(["name", "id", "created"], rows)


@keys.command("create")
def create_key(
    tenant: Annotated[str, typer.Option(help="Whose key it is; made if there is none of that name.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="A right of the key; may be repeated. Without it: all but admin.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="How long it is good, such as 12h or 90d.")] = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Make an API key. It is printed once and stored only as a hash."""
    with _state(state_dir) as session:
        accounts = need("comfyone.gateway.services.accounts", "gateway")
        scopes = need("comfyone.gateway.domain.tenants", "gateway").parse_scopes(scope)
        issued = accounts.issue_key(session, tenant, scopes=scopes, name=name, expires_at=_expiry(expires))
    record = {"key": issued.key, **_row(issued.record, issued.tenant.name)}
    show(record) if json else typer.echo(issued.key)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Show keys by their first characters; the keys themselves are not stored."""
    with _state(state_dir) as session:
        owners = [owner for owner in session.accounts.tenants() if tenant in (None, owner.name)]
        if tenant is not None and not owners:
            raise fail(f"no tenant '{tenant}'", "see 'comfyone tenants list'")
        rows = [_row(key, owner.name) for owner in owners for key in session.accounts.keys(owner.id)]
    show(rows) if json else table(["hint", "tenant", "name", "scopes", "expires", "revoked", "id"], rows)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, or its first characters as listed.")],
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Revoke a key. A running gateway refuses it within a second."""
    with _state(state_dir) as session:
        revoked = session.accounts.revoke_key(key, time.time())
    show({"id": revoked.id, "hint": revoked.hint, "revoked": True}) if json else typer.echo(f"revoked {revoked.hint}…")


def _row(key: Any, tenant: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "hint": key.hint,
        "tenant": tenant,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "expires": key.expires_at and _moment(key.expires_at),
        "revoked": key.revoked_at and _moment(key.revoked_at),
    }


def _expiry(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise fail(f"--expires {text} is no span of time", "such as 30m, 12h or 90d", code=2)
    return time.time() + int(match[1]) * _SPANS[match[2]]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
