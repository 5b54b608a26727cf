"""Links that lead the caller back the way it came: through the same prefix, and the mount that the operator has named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import Scope

from comfyone.gateway.dialects.edge import prefix_of
from comfyone.gateway.dialects.headers import header_of

__all__ = ["Links"]

BASE = "/api/v2"
_HOST = re.compile(r"[A-Za-z0-9._~\[\]:-]{1,255}")


class Links:
    """The links in one answer.

    Those of jobs are paths from the host on, which a client resolves against its own base URL and so sends its key along,
    whatever names lead here. Files have absolute addresses. A caller that came through ``/k/{key}`` can't come otherwise: its
    links go there too. Nobody else's hold a key.

    Args:
        public_url: Where the outside world finds the gateway; None: where the request says that it found it.
    """

    def __init__(self, scope: Scope, public_url: str | None) -> None:
        root = public_url.rstrip("/") if public_url else _root_of(scope)
        self._path = f"{urlsplit(root).path}{prefix_of(scope)}{BASE}"
        self._absolute = f"{root}{prefix_of(scope)}{BASE}"

    def job(self, job_id: str) -> Mapping[str, str]:
        own = f"{self._path}/jobs/{job_id}"
        return {"self": own, "events": f"{own}/events", "cancel": f"{own}/cancel"}

    def content(self, asset_id: str) -> str:
        return f"{self._absolute}/assets/{asset_id}/content"


def _root_of(scope: Scope) -> str:
    host = header_of(scope, b"host") or ""
    if not _HOST.fullmatch(host):
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scope.get('scheme', 'http')}://{host}"
