"""Links lead the caller back the way it came, and hold a key only where it came by one."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.comfy_v2.speech import V2
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import tiny
from tests.support.command import comfyone
from tests.support.pictures import png


def test_a_caller_with_a_header_gets_links_without_a_key(v2: V2) -> None:
    job, asset = v2.run(tiny()), v2.asset(png())
    assert str(v2.key) not in json.dumps([job, asset])
    assert job["urls"]["self"] == f"/api/v2/jobs/{job['id']}"
    assert asset["url"].startswith(v2.base + "/api/v2/assets/")
    assert job["outputs"][0]["url"].startswith(v2.base + "/api/v2/assets/")


def test_a_caller_by_the_path_gets_links_that_work_by_the_path(v2: V2) -> None:
    way = V2(f"{v2.base}/k/{v2.key}", None)
    job, asset = way.run(tiny()), way.asset(png())
    root = v2.base
    assert job["urls"]["self"] == f"/k/{v2.key}/api/v2/jobs/{job['id']}"
    assert way.session.get(root + job["urls"]["self"], timeout=10).json()["id"] == job["id"]
    assert way.session.post(root + job["urls"]["cancel"], timeout=10).status_code == 200
    assert way.session.get(root + job["urls"]["events"], timeout=10).status_code == 200
    for url in (asset["url"], job["outputs"][0]["url"]):
        assert way.session.get(url, timeout=10).status_code == 200
    assert str(v2.key) not in json.dumps(v2.job(job["id"])), "the same job, for who came otherwise"
    way.close()


def test_a_header_counts_more_than_the_path_and_the_way_stays(v2: V2) -> None:
    way = V2(f"{v2.base}/k/whatever", v2.key)
    job = way.submit(tiny())
    assert job["urls"]["self"] == f"/k/whatever/api/v2/jobs/{job['id']}"
    assert way.session.get(v2.base + job["urls"]["self"], timeout=10).status_code == 200
    way.close()


def test_absolute_links_have_the_name_that_the_caller_used(v2: V2) -> None:
    asset = v2.asset(png())
    port = urlsplit(v2.base).port
    named = v2.get(f"/assets/{asset['id']}", headers={"Host": f"localhost:{port}"}).given()
    assert named["url"].startswith(f"http://localhost:{port}/api/v2/")
    for host in ("a b", "x/y", "a@b", "é"):
        odd = v2.get(f"/assets/{asset['id']}", headers={"Host": host.encode()}).given()
        assert odd["url"].startswith("http://127.0.0.1:")
    trusted = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    assert "evil" not in json.dumps(v2.get(f"/assets/{asset['id']}", headers=trusted).given())


@pytest.mark.parametrize("mount", ["", "/tools/comfy"])
def test_a_public_address_is_what_links_begin_with(own_lab: MakeLab, mount: str) -> None:
    backend = own_lab(1, options=["--public-url", f"https://gw.example:8443{mount}/"])
    v2 = V2(backend.gateway.url, backend.key)
    job, asset = v2.run(tiny()), v2.asset(png())
    assert job["urls"]["events"] == f"{mount}/api/v2/jobs/{job['id']}/events"
    assert asset["url"] == f"https://gw.example:8443{mount}/api/v2/assets/{asset['id']}/content"
    assert job["outputs"][0]["url"].startswith(f"https://gw.example:8443{mount}/api/v2/assets/")
    way = V2(f"{v2.base}/k/{v2.key}", None)
    assert way.job(job["id"])["urls"]["self"] == f"{mount}/k/{v2.key}/api/v2/jobs/{job['id']}"
    way.close()
    v2.close()


def test_a_public_address_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    for url in ("gw.example", "ftp://gw.example", "https://gw.example/?a=b"):
        comfyone("gateway", "--public-url", url, "--state-dir", tmp_path / "s").fails(1, "public_url")
    assert not (tmp_path / "s").exists()
