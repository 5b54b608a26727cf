"""The backends that all tenants share."""

from __future__ import annotations

from collections.abc import Mapping

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import Backend, BackendState
from comfyone.gateway.storage.rows import BACKEND, backend_of, json_text
from comfyone.gateway.storage.sql import Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor

__all__ = ["SqlSharedBackends"]


class SqlSharedBackends:
    """See `comfyone.gateway.ports.SharedBackends`. Their names are unique among them."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def all(self) -> list[Backend]:
        return [
            backend_of(row) for row in self._sql.all(f"SELECT {BACKEND} FROM backends WHERE shared = 1 ORDER BY id")
        ]

    def get(self, name: str) -> Backend:
        """Raises:
        Fault: ``not_found``.
        """
        row = self._sql.one(f"SELECT {BACKEND} FROM backends WHERE shared = 1 AND name = ?", (name,))
        if row is None:
            raise Fault("not_found", f"no shared backend '{name}'", field="backend")
        return backend_of(row)

    def add(self, backend: Backend) -> Backend:
        """The backend; or the one that is there already with its name and url.

        Raises:
            Fault: ``conflict`` when the name is taken, among the shared ones or among those of its owner.
        """
        for other in self.all():
            if other.name == backend.name and other.url == backend.url:
                return other
            if other.name == backend.name:
                raise Fault("conflict", f"shared backend '{other.name}' is registered at {other.url}", field="name")
        return SqlTenantDoor(self._sql, backend.tenant_id).add_backend(backend)

    def change(
        self, name: str, *, state: BackendState | None, weight: int | None, labels: Mapping[str, str] | None
    ) -> Backend:
        backend = self.get(name)
        self._sql.run(
            "UPDATE backends SET state = COALESCE(?, state), weight = COALESCE(?, weight), labels = COALESCE(?, labels) "
            "WHERE id = ? AND shared = 1",
            (state, weight, None if labels is None else json_text(labels), backend.id),
        )
        return self.get(name)

    def delete(self, name: str) -> Backend:
        backend = self.get(name)
        self._sql.run("DELETE FROM backends WHERE id = ? AND shared = 1", (backend.id,))
        return backend
