"""What stands at the edge of a request: keys in strange paths, strange forms, ranges of what could be compressed."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Tenant
from tests.support.v1 import V1


@pytest.mark.parametrize("rest", ["/%0Aqueue", "/queue%0A", "/%0D%0A", "/a%00b"])
def test_a_key_in_the_path_is_taken_out_whatever_follows(acme: Tenant, rest: str) -> None:
    answer = V1(acme.url, None).raw("GET", f"/k/{acme.secret}{rest}")
    assert answer.status_code == 404  # and neither 401 nor the key; the log is looked through when the gateway ends
    assert acme.secret not in answer.text


@pytest.mark.parametrize("path", ["/v1/files", "/api/v2/assets", "/upload/image"])
@pytest.mark.parametrize("boundary", ["x" * 300, "", "y" * 70])
def test_a_form_with_a_strange_boundary_is_no_form(acme: Tenant, path: str, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = acme.raw("POST", path, headers=headers, data=b"--" + boundary.encode() + b"\r\nnonsense")
    assert answer.status_code in (400, 422)


def test_a_part_of_a_file_is_the_part_of_its_plain_bytes(acme: Tenant) -> None:
    content = b"a line of text\n" * 800
    path = acme.upload("lines.txt", content, "text/plain").data["url"]
    whole = acme.raw("GET", path, headers={"Accept-Encoding": "gzip"})
    part = acme.raw("GET", path, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-4999"})
    assert "Content-Encoding" not in {**whole.headers, **part.headers}
    assert (whole.content, part.content) == (content, content[:5000])
    assert part.status_code == 206


@pytest.mark.parametrize("limit", [2**63, 10**30, 1_000_001, 0])
def test_a_policy_takes_no_limit_that_makes_no_sense(acme: Tenant, limit: int) -> None:
    answer = acme.raw("PATCH", "/v1/some-app/policy", json={"policy_type": "random", "limit": limit})
    assert (answer.status_code, answer.json()["code"]) == (200, 1)
