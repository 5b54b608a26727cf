"""An open transaction, and the doors that lead from it to the rows."""

from __future__ import annotations

from comfyone.gateway.storage.accounts import SqlAccounts
from comfyone.gateway.storage.audit import SqlAudit
from comfyone.gateway.storage.engine import SqlEngine
from comfyone.gateway.storage.folders import SqlFolders
from comfyone.gateway.storage.outbox import SqlOutbox
from comfyone.gateway.storage.pools import SqlPools
from comfyone.gateway.storage.prompts import SqlPrompts
from comfyone.gateway.storage.shared_backends import SqlSharedBackends
from comfyone.gateway.storage.sql import Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor
from comfyone.gateway.storage.usage import SqlUsage
from comfyone.gateway.storage.webhooks import SqlWebhooks

__all__ = ["SqlSession"]


class SqlSession(Sql):
    """What a command or a query gets to work with; see `comfyone.gateway.ports.Session`."""

    @property
    def accounts(self) -> SqlAccounts:
        return SqlAccounts(self)

    @property
    def engine(self) -> SqlEngine:
        return SqlEngine(self)

    @property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self)

    @property
    def audit(self) -> SqlAudit:
        return SqlAudit(self)

    @property
    def pools(self) -> SqlPools:
        return SqlPools(self)

    @property
    def shared_backends(self) -> SqlSharedBackends:
        return SqlSharedBackends(self)

    @property
    def usage(self) -> SqlUsage:
        return SqlUsage(self)

    def tenant(self, tenant_id: str) -> SqlTenantDoor:
        return SqlTenantDoor(self, tenant_id)

    def webhooks(self, tenant_id: str) -> SqlWebhooks:
        return SqlWebhooks(self, tenant_id)

    def folders(self, tenant_id: str) -> SqlFolders:
        return SqlFolders(self, tenant_id)

    def prompts(self, tenant_id: str) -> SqlPrompts:
        return SqlPrompts(self, tenant_id)
