"""stand-in"""

from __future__ import annotations

from collections.abc import Iterable

from comfyone.gateway.domain.placement import Share

__all__ = ["Ledger"]


class Ledger:
    def shares(self, active: Iterable[tuple[str, float, int | None]]) -> list[Share]:
        return [Share(t, w, 0.0, r) for t, w, r in active]

    def charge(self, tenant_id: str, seconds: float) -> None: ...
    def settle(self, tenant_id: str, expected: float, actual: float) -> None: ...
