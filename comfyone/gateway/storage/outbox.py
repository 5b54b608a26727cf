"""Messages to webhooks: written in the transaction of the event that they tell of, so that no crash loses or invents one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import JobEvent
from comfyone.gateway.domain.webhooks import EVERYTHING, Due, Verdict, type_of
from comfyone.gateway.ports import JobView
from comfyone.gateway.storage.sql import Row, Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor
from comfyone.gateway.storage.webhooks import add_delivery, give_up

__all__ = ["Compose", "SqlOutbox", "tell"]

_ENABLED = "SELECT id, events FROM webhooks WHERE tenant_id = ? AND enabled = 1"

Compose = Callable[[JobEvent, JobView], bytes]
"""Makes the message that tells of an event."""


def tell(sql: Sql, compose: Compose) -> None:
    """Writes what the events of this transaction are to tell to webhooks, when all else in it is done.

    It costs one look-up for each tenant that has events here, and nothing more for one that has no webhooks.
    """
    webhooks: dict[str, list[Row]] = {}
    for event in sql.events:
        tenant_id = event.tenant_id
        if tenant_id not in webhooks:
            webhooks[tenant_id] = sql.all(_ENABLED, (tenant_id,))
        if webhooks[tenant_id] and (wanting := _wanting(webhooks[tenant_id], type_of(event.type))):
            _write(sql, event, wanting, compose)


def _wanting(webhooks: Sequence[Row], type_: str) -> list[str]:
    """The ids of those that want this type; types are compared as they stand in the JSON, quotes included."""
    return [id_ for id_, events in webhooks if f'"{type_}"' in events or f'"{EVERYTHING}"' in events]


def _write(sql: Sql, event: JobEvent, webhook_ids: Sequence[str], compose: Compose) -> None:
    try:
        view = SqlTenantDoor(sql, event.tenant_id).job(event.job_id, placed=False)
    except Fault:  # it was deleted in the same transaction: there is nothing left to tell
        return
    payload = compose(event, view)
    for webhook_id in webhook_ids:
        add_delivery(sql, event.tenant_id, webhook_id, event.job_id, type_of(event.type), payload, event.at)


class SqlOutbox:
    """See `comfyone.gateway.ports.Outbox`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def due(self, now: float, limit: int, *, under_way: Sequence[str], busy: Sequence[str]) -> list[Due]:
        """Messages to send, the longest due first, without those under way and those to webhooks that are busy."""
        rows = self._sql.all(
            "SELECT d.id, d.webhook_id, d.tenant_id, w.url, w.secret, d.payload, d.attempts "
            "FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id AND w.enabled = 1 "
            f"WHERE d.due_at <= ? AND d.webhook_id NOT IN ({_marks(busy)}) AND d.id NOT IN ({_marks(under_way)}) "
            "ORDER BY d.due_at LIMIT ?",
            (now, *busy, *under_way, limit),
        )
        return [Due(*row) for row in rows]

    def settle(self, due: Due, verdict: Verdict) -> None:
        """Notes what became of an attempt. What was disabled in the meantime is not tried again."""
        self._sql.run(
            "UPDATE webhook_deliveries SET attempts = ?, delivered_at = ?, status = ?, error = ?, "
            "due_at = CASE WHEN (SELECT enabled FROM webhooks WHERE id = webhook_id) = 1 THEN ? END "
            "WHERE id = ? AND tenant_id = ?",
            (
                verdict.attempts,
                verdict.delivered_at,
                verdict.code,
                verdict.error,
                verdict.due_at,
                due.id,
                due.tenant_id,
            ),
        )
        if verdict.gone:
            self._sql.run("UPDATE webhooks SET enabled = 0 WHERE id = ?", (due.webhook_id,))
            give_up(self._sql, due.tenant_id, due.webhook_id, "the endpoint is gone: the webhook is disabled")

    def webhooks(self) -> list[str]:
        """The ids of all webhooks."""
        return [row[0] for row in self._sql.all("SELECT id FROM webhooks ORDER BY id")]

    def prune(self, webhook_id: str, before: float, *, keep: int, waiting: int, limit: int) -> int:
        """Bounds a webhook's log: to ``keep`` entries, none from before ``before``, that are done with, and ``waiting``
        that are not. Touches at most ``limit`` of each kind, and returns how many in all."""
        forgotten = self._sql.run(
            "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook "
            "AND due_at IS NULL AND (created_at < :before OR id <= (SELECT id FROM webhook_deliveries "
            "WHERE webhook_id = :webhook AND due_at IS NULL ORDER BY id DESC LIMIT 1 OFFSET :keep)) ORDER BY id LIMIT :limit)",
            {"webhook": webhook_id, "before": before, "keep": keep, "limit": limit},
        )
        dropped = self._sql.run(
            "UPDATE webhook_deliveries SET due_at = NULL, error = 'given up: too many messages wait' WHERE id IN "
            "(SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook AND due_at IS NOT NULL "
            "ORDER BY id DESC LIMIT :limit OFFSET :waiting)",
            {"webhook": webhook_id, "waiting": waiting, "limit": limit},
        )
        return forgotten + dropped


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
