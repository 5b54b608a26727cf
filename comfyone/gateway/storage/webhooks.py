"""A tenant's webhooks and what was sent to them: every statement here carries the tenant's id (law 7)."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.webhooks import Delivery, Webhook
from comfyone.gateway.storage.rows import json_text
from comfyone.gateway.storage.sql import Row, Sql, TenantSql

__all__ = ["SqlWebhooks", "add_delivery", "give_up"]

WEBHOOK = "id, tenant_id, url, secret, events, enabled, created_at"
DELIVERY = "id, webhook_id, job_id, type, attempts, due_at, delivered_at, status, error, created_at"

_events = msgspec.json.Decoder(tuple[str, ...])


class SqlWebhooks(TenantSql):
    """See `comfyone.gateway.ports.WebhookDoor`."""

    def all(self) -> list[Webhook]:
        rows = self._sql.all(f"SELECT {WEBHOOK} FROM webhooks WHERE tenant_id = ? ORDER BY id", (self._tenant,))
        return [webhook_of(row) for row in rows]

    def get(self, webhook_id: str) -> Webhook:
        row = self._sql.one(
            f"SELECT {WEBHOOK} FROM webhooks WHERE id = ? AND tenant_id = ?", (webhook_id, self._tenant)
        )
        if row is None:
            raise Fault("not_found", f"no webhook '{webhook_id}'", field="id")
        return webhook_of(row)

    def add(self, webhook: Webhook, most: int) -> Webhook:
        """Raises:
        Fault: ``conflict`` when the tenant has ``most`` of them.
        """
        if len(self.all()) >= most:
            raise Fault("conflict", f"there are {most} webhooks already", hint="delete one that is not needed")
        self._sql.run(
            f"INSERT INTO webhooks ({WEBHOOK}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                webhook.id,
                self._tenant,
                webhook.url,
                webhook.secret,
                json_text(webhook.events),
                int(webhook.enabled),
                webhook.created_at,
            ),
        )
        return webhook

    def replace(self, webhook: Webhook) -> Webhook:
        """Changes what may change. What waits for one that is disabled is given up."""
        changed = self._sql.run(
            "UPDATE webhooks SET url = ?, secret = ?, events = ?, enabled = ? WHERE id = ? AND tenant_id = ?",
            (webhook.url, webhook.secret, json_text(webhook.events), int(webhook.enabled), webhook.id, self._tenant),
        )
        if not changed:
            raise Fault("not_found", f"no webhook '{webhook.id}'", field="id")
        if not webhook.enabled:
            give_up(self._sql, self._tenant, webhook.id, "the webhook was disabled")
        return webhook

    def delete(self, webhook_id: str) -> None:
        self.get(webhook_id)
        values = (webhook_id, self._tenant)
        self._sql.run("DELETE FROM webhook_deliveries WHERE webhook_id = ? AND tenant_id = ?", values)
        self._sql.run("DELETE FROM webhooks WHERE id = ? AND tenant_id = ?", values)

    def deliveries(self, webhook_id: str, *, limit: int, offset: int) -> list[Delivery]:
        """Newest first."""
        self.get(webhook_id)
        rows = self._sql.all(
            f"SELECT {DELIVERY} FROM webhook_deliveries WHERE webhook_id = ? AND tenant_id = ? ORDER BY id DESC LIMIT ? OFFSET ?",
            (webhook_id, self._tenant, limit, offset),
        )
        return [Delivery(*row) for row in rows]

    def send(self, webhook_id: str, type: str, payload: bytes, now: float) -> Delivery:
        """Sends a message that tells of no job."""
        self._enabled(webhook_id)
        return self._delivery(webhook_id, add_delivery(self._sql, self._tenant, webhook_id, "", type, payload, now))

    def send_again(self, webhook_id: str, delivery_id: str, now: float) -> Delivery:
        """Makes a message due at once, whatever became of it before."""
        self._enabled(webhook_id)
        self._delivery(webhook_id, delivery_id)
        self._sql.run(
            "UPDATE webhook_deliveries SET due_at = ?, delivered_at = NULL, error = NULL WHERE id = ? AND tenant_id = ?",
            (now, delivery_id, self._tenant),
        )
        return self._delivery(webhook_id, delivery_id)

    def _enabled(self, webhook_id: str) -> None:
        if not self.get(webhook_id).enabled:
            raise Fault("conflict", f"webhook '{webhook_id}' is disabled", field="id", hint="enable it first")

    def _delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        row = self._sql.one(
            f"SELECT {DELIVERY} FROM webhook_deliveries WHERE id = ? AND webhook_id = ? AND tenant_id = ?",
            (delivery_id, webhook_id, self._tenant),
        )
        if row is None:
            raise Fault("not_found", f"no delivery '{delivery_id}'", field="delivery")
        return Delivery(*row)


def webhook_of(row: Row) -> Webhook:
    values: list[Any] = [*row[:4], _events.decode(row[4]), bool(row[5]), row[6]]
    return Webhook(*values)


def add_delivery(sql: Sql, tenant_id: str, webhook_id: str, job_id: str, type: str, payload: bytes, now: float) -> str:
    """Writes a message that is due at once; returns its id."""
    delivery_id = new_id()
    sql.run(
        "INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, job_id, type, payload, attempts, due_at, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
        (delivery_id, webhook_id, tenant_id, job_id, type, payload, now, now),
    )
    return delivery_id


def give_up(sql: Sql, tenant_id: str, webhook_id: str, reason: str) -> None:
    """Gives up all that waits for a webhook, and says why in its log."""
    sql.run(
        "UPDATE webhook_deliveries SET due_at = NULL, error = ? WHERE webhook_id = ? AND tenant_id = ? AND due_at IS NOT NULL",
        (reason, webhook_id, tenant_id),
    )
