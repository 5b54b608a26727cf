"""``comfyone keys``: the API keys of tenants."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import Json, fail, show, table
from comfyone.cli.state import StateDir, moment, opened

__all__ = ["app"]

app = typer.Typer(help="API keys of tenants.", no_args_is_help=True)

COLUMNS = ["hint", "tenant", "name", "scopes", "workflows", "expires", "revoked", "id"]
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command("create")
def create_key(
    tenant: Annotated[str, typer.Option(help="Whose key it is; made if there is none of that name.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="A right of the key; may be repeated. Without it: all but admin.")
    ] = None,
    workflow: Annotated[
        list[str] | None,
        typer.Option(help="A workflow that it may run, by name; may be repeated. Without it: all of its tenant's."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="How long it is good, such as 12h or 90d.")] = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Make an API key. It is printed once and stored only as a hash."""
    with opened(state_dir) as session:
        rules = need("comfyone.gateway.domain.tenants", "gateway")
        issued = need("comfyone.gateway.services.accounts", "gateway").issue_key(
            session,
            tenant,
            scopes=rules.parse_scopes(scope),
            workflows=rules.parse_workflows(workflow or None),
            name=name,
            expires_at=_expiry(expires),
        )
    record = {"key": issued.key, **_row(issued.record, issued.tenant.name)}
    show(record) if json else typer.echo(issued.key)


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Show keys by their first characters; the keys themselves are not stored."""
    with opened(state_dir) as session:
        owners = [owner for owner in session.accounts.tenants() if tenant in (None, owner.name)]
        if tenant is not None and not owners:
            raise fail(f"no tenant '{tenant}'", "see 'comfyone tenants list'")
        rows = [_row(key, owner.name) for owner in owners for key in session.accounts.keys(owner.id)]
    show(rows) if json else table(COLUMNS, rows)


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, or its first characters as listed.")],
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Revoke a key. A running gateway refuses it within a second."""
    with opened(state_dir) as session:
        revoked = need("comfyone.gateway.services.accounts", "gateway").revoke_key(session, key)
    show({"id": revoked.id, "hint": revoked.hint, "revoked": True}) if json else typer.echo(f"revoked {revoked.hint}…")


def _row(key: Any, tenant: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "hint": key.hint,
        "tenant": tenant,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "workflows": None if key.workflows is None else ", ".join(key.workflows),
        "expires": moment(key.expires_at),
        "revoked": moment(key.revoked_at),
    }


def _expiry(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise fail(f"--expires {text} is no span of time", "such as 30m, 12h or 90d", code=2)
    return time.time() + int(match[1]) * _SPANS[match[2]]
