"""The names of a tenant's files: every statement here carries the tenant's id (law 7)."""

from __future__ import annotations

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset
from comfyone.gateway.domain.folders import Folder, NamedFile
from comfyone.gateway.storage.rows import ASSET, FIRST_EXPIRY, NO_RESULT, UNNAMED, UNUSED, asset_of, columns_of
from comfyone.gateway.storage.sql import Row, TenantSql

__all__ = ["SqlFolders"]

_NAMED = (
    f"SELECT f.path, f.created_at, f.modified_at, {columns_of('a', ASSET)} FROM folders f "
    "JOIN assets a ON a.id = f.asset_id AND a.tenant_id = f.tenant_id WHERE f.tenant_id = ? AND f.folder = ? "
)
_KEPT = "folders.asset_id = excluded.asset_id AND folders.uploaded = 0 AND excluded.uploaded = 1"
"""The name keeps the same file already."""

LAST = "\U0010ffff"
"""Sorts behind everything that a path can begin with."""


class SqlFolders(TenantSql):
    """See `comfyone.gateway.ports.FolderDoor`."""

    def find(self, folder: Folder, path: str) -> NamedFile | None:
        row = self._sql.one(f"{_NAMED} AND f.path = ?", (self._tenant, folder, path))
        return _named(row) if row else None

    def all(self, folder: Folder, below: str = "") -> list[NamedFile]:
        """The files of a folder, or of one within it, by path."""
        first, last = (f"{below}/", f"{below}/{LAST}") if below else ("", LAST)
        rows = self._sql.all(
            f"{_NAMED} AND f.path >= ? AND f.path < ? ORDER BY f.path", (self._tenant, folder, first, last)
        )
        return [_named(row) for row in rows]

    def put(
        self,
        folder: Folder,
        path: str,
        asset: Asset,
        now: float,
        most: int,
        *,
        until: float | None = None,
        uploaded: bool = False,
    ) -> None:
        """Gives a name to an asset of the tenant, which keeps it ``until`` a moment, or for good; the one that had it is let go.
        One that came with an asset that was ``uploaded`` goes with it, and keeps nothing.

        Raises:
            Fault: ``quota_exceeded`` when the tenant has ``most`` names there; ``conflict`` when the path leads through a file.
        """
        earlier = self.find(folder, path)
        if earlier is None:
            self._check_new(folder, path, most)
        self._sql.run(
            "INSERT INTO folders (tenant_id, folder, path, asset_id, created_at, modified_at, uploaded, expires_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, folder, path) DO UPDATE SET "
            "asset_id = excluded.asset_id, modified_at = excluded.modified_at, "
            f"uploaded = CASE WHEN {_KEPT} THEN 0 ELSE excluded.uploaded END, "
            f"expires_at = CASE WHEN {_KEPT} THEN folders.expires_at ELSE excluded.expires_at END",
            (self._tenant, folder, path, asset.id, now, now, int(uploaded), until),
        )
        self._sql.run(
            f"UPDATE assets SET expires_at = {FIRST_EXPIRY} WHERE id = ? AND tenant_id = ? AND uploaded = 0",
            (asset.id, self._tenant),
        )
        if earlier is not None and earlier.asset.id != asset.id:
            self._let_go(earlier.asset.id)

    def move(self, folder: Folder, path: str, new_path: str, now: float, most: int) -> None:
        """Gives a file another name; the one that had it is let go."""
        file = self.find(folder, path)
        if file is not None and path != new_path:
            uploaded, until = self._keeping(folder, path)
            self.put(folder, new_path, file.asset, now, most, until=until, uploaded=uploaded)
            self._sql.run(
                "DELETE FROM folders WHERE tenant_id = ? AND folder = ? AND path = ?", self._key(folder, path)
            )

    def delete(self, folder: Folder, path: str) -> bool:
        """Takes a name away, and the file if nothing else needs it. Returns whether there was one."""
        file = self.find(folder, path)
        if file is None:
            return False
        self._sql.run("DELETE FROM folders WHERE tenant_id = ? AND folder = ? AND path = ?", self._key(folder, path))
        self._let_go(file.asset.id)
        return True

    def _check_new(self, folder: Folder, path: str, most: int) -> None:
        row = self._sql.one(
            "SELECT COUNT(*) FROM (SELECT 1 FROM folders WHERE tenant_id = ? AND folder = ? LIMIT ?)",
            (self._tenant, folder, most),
        )
        if row and row[0] >= most:
            raise Fault("quota_exceeded", f"the folder '{folder}' has {most:,} files already")
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if any(self.find(folder, one) for one in above) or self.all(folder, path):
            raise Fault("conflict", f"'{path}' is a folder, or leads through a file", field="file")

    def _let_go(self, asset_id: str) -> None:
        """Forgets an asset that only its name kept; one that a job waits for goes when that has ended."""
        idle = f"WHERE id = ? AND tenant_id = ? AND uploaded = 0 AND {NO_RESULT} AND {UNNAMED}"
        self._sql.run(f"UPDATE assets SET expires_at = 0 {idle}", (asset_id, self._tenant))
        self._sql.run(f"DELETE FROM assets {idle} AND {UNUSED}", (asset_id, self._tenant))

    def _keeping(self, folder: Folder, path: str) -> tuple[bool, float | None]:
        row = self._sql.one(
            "SELECT uploaded, expires_at FROM folders WHERE tenant_id = ? AND folder = ? AND path = ?",
            self._key(folder, path),
        )
        assert row is not None
        return bool(row[0]), row[1]

    def _key(self, folder: Folder, path: str) -> tuple[str, str, str]:
        return self._tenant, folder, path


def _named(row: Row) -> NamedFile:
    path, created_at, modified_at, *asset = row
    return NamedFile(path, asset_of(tuple(asset)), created_at, modified_at)
