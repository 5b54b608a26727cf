"""The server as a whole: who is let in, what is refused, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import requests

from comfyone.gateway.dialects.comfyui import web
from tests.acceptance.comfyui.conftest import Native
from tests.support.gateway import GatewayProcess

ROUTES = [
    "/prompt",
    "/queue",
    "/history",
    "/object_info",
    "/system_stats",
    "/models",
    "/embeddings",
    "/extensions",
    "/features",
    "/users",
    "/settings",
    "/i18n",
    "/workflow_templates",
    "/global_subgraphs",
    "/v2/userdata",
]


@pytest.mark.seed("S5-46", "S5-57")
@pytest.mark.parametrize("path", ROUTES)
def test_every_route_wants_a_key_and_has_a_twin_under_api(comfyui: Native, path: str) -> None:
    assert comfyui.get(path) == comfyui.get(f"/api{path}")
    for url in (f"{comfyui.url}{path}", f"{comfyui.url}/api{path}"):
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(url, auth=("any", "wrong"), timeout=10).status_code == 401
        assert requests.get(url, auth=("any", comfyui.key), timeout=10).status_code == 200
    keyed = requests.get(f"{comfyui.url}/k/{comfyui.key}/api{path}", timeout=10)
    assert keyed.json() == comfyui.get(path)


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_wants_the_scope(comfyui: Native, path: str) -> None:
    assert comfyui.tenant.limited("webhooks").raw("GET", path).status_code == 403
    assert comfyui.tenant.limited("jobs").raw("GET", path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/internal/logs", "/internal/folder_paths", "/internal/files/output", "/api/internal/x"]
)
def test_what_is_the_hosts_own_is_refused_plainly(comfyui: Native, path: str) -> None:
    for method in ("GET", "POST", "PATCH"):
        answer = comfyui.raw(method, path)
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/nobody", "/api/nobody", "/v2/prompts", "/V1/backends", "/%2e%2e/etc", "/user.css"])
def test_what_is_not_there_is_a_plain_404(comfyui: Native, path: str) -> None:
    answer = comfyui.raw("GET", path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_features_say_how_large_an_upload_may_be(comfyui: Native) -> None:
    assert comfyui.get("/features") == {"supports_preview_metadata": True, "max_upload_size": 1_000_000}


async def test_without_its_page_the_root_says_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "page_folder", lambda: None)
    [root] = web.page_routes()
    answer = await root.handler(cast(Any, None))
    assert b"comfyone[web]" in answer.body


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that is built as that of ComfyUI's page."""
    folder = tmp_path_factory.mktemp("packages")
    static = folder / "comfyui_frontend_package" / "static"
    (static / "assets" / "lib").mkdir(parents=True)
    (static / "extensions" / "core").mkdir(parents=True)
    (static.parent / "__init__.py").write_text("")
    (static / "index.html").write_text("<html>the page</html>")
    (static / "assets" / "lib" / "a.mjs").write_text("export {}")
    (static / "extensions" / "core" / "x.js").write_text("1")
    (static / "style.css").write_text("a {}")
    (folder / "secret.txt").write_text("a secret")
    (static / "assets" / "way-out").symlink_to(folder)
    return folder


def test_the_page_is_served_where_its_package_is_installed(page: Path, tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "state", environment={"PYTHONPATH": f"{page}:{Path.cwd()}"}) as gateway:
        key = gateway.key("acme")
        for base in (gateway.url, f"{gateway.url}/k/{key}"):

            def get(path: str, base: str = base) -> requests.Response:
                return requests.get(base + path, timeout=10, headers={"X-API-Key": key})

            assert get("/").text == "<html>the page</html>"
            assert get("/index.html").text == "<html>the page</html>"
            assert get("/assets/lib/a.mjs").headers["content-type"].startswith("text/javascript")
            assert get("/style.css").headers["content-type"].startswith("text/css")
            assert get("/extensions").json() == ["/extensions/core/x.js"]
            for path in (
                "/assets/nobody",
                "/assets",
                "/assets/",
                "/assets/..%2f..%2f__init__.py",
                "/assets/way-out/secret.txt",
            ):
                assert get(path).status_code == 404, path
            assert get("/v1/nobody").json()["error"] == "not_found", "each dialect still refuses in its own words"
        assert requests.get(f"{gateway.url}/", timeout=10).status_code == 200
        led = requests.get(f"{gateway.url}/k/{key}", timeout=10)
        assert (led.url, led.text) == (f"{gateway.url}/k/{key}/", "<html>the page</html>")
        assert key not in gateway.log()
        assert requests.get(f"{gateway.url}/prompt", timeout=10).status_code == 401
