"""The workflows of one tenant, with all their versions. Every statement here carries the tenant's id."""

from __future__ import annotations

from comfyone.errors import Fault
from comfyone.gateway.domain.workflows import Workflow, unknown_workflow
from comfyone.gateway.storage.rows import WORKFLOW, inputs_text, json_text, workflow_of
from comfyone.gateway.storage.sql import TenantSql

__all__ = ["SqlTenantWorkflows"]

_CURRENT = (
    f"SELECT {WORKFLOW} FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id AND v.version = w.version "
)
_VERSION = (
    f"SELECT {WORKFLOW} FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id AND v.version = :version "
)
_MINE = "WHERE w.tenant_id = :tenant AND w.deleted_at IS NULL "


class SqlTenantWorkflows(TenantSql):
    """The part of `comfyone.gateway.ports.TenantDoor` that is about workflows."""

    def workflows(self) -> list[Workflow]:
        return [workflow_of(row) for row in self._sql.all(_CURRENT + _MINE + "ORDER BY w.id", {"tenant": self._tenant})]

    def workflow(self, key: str, version: int | None = None) -> Workflow:
        """By id or name; the current version unless one is named."""
        statement = (_CURRENT if version is None else _VERSION) + _MINE
        values = {"tenant": self._tenant, "key": key, "version": version}
        row = self._sql.one(statement + "AND w.id = :key", values) or self._sql.one(
            statement + "AND w.name = :key", values
        )
        if row is None:
            raise unknown_workflow(key, version)
        return workflow_of(row)

    def add_workflow(self, workflow: Workflow) -> Workflow:
        self._name_is_free(workflow)
        self._sql.run(
            "INSERT INTO workflows (id, tenant_id, name, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
            (workflow.id, self._tenant, workflow.name, workflow.version, workflow.created_at, workflow.updated_at),
        )
        self._add_version(workflow)
        return workflow

    def replace_workflow(self, key: str, workflow: Workflow) -> Workflow:
        """Stores the next version. Of ``workflow`` only what a caller declares counts; the rest stays as it was."""
        old = self.workflow(key)
        new = Workflow(
            old.id,
            self._tenant,
            workflow.name,
            old.version + 1,
            workflow.inputs,
            workflow.outputs,
            workflow.graph,
            old.created_at,
            workflow.updated_at,
        )
        self._name_is_free(new)
        self._sql.run(
            "UPDATE workflows SET name = ?, version = ?, updated_at = ? WHERE id = ? AND tenant_id = ?",
            (new.name, new.version, new.updated_at, new.id, self._tenant),
        )
        self._add_version(new)
        return new

    def delete_workflow(self, key: str, now: float) -> None:
        workflow = self.workflow(key)
        self._sql.run(
            "UPDATE workflows SET deleted_at = ? WHERE id = ? AND tenant_id = ?", (now, workflow.id, self._tenant)
        )

    def _name_is_free(self, workflow: Workflow) -> None:
        taken = self._sql.one(
            "SELECT 1 FROM workflows WHERE tenant_id = ? AND name = ? AND deleted_at IS NULL AND id <> ?",
            (self._tenant, workflow.name, workflow.id),
        )
        if taken:
            raise Fault(
                "conflict",
                f"there is a workflow '{workflow.name}' already",
                field="name",
                hint="update it, or choose another name",
            )

    def _add_version(self, workflow: Workflow) -> None:
        self._sql.run(
            "INSERT INTO workflow_versions (workflow_id, version, inputs, outputs, graph, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                workflow.id,
                workflow.version,
                inputs_text(workflow.inputs),
                json_text(workflow.outputs),
                workflow.graph,
                workflow.updated_at,
            ),
        )
