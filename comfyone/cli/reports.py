"""``comfyone usage`` and ``comfyone audit``: what was used, and who administered what; read from the state itself."""

from __future__ import annotations

import json as text
import sys
from typing import Annotated, Any

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import Json, show, table
from comfyone.cli.state import StateDir, moment, opened

__all__ = ["audit", "usage"]


def usage(
    first: Annotated[
        str | None, typer.Option("--from", help="The first day (UTC); else thirty days up to the last.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day; else today.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    by: Annotated[
        str | None, typer.Option(help="What to add up by: of tenant,day,workflow,backend; else by all of them.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Show what tenants have used."""
    reports = need("comfyone.gateway.services.usage", "gateway")
    with opened(state_dir) as session:
        question = reports.ask_usage(session, tenant=tenant, first=first, last=last, by=by)
        if csv:
            reports.write_csv(session, question, sys.stdout)
            return
        facts = [reports.facts_of(question, row) for row in session.usage.rows(question)]
    show(facts) if json else table(reports.columns_of(question), facts)


def audit(
    limit: Annotated[int, typer.Option(help="How many, the newest of all.", min=1, max=100_000)] = 100,
    state_dir: StateDir = None,
    json: Json = False,
) -> None:
    """Show who administered what, newest first."""
    with opened(state_dir) as session:
        rows = [_row(entry) for entry in session.audit.entries(None, limit)]
    if json:
        return show(rows)
    told = [{**row, "detail": text.dumps(row["detail"], ensure_ascii=False)} for row in rows]
    table(["at", "actor", "tenant", "action", "subject", "detail"], told)


def _row(entry: Any) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": moment(entry.at),
        "actor": entry.actor,
        "tenant": entry.tenant,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    }
