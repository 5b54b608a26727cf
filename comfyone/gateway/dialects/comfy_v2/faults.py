"""How this vocabulary names what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyone.errors import Fault

__all__ = ["CODES", "Refusal", "code_of", "status_of"]

CODES: Mapping[str, tuple[int, str]] = {
    "invalid_json": (400, "invalid_request"),
    "invalid_body": (400, "invalid_request"),
    "missing_key": (401, "unauthorized"),
    "invalid_key": (401, "unauthorized"),
    "revoked_key": (401, "unauthorized"),
    "expired_key": (401, "unauthorized"),
    "budget_spent": (402, "insufficient_credits"),
    "scope_missing": (403, "forbidden"),
    "class_forbidden": (403, "forbidden"),
    "not_found": (404, "not_found"),
    "method_not_allowed": (405, "method_not_allowed"),
    "hash_mismatch": (409, "hash_mismatch"),
    "in_use": (409, "asset_in_use"),
    "too_large": (413, "payload_too_large"),
    "quota_exceeded": (413, "payload_too_large"),
    "range_unsatisfiable": (416, "range_not_satisfiable"),
    "bad_file_name": (422, "invalid_request"),
    "conflict": (422, "invalid_request"),
    "asset_unknown": (422, "missing_asset"),
    "idempotency_mismatch": (422, "idempotency_key_reuse"),
    "invalid_graph": (422, "invalid_workflow"),
    "invalid_input": (422, "invalid_workflow"),
    "queue_full": (429, "queue_full"),
    "rate_limited": (429, "rate_limited"),
    "no_backend": (503, "upstream_unreachable"),
    "unavailable": (503, "upstream_unreachable"),
}
"""HTTP status and code of every fault that can be told; any other is ours."""

OURS = (500, "upstream_error")

_SLUGS = {400: "invalid_body", 404: "not_found", 422: "invalid_input", 429: "rate_limited"}


class Refusal(Fault):
    """A fault that has a code of its own here.

    Args:
        status: 400, 404, 422 or 429.
        details: For a program to read.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(_SLUGS[status], message, retry_after=retry_after)
        self.code = code
        self.details = details


def code_of(fault: Fault) -> str:
    return fault.code if isinstance(fault, Refusal) else CODES.get(fault.slug, OURS)[1]


def status_of(slug: str) -> int:
    return CODES.get(slug, OURS)[0]
