"""What has been used, as JSON or as CSV, and a tenant's own routes for it."""

from __future__ import annotations

import msgspec
from starlette.responses import Response, StreamingResponse

from comfyone.gateway.dialects.comfyone_v1.codec import V1Codec
from comfyone.gateway.dialects.routing import Call, Query, Route
from comfyone.gateway.domain.usage import UsageQuestion
from comfyone.gateway.services.usage import facts_of

__all__ = ["USAGE_QUERY", "USAGE_ROUTES", "UsageRecord", "usage_answer", "usage_texts"]

_codec = V1Codec()


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was not asked by is absent."""

    tenant: str | msgspec.UnsetType = msgspec.UNSET
    day: str | msgspec.UnsetType = msgspec.UNSET
    workflow: str | msgspec.UnsetType | None = msgspec.UNSET
    workflow_id: str | msgspec.UnsetType | None = msgspec.UNSET
    backend: str | msgspec.UnsetType | None = msgspec.UNSET
    backend_id: str | msgspec.UnsetType = msgspec.UNSET
    succeeded: int
    failed: int
    cancelled: int
    backend_seconds: float
    output_bytes: int


USAGE_QUERY = (
    Query("from", "the first day (UTC), such as 2026-11-01; else thirty days up to the last one"),
    Query("to", "the last day; else today"),
    Query("by", "what to add up by, with commas between; else by everything"),
    Query("format", "'csv': the rows as CSV, as with 'Accept: text/csv'"),
)


def usage_texts(call: Call) -> tuple[str | None, str | None, str | None]:
    """``from``, ``to`` and ``by`` as they were asked."""
    query = call.request.query_params
    return query.get("from"), query.get("to"), query.get("by")


async def usage_answer(call: Call, question: UsageQuestion) -> Response:
    """The rows, in the form that was asked for. CSV is streamed, and as long as it needs to be."""
    wanted = call.request.query_params.get("format") or call.request.headers.get("accept", "")
    if wanted == "csv" or "text/csv" in wanted:
        name = f"usage-{question.first}-{question.last}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return StreamingResponse(call.services.usage.csv(question), media_type="text/csv", headers=headers)
    rows = await call.services.usage.rows(question)
    return _codec.success([UsageRecord(**facts_of(question, row)) for row in rows])


async def get_usage(call: Call) -> Response:
    return await usage_answer(call, call.services.usage.own_question(call.principal, *usage_texts(call)))


USAGE_ROUTES = (
    Route(
        "GET",
        "/v1/usage",
        get_usage,
        "What the tenant has used",
        answer=list[UsageRecord],
        query=USAGE_QUERY,
        faults=("scope_missing",),
    ),
)
