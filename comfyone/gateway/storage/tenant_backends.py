"""The backends of one tenant, its own and the shared ones. Every statement here carries the tenant's id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from comfyone.errors import Fault
from comfyone.gateway.domain.apps import AppPolicy
from comfyone.gateway.domain.backends import Backend, BackendState, ConditionChange, find_backend
from comfyone.gateway.storage.apps import app_policy, set_app_policy
from comfyone.gateway.storage.rows import BACKEND, backend_of, json_text
from comfyone.gateway.storage.sql import TenantSql

__all__ = ["SqlTenantBackends"]


class SqlTenantBackends(TenantSql):
    """The part of `comfyone.gateway.ports.TenantDoor` that is about backends."""

    def backends(self) -> list[Backend]:
        """Its own, and the shared ones, whose address is their owner's affair. A name of its own hides a shared one."""
        own = self._own_backends()
        names = {backend.name for backend in own}
        rows = self._sql.all(
            f"SELECT {BACKEND} FROM backends WHERE shared = 1 AND tenant_id <> ? ORDER BY id", (self._tenant,)
        )
        shared = [replace(backend_of(row), url="") for row in rows]
        return [*own, *(backend for backend in shared if backend.name not in names)]

    def backend(self, key: str) -> Backend:
        return find_backend(self.backends(), key)

    def _own_backends(self) -> list[Backend]:
        rows = self._sql.all(f"SELECT {BACKEND} FROM backends WHERE tenant_id = ? ORDER BY id", (self._tenant,))
        return [backend_of(row) for row in rows]

    def _private_backend(self, key: str) -> Backend:
        """One that the tenant may change. Shared ones are changed by `SqlSharedBackends` alone."""
        return find_backend([backend for backend in self._own_backends() if not backend.shared], key)

    def add_backend(self, backend: Backend, *, new: bool = False) -> Backend:
        existing = [other for other in self._own_backends() if other.name == backend.name]
        if existing and not new and (existing[0].url, existing[0].shared) == (backend.url, backend.shared):
            return existing[0]
        if existing:
            raise Fault("conflict", f"backend '{backend.name}' is registered at {existing[0].url}", field="instance_id")
        self._sql.run(
            f"INSERT INTO backends ({BACKEND}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                backend.id,
                self._tenant,
                backend.name,
                backend.instance_id,
                backend.url,
                backend.state,
                backend.weight,
                json_text(backend.labels),
                int(backend.shared),
                backend.created_at,
            ),
        )
        return backend

    def app_policy(self, app_id: str) -> AppPolicy:
        """How an app chooses among its backends."""
        return app_policy(self._sql, self._tenant, app_id)

    def set_app_policy(self, app_id: str, policy: AppPolicy) -> None:
        """Raises:
        Fault: ``conflict`` when too many apps have a policy of their own.
        """
        set_app_policy(self._sql, self._tenant, app_id, policy)

    def change_backend(
        self, key: str, *, state: BackendState | None, weight: int | None, labels: Mapping[str, str] | None
    ) -> Backend:
        backend = self._private_backend(key)
        self._sql.run(
            "UPDATE backends SET state = COALESCE(?, state), weight = COALESCE(?, weight), labels = COALESCE(?, labels) "
            "WHERE id = ? AND tenant_id = ?",
            (state, weight, None if labels is None else json_text(labels), backend.id, self._tenant),
        )
        return self._private_backend(backend.name)

    def delete_backend(self, key: str) -> Backend:
        backend = self._private_backend(key)
        self._sql.run("DELETE FROM backends WHERE id = ? AND tenant_id = ?", (backend.id, self._tenant))
        return backend

    def conditions(self, key: str, limit: int) -> list[ConditionChange]:
        """What became of a backend, the latest first. Of one that all share no reasons: they tell where it is."""
        backend = self.backend(key)
        rows = self._sql.all(
            "SELECT at, condition, reason FROM backend_history WHERE backend_id = ? ORDER BY id DESC LIMIT ?",
            (backend.id, limit),
        )
        return [ConditionChange(at, condition, None if backend.shared else reason) for at, condition, reason in rows]
