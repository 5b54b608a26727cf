"""The operations of v1 on webhooks; docs/how-to/webhooks.md says how to receive what they send."""

from __future__ import annotations

import msgspec

from comfyone.gateway.dialects.moments import moment
from comfyone.gateway.dialects.routing import Call, Query, Route
from comfyone.gateway.domain.webhooks import Delivery, Webhook

__all__ = ["WEBHOOK_ROUTES"]


class NewWebhook(msgspec.Struct, frozen=True):
    url: str
    events: list[str] = []


class WebhookChange(msgspec.Struct, frozen=True):
    url: str | None = None
    events: list[str] | None = None
    enabled: bool | None = None


class WebhookRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """``secret`` is there once: in the answer that makes it."""

    id: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    created_at: str
    secret: str | msgspec.UnsetType = msgspec.UNSET


class DeliveryRecord(msgspec.Struct, frozen=True):
    id: str
    webhook_id: str
    type: str
    job_id: str | None
    status: str
    code: int | None
    attempts: int
    error: str | None
    next_at: str | None
    delivered_at: str | None
    created_at: str


def webhook_record(webhook: Webhook, *, secret: bool = False) -> WebhookRecord:
    return WebhookRecord(
        webhook.id,
        webhook.url,
        webhook.events,
        webhook.enabled,
        moment(webhook.created_at),
        webhook.secret if secret else msgspec.UNSET,
    )


def delivery_record(delivery: Delivery) -> DeliveryRecord:
    waits, came = delivery.due_at is not None, delivery.delivered_at is not None
    return DeliveryRecord(
        delivery.id,
        delivery.webhook_id,
        delivery.type,
        delivery.job_id or None,
        "pending" if waits else "delivered" if came else "failed",
        delivery.code,
        delivery.attempts,
        delivery.error,
        moment(delivery.due_at) if delivery.due_at is not None else None,
        moment(delivery.delivered_at) if delivery.delivered_at is not None else None,
        moment(delivery.created_at),
    )


async def create_webhook(call: Call) -> WebhookRecord:
    body: NewWebhook = await call.body()
    return webhook_record(await call.services.webhooks.create(call.principal, body.url, body.events), secret=True)


async def list_webhooks(call: Call) -> list[WebhookRecord]:
    return [webhook_record(webhook) for webhook in await call.services.webhooks.all(call.principal)]


async def get_webhook(call: Call) -> WebhookRecord:
    return webhook_record(await call.services.webhooks.get(call.principal, call.path("id")))


async def change_webhook(call: Call) -> WebhookRecord:
    body: WebhookChange = await call.body()
    return webhook_record(
        await call.services.webhooks.change(
            call.principal, call.path("id"), url=body.url, events=body.events, enabled=body.enabled
        )
    )


async def delete_webhook(call: Call) -> None:
    await call.services.webhooks.delete(call.principal, call.path("id"))


async def rotate_webhook_secret(call: Call) -> WebhookRecord:
    return webhook_record(await call.services.webhooks.rotate(call.principal, call.path("id")), secret=True)


async def list_webhook_deliveries(call: Call) -> list[DeliveryRecord]:
    deliveries = await call.services.webhooks.deliveries(
        call.principal, call.path("id"), limit=call.number("limit"), offset=call.number("offset")
    )
    return [delivery_record(delivery) for delivery in deliveries]


async def retry_webhook_delivery(call: Call) -> DeliveryRecord:
    return delivery_record(await call.services.webhooks.retry(call.principal, call.path("id"), call.path("delivery")))


async def test_webhook(call: Call) -> DeliveryRecord:
    return delivery_record(await call.services.webhooks.test(call.principal, call.path("id")))


WEBHOOK_ROUTES = (
    Route(
        "POST",
        "/v1/webhooks",
        create_webhook,
        "Have events told to an address",
        NewWebhook,
        WebhookRecord,
        faults=("address_refused", "conflict", "scope_missing"),
    ),
    Route("GET", "/v1/webhooks", list_webhooks, "Webhooks", answer=list[WebhookRecord], faults=("scope_missing",)),
    Route(
        "GET",
        "/v1/webhooks/{id}",
        get_webhook,
        "A webhook",
        answer=WebhookRecord,
        faults=("not_found", "scope_missing"),
    ),
    Route(
        "PATCH",
        "/v1/webhooks/{id}",
        change_webhook,
        "Change a webhook's address or events, or switch it on or off",
        WebhookChange,
        WebhookRecord,
        faults=("address_refused", "not_found", "scope_missing"),
    ),
    Route("DELETE", "/v1/webhooks/{id}", delete_webhook, "Delete a webhook", faults=("not_found", "scope_missing")),
    Route(
        "POST",
        "/v1/webhooks/{id}/secret",
        rotate_webhook_secret,
        "Give a webhook another secret",
        answer=WebhookRecord,
        faults=("not_found", "scope_missing"),
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/test",
        test_webhook,
        "Send a message that tells of nothing",
        answer=DeliveryRecord,
        faults=("conflict", "not_found", "scope_missing"),
    ),
    Route(
        "GET",
        "/v1/webhooks/{id}/deliveries",
        list_webhook_deliveries,
        "What was sent to a webhook, newest first",
        answer=list[DeliveryRecord],
        query=(Query("limit", "how many", int, 50, 1, 200), Query("offset", "how many to leave out", int, 0, 0)),
        faults=("not_found", "scope_missing"),
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/deliveries/{delivery}/retry",
        retry_webhook_delivery,
        "Send a message again",
        answer=DeliveryRecord,
        faults=("conflict", "not_found", "scope_missing"),
    ),
)
"""The routes of webhooks, for `comfyone_v1.routes`."""
