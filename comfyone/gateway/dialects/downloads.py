"""Files as answers: streamed, cacheable by content hash, with Range, and never run by a browser as ours."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset

__all__ = ["file_response"]

_SHOWN = ("image/", "video/", "audio/")
"""Types that a browser may show in place; anything else, and SVG, which can hold scripts, is only for saving."""


def file_response(request: Request, asset: Asset, path: Path) -> Response:
    etag = f'"{asset.hash}"'
    shown = asset.mime.startswith(_SHOWN) and asset.mime != "image/svg+xml"
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(asset.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    known = request.headers.get("if-none-match", "")
    if etag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    if not path.is_file():
        raise Fault("not_found", f"the bytes of '{asset.name}' are gone", field="id")
    return FileResponse(path, media_type=asset.mime, headers=headers)
