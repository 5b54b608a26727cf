"""The files of one tenant: uploads, and what its jobs made. Every statement here carries the tenant's id."""

from __future__ import annotations

from collections.abc import Iterable

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset, Output
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.storage.rows import ASSET, FIRST_EXPIRY, asset_of, columns_of, output_of
from comfyone.gateway.storage.sql import TenantSql

__all__ = ["OUTPUTS", "SqlTenantFiles"]

OUTPUTS = (
    f"SELECT o.node_id, o.kind, o.name, o.value, o.file, {columns_of('a', ASSET)} "
    "FROM outputs o LEFT JOIN assets a ON a.id = o.asset_id AND a.tenant_id = :tenant WHERE o.job_id = :job ORDER BY o.position"
)
_NEW_ASSET = (
    "INSERT INTO assets (id, tenant_id, hash, name, mime, size, uploaded, created_at, expires_at, content, inline) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash, tenant_id, name) DO UPDATE SET expires_at = CASE "
    "WHEN excluded.uploaded = 0 THEN assets.expires_at WHEN assets.uploaded = 0 THEN excluded.expires_at "
    "WHEN excluded.expires_at > assets.expires_at OR excluded.expires_at IS NULL THEN excluded.expires_at "
    "ELSE assets.expires_at END, uploaded = CASE WHEN excluded.uploaded = 1 THEN 1 ELSE assets.uploaded END "
    f"RETURNING {ASSET}"
)
_BYTES = (
    "SELECT (SELECT COALESCE(SUM(size), 0) FROM assets WHERE tenant_id = :tenant AND inline = 1) + (SELECT COALESCE(SUM(size), 0) "
    "FROM (SELECT DISTINCT hash, size FROM assets WHERE tenant_id = :tenant AND inline = 0) AS held)"
)
_BYTES_AFTER = _BYTES.replace(":tenant", ":tenant AND created_at > :after")

MAX_NAMES = 1000
"""Names that a tenant may give one content; how much there is of all, the quota bounds."""


