"""``comfyone tenants``: whoever has data here, and what they are granted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import Json, fail, show, table
from comfyone.cli.state import StateDir, moment, opened

__all__ = ["app"]

app = typer.Typer(help="Tenants: whoever has data here.", no_args_is_help=True)

DEFAULT = "default"
"""The word that puts a part of a policy back to its default."""

Names = list[str] | None


def _number(help: str) -> Any:
    return typer.Option(help=help, metavar="NUMBER|default")


def _names(help: str) -> Any:
    return typer.Option(help=f"{help}; may be repeated. Replaces what was; 'default': none.", metavar="NAME|default")


@app.command("create")
def create_tenant(name: str, state_dir: StateDir = None, json: Json = False) -> None:
    """Make a tenant."""
    with opened(state_dir) as session:
        tenant = need("comfyone.gateway.services.accounts", "gateway").make_tenant(session, name)
    show({"id": tenant.id, "name": tenant.name}) if json else typer.echo(f"tenant {tenant.name}")


@app.command("list")
def list_tenants(state_dir: StateDir = None, json: Json = False) -> None:
    """Show all tenants."""
    with opened(state_dir) as session:
        rows = [
            {"name": tenant.name, "id": tenant.id, "created": moment(tenant.created_at)}
            for tenant in session.accounts.tenants()
        ]
    show(rows) if json else table(["name", "id", "created"], rows)


@app.command("show")
def show_tenant(name: str, state_dir: StateDir = None, json: Json = False) -> None:
    """Show a tenant and what it is granted. A limit that is not shown is the gateway's own."""
    with opened(state_dir) as session:
        tenant = need("comfyone.gateway.services.accounts", "gateway").find_tenant(session, name)
    _print(tenant, json)


@app.command("set")
def set_tenant(
    name: str,
    weight: Annotated[str | None, _number("Its share of the shared backends, against the others'.")] = None,
    max_queued: Annotated[str | None, _number("Jobs that wait.")] = None,
    max_running: Annotated[str | None, _number("Jobs that backends have.")] = None,
    max_per_minute: Annotated[str | None, _number("Submissions within a minute.")] = None,
    max_bytes: Annotated[str | None, _number("Bytes of all its files together.")] = None,
    max_backend_seconds: Annotated[str | None, _number("Seconds of backend time within a day (UTC).")] = None,
    withhold: Annotated[Names, _names("A scope that none of its keys has: graphs or workflows")] = None,
    allow_class: Annotated[Names, _names("A node class that its graphs may hold, and no others")] = None,
    deny_class: Annotated[Names, _names("A node class that its graphs may not hold")] = None,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Change what a tenant is granted. A running gateway knows within a second."""
    numbers = {
        "weight": weight,
        "max_queued": max_queued,
        "max_running": max_running,
        "max_per_minute": max_per_minute,
        "max_bytes": max_bytes,
        "max_backend_seconds": max_backend_seconds,
    }
    sets = {"withheld": withhold, "allowed_classes": allow_class, "denied_classes": deny_class}
    changes = {name: _value(name, text) for name, text in numbers.items() if text is not None}
    changes |= {name: None if names == [DEFAULT] else names for name, names in sets.items() if names}
    if not changes:
        raise fail("nothing was given to change", "see 'comfyone tenants set --help'", code=2)
    with opened(state_dir) as session:
        accounts = need("comfyone.gateway.services.accounts", "gateway")
        tenant = accounts.change_tenant(session, name, changes)
    _print(tenant, json)


def _value(name: str, text: str) -> Any:
    if text == DEFAULT:
        return None
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise fail(
            f"--{name.replace('_', '-')} {text} is no number", f"give a number, or '{DEFAULT}'", code=2
        ) from None


def _print(tenant: Any, json: bool) -> None:
    policy = tenant.policy
    facts = {
        "name": tenant.name,
        "id": tenant.id,
        "created": moment(tenant.created_at),
        "weight": policy.weight,
        "max_queued": policy.max_queued,
        "max_running": policy.max_running,
        "max_per_minute": policy.max_per_minute,
        "max_bytes": policy.max_bytes,
        "max_backend_seconds": policy.max_backend_seconds,
        "withheld": sorted(policy.withheld),
        "allowed_classes": None if policy.allowed_classes is None else sorted(policy.allowed_classes),
        "denied_classes": sorted(policy.denied_classes),
    }
    if json:
        return show(facts)
    lists = {name: ", ".join(value) for name, value in facts.items() if isinstance(value, list)}
    shown = {name: value for name, value in {**facts, **lists}.items() if value not in (None, "")}
    table(["what", "value"], [{"what": name, "value": value} for name, value in shown.items()])
