"""ComfyUI's own web page, if its package is installed beside us."""

from __future__ import annotations

import os
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, PlainTextResponse, Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.routing import Call, Route

__all__ = ["page_folder", "page_routes", "scripts"]

PACKAGE = "comfyui_frontend_package"
_GREETING = "comfyone: ComfyUI's clients are served here; install comfyone[web] for its page.\n"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".webp": "image/webp", ".json": "application/json"}


def page_folder() -> Path | None:
    """Where the page lies; None when it is not installed."""
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "static" if spec and spec.origin else None
    return folder if folder and (folder / "index.html").is_file() else None


@cache
def scripts() -> tuple[str, ...]:
    """The extensions that come with the page, by their addresses."""
    folder = page_folder()
    found = sorted((folder / "extensions").rglob("*.js")) if folder else []
    return tuple(f"/{path.relative_to(folder).as_posix()}" for path in found if folder)


def page_routes() -> tuple[Route, ...]:
    """The page at ``/`` and all that lies beside it, for everybody: it holds nothing of anybody's."""
    folder = page_folder()

    async def index(call: Call) -> Response:
        if folder is None:
            return PlainTextResponse(_GREETING)
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    root = Route("GET", "/", index, "ComfyUI's page", media="text/html", open=True, described=False)
    names = sorted(folder.iterdir()) if folder else []
    return (root, *(_route(name) for name in names))


def _route(place: Path) -> Route:
    path = f"/{place.name}/{{path:path}}" if place.is_dir() else f"/{place.name}"
    handler = partial(_file, place)
    return Route("GET", path, handler, "A part of ComfyUI's page", open=True, described=False)


async def _file(place: Path, call: Call) -> Any:
    path = _find(place, call.request.path_params.get("path", ""))
    if path is None:
        raise Fault("not_found", f"{call.request.scope['path'][:200]} is not here")
    return FileResponse(path, media_type=_TYPES.get(path.suffix), headers={"Cache-Control": "max-age=3600"})


def _find(place: Path, below: str) -> Path | None:
    """A file of the page, and of nothing else, whatever the path says."""
    path = Path(os.path.realpath(place / below if below else place))
    return path if path.is_relative_to(os.path.realpath(place)) and path.is_file() else None