class SqlTenantFiles(TenantSql):
    """The part of `comfyone.gateway.ports.TenantDoor` that is about files."""

    def asset(self, asset_id: str) -> Asset:
        row = self._sql.one(f"SELECT {ASSET} FROM assets WHERE id = ? AND tenant_id = ?", (asset_id, self._tenant))
        if row is None:
            raise Fault("not_found", f"no file '{asset_id}'", field="id")
        return asset_of(row)

    def assets(self, asset_ids: Iterable[str]) -> dict[str, Asset]:
        """Those of the assets that the tenant has, by id."""
        ids = list(asset_ids)
        marks = ", ".join("?" * len(ids))
        rows = self._sql.all(
            f"SELECT {ASSET} FROM assets WHERE tenant_id = ? AND id IN ({marks})", (self._tenant, *ids)
        )
        return {row[0]: asset_of(row) for row in rows}

    def content(self, asset_id: str) -> tuple[Asset, bytes | None]:
        """An asset and its bytes, when they are few; None: they lie in the blob store."""
        asset = self.asset(asset_id)
        row = self._sql.one("SELECT content FROM assets WHERE id = ? AND tenant_id = ?", (asset_id, self._tenant))
        return asset, row[0] if row else None

    def add_asset(self, asset: Asset, *, uploaded: bool, content: bytes | None = None) -> Asset:
        """The asset; or the one the tenant has already with this content and name, kept as long as the longer of the two.

        Raises:
            Fault: ``quota_exceeded`` for an upload of a content that has `MAX_NAMES`.
        """
        if uploaded:
            self._check_names(asset)
        row = self._sql.one(
            _NEW_ASSET,
            (
                asset.id,
                self._tenant,
                asset.hash,
                asset.name,
                asset.mime,
                asset.size,
                int(uploaded),
                asset.created_at,
                asset.expires_at,
                content,
                int(content is not None),
            ),
        )
        assert row is not None
        return asset_of(row)

    def _check_names(self, asset: Asset) -> None:
        """Whoever uploads the same again has no more names than before."""
        names = "SELECT 1 FROM assets WHERE hash = ? AND tenant_id = ?"
        row = self._sql.one(f"SELECT COUNT(*) FROM ({names} LIMIT ?)", (asset.hash, self._tenant, MAX_NAMES))
        if row and row[0] >= MAX_NAMES and not self.holds(asset.hash, asset.name):
            raise Fault("quota_exceeded", f"this content has {MAX_NAMES:,} names already", field="file")

    def holds(self, hash: str, name: str | None = None) -> bool:
        """Whether the tenant has a file of this content, under this name if one is given."""
        statement, values = "SELECT 1 FROM assets WHERE tenant_id = ? AND hash = ? ", (self._tenant, hash)
        if name is None:
            return self._sql.one(f"{statement} LIMIT 1", values) is not None
        return self._sql.one(f"{statement} AND name = ?", (*values, name)) is not None

    def bytes_held(self, after: float | None = None) -> int:
        """The bytes of the tenant's files, or of those that came after a moment. What lies in the blob store is there once
        whatever its names; few bytes lie with every name anew."""
        row = self._sql.one(_BYTES if after is None else _BYTES_AFTER, {"tenant": self._tenant, "after": after})
        assert row is not None
        return int(row[0])

    def delete_asset(self, asset_id: str) -> Asset:
        """Names that keep the file have it from then on under an id that nobody knows."""
        asset = self.asset(asset_id)
        users = self._sql.one("SELECT job_id FROM asset_uses WHERE asset_id = ? LIMIT 1", (asset_id,))
        if users is not None:
            raise Fault("in_use", f"job '{users[0]}' needs '{asset.name}'", field="id")
        if self._end_upload(asset_id):
            hidden = (new_id(), asset_id, self._tenant)
            self._sql.run("UPDATE assets SET id = ? WHERE id = ? AND tenant_id = ?", hidden)
            self._sql.run("UPDATE folders SET asset_id = ? WHERE asset_id = ? AND tenant_id = ?", hidden)
        else:
            self._sql.run("DELETE FROM assets WHERE id = ? AND tenant_id = ?", (asset_id, self._tenant))
        return asset

    def _end_upload(self, asset_id: str) -> bool:
        """Takes away the names that came with an upload. Returns whether there are others, which keep it."""
        mine = (asset_id, self._tenant)
        self._sql.run("DELETE FROM folders WHERE asset_id = ? AND tenant_id = ? AND uploaded = 1", mine)
        self._sql.run(
            f"UPDATE assets SET uploaded = 0, expires_at = {FIRST_EXPIRY} WHERE id = ? AND tenant_id = ?", mine
        )
        return self._sql.one("SELECT 1 FROM folders WHERE asset_id = ? AND tenant_id = ? LIMIT 1", mine) is not None

    def upload(self, asset_id: str, now: float) -> Asset:
        """A file that was uploaded, or given a name, and whose time is not over; results of jobs are none."""
        row = self._sql.one(
            f"SELECT {ASSET} FROM assets WHERE id = ? AND tenant_id = ? AND uploaded = 1 "
            "AND (expires_at IS NULL OR expires_at > ?)",
            (asset_id, self._tenant, now),
        )
        if row is None:
            raise Fault("not_found", f"no file '{asset_id}'", field="id")
        return asset_of(row)

    def delete_upload(self, asset_id: str, now: float) -> None:
        """Deletes an `upload`; as the result of a job, and under names that it did not give, it stays.

        Raises:
            Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        self.upload(asset_id, now)
        if self._sql.one("SELECT 1 FROM outputs WHERE asset_id = ? LIMIT 1", (asset_id,)) is None:
            self.delete_asset(asset_id)
        else:
            self._end_upload(asset_id)

    def with_hash(self, hash: str, now: float) -> Asset | None:
        """A file of this content whose time is not over, if the tenant has one."""
        row = self._sql.one(
            f"SELECT {ASSET} FROM assets WHERE tenant_id = ? AND hash = ? AND (expires_at IS NULL OR expires_at > ?) "
            "ORDER BY id LIMIT 1",
            (self._tenant, hash, now),
        )
        return asset_of(row) if row else None

    def output(self, job_id: str, position: int) -> Output:
        """What a job produced, by its place among all of that."""
        mine = self._sql.one("SELECT 1 FROM jobs WHERE id = ? AND tenant_id = ?", (job_id, self._tenant))
        row = mine and self._sql.one(
            OUTPUTS.replace("ORDER BY o.position", "AND o.position = :position"),
            {"tenant": self._tenant, "job": job_id, "position": position},
        )
        if row is None:
            raise Fault("not_found", f"job '{job_id}' has no output {position}", field="id")
        return output_of(row)

    def delete_output(self, job_id: str, position: int) -> None:
        """Takes a file away from what a job produced; the file goes too, unless another job has it or it was uploaded as well.

        Raises:
            Fault: ``not_found``; ``in_use`` while a job that has not ended needs it.
        """
        asset = self.output(job_id, position).asset
        if asset is not None:
            others = self._sql.one(
                "SELECT 1 FROM outputs WHERE asset_id = ? AND NOT (job_id = ? AND position = ?) LIMIT 1",
                (asset.id, job_id, position),
            )
            kept = self._sql.one(
                "SELECT 1 FROM assets WHERE id = :asset AND uploaded = 1 UNION ALL "
                "SELECT 1 FROM folders WHERE asset_id = :asset LIMIT 1",
                {"asset": asset.id},
            )
            if not others and not kept:
                self.delete_asset(asset.id)
        self._sql.run(
            "UPDATE outputs SET asset_id = NULL, value = NULL WHERE job_id = ? AND position = ?", (job_id, position)
        )
