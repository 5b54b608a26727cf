"""Webhooks: where a tenant wants events told, and the log of what was sent there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from comfyone.errors import Fault
from comfyone.gateway.domain.addresses import AddressRefused
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.domain.webhooks import MAX_WEBHOOKS, TEST, Delivery, Webhook, check_events, new_secret
from comfyone.gateway.ports import Outbound, Session, Store

__all__ = ["Webhooks"]


class Webhooks:
    """``compose_test`` makes the message that tries a webhook, of its id and the time."""

    def __init__(self, store: Store, outbound: Outbound, compose_test: Callable[[str, float], bytes]) -> None:
        self._store = store
        self._outbound = outbound
        self._compose_test = compose_test

    async def all(self, principal: Principal) -> list[Webhook]:
        principal.require(Scope.WEBHOOKS)
        return await self._store.read(lambda session: session.webhooks(principal.tenant_id).all())

    async def get(self, principal: Principal, webhook_id: str) -> Webhook:
        principal.require(Scope.WEBHOOKS)
        return await self._store.read(lambda session: session.webhooks(principal.tenant_id).get(webhook_id))

    async def create(self, principal: Principal, url: str, events: Sequence[str]) -> Webhook:
        """A new webhook. Its secret is told here, and never again.

        Raises:
            Fault: ``address_refused``, ``invalid_body`` naming the event type, or ``conflict`` when there are too many.
        """
        principal.require(Scope.WEBHOOKS)
        wanted = check_events(events)
        await self._check(url)
        webhook = Webhook(new_id(), principal.tenant_id, url, new_secret(), wanted, True, time.time())
        return await self._store.write(lambda session: session.webhooks(principal.tenant_id).add(webhook, MAX_WEBHOOKS))

    async def change(
        self,
        principal: Principal,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is not None. Disabling gives up what waits."""
        principal.require(Scope.WEBHOOKS)
        wanted = None if events is None else check_events(events)
        if url is not None:
            await self.get(principal, webhook_id)  # somebody else's is unknown before its address is looked at
            await self._check(url)

        def changed(webhook: Webhook) -> Webhook:
            return replace(
                webhook,
                url=webhook.url if url is None else url,
                events=webhook.events if wanted is None else wanted,
                enabled=webhook.enabled if enabled is None else enabled,
            )

        return await self._change(principal, webhook_id, changed)

    async def rotate(self, principal: Principal, webhook_id: str) -> Webhook:
        """Gives a webhook another secret. From now on it alone signs, also what is sent again."""
        principal.require(Scope.WEBHOOKS)
        secret = new_secret()
        return await self._change(principal, webhook_id, lambda webhook: replace(webhook, secret=secret))

    async def delete(self, principal: Principal, webhook_id: str) -> None:
        principal.require(Scope.WEBHOOKS)
        await self._store.write(lambda session: session.webhooks(principal.tenant_id).delete(webhook_id))

    async def deliveries(self, principal: Principal, webhook_id: str, *, limit: int, offset: int) -> list[Delivery]:
        """The log, newest first."""
        principal.require(Scope.WEBHOOKS)
        return await self._store.read(
            lambda session: session.webhooks(principal.tenant_id).deliveries(webhook_id, limit=limit, offset=offset)
        )

    async def retry(self, principal: Principal, webhook_id: str, delivery_id: str) -> Delivery:
        """Sends a message again now, under the same id."""
        principal.require(Scope.WEBHOOKS)
        return await self._store.write(
            lambda session: session.webhooks(principal.tenant_id).send_again(webhook_id, delivery_id, time.time())
        )

    async def test(self, principal: Principal, webhook_id: str) -> Delivery:
        """Sends a message that tells of nothing, whatever events the webhook wants."""
        principal.require(Scope.WEBHOOKS)
        now = time.time()
        payload = self._compose_test(webhook_id, now)
        return await self._store.write(
            lambda session: session.webhooks(principal.tenant_id).send(webhook_id, TEST, payload, now)
        )

    async def _change(self, principal: Principal, webhook_id: str, change: Callable[[Webhook], Webhook]) -> Webhook:
        def command(session: Session) -> Webhook:
            door = session.webhooks(principal.tenant_id)
            return door.replace(change(door.get(webhook_id)))

        return await self._store.write(command)

    async def _check(self, url: str) -> None:
        try:
            await self._outbound.check(url)
        except AddressRefused as error:
            raise Fault("address_refused", error.message, field="url", hint=error.hint) from error
