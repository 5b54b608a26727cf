"""Lists of jobs in Comfy API v2: pages, labels, statuses."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import closing
from urllib.parse import quote, quote_plus, urlsplit

import pytest

from tests.acceptance.comfy_v2.speech import V2
from tests.graphs import failing, sleeping, tiny

BROKEN = (
    "metadata[a]=1&metadata[b]=1&metadata[c]=1&metadata[d]=1",
    "metadata[a]=1&metadata[a]=1",
    "metadata[a]=1&metadata%5Ba%5D=2",
    "metadata[a%20b]=1",
    "metadata[]=1",
    "metadata[:priority]=1",
    "metadata[a]=%zz",
    "metadata[a]=%4",
    "metadata[a]=1;limit=2",
    "metadata[a]=%ff",
    "metadata[a]=%07",
    f"metadata[a]={'x' * 257}",
    f"metadata[{'k' * 41}]=x",
)


def test_pages_are_newest_first_and_hold_each_job_once(v2: V2) -> None:
    made = [v2.submit(tiny(color=n))["id"] for n in range(7)]
    assert v2.ids() == made[::-1]
    for limit in (1, 2, 3, 7, 100):
        assert v2.ids(limit=limit) == made[::-1]
    first = v2.get("/jobs", params={"limit": 3}).given()
    assert [job["id"] for job in first["jobs"]] == made[:3:-1]
    newer = v2.submit(tiny(color=99))["id"]
    rest = v2.get("/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).given()
    assert [job["id"] for job in rest["jobs"]] == made[3:0:-1], "what came meanwhile moves nothing"
    assert v2.ids()[0] == newer
    assert v2.get("/jobs", params={"limit": 8}).given()["next_cursor"] is None


def test_an_item_says_when_it_came_and_changed(v2: V2) -> None:
    job = v2.run(tiny(), metadata={"a": "b"})
    [item] = v2.get("/jobs").given()["jobs"]
    assert (item["id"], item["status"], item["metadata"]) == (job["id"], "succeeded", {"a": "b"})
    assert item["create_time"] == job["created_at"]
    assert item["update_time"] == job["completed_at"]
    assert all(re.fullmatch(r"[0-9T:.-]+Z", item[name]) for name in ("create_time", "update_time"))
    assert item["deployment_id"] is None


def test_labels_narrow_a_list_to_those_that_have_all_of_them(v2: V2, other: V2) -> None:
    labels = [
        {"client": "acme corp", "run": "1"},
        {"client": "acme corp", "run": "2", "x": "ü&="},
        {"client": "else", "run": "1"},
        {},
        {"client": "acme corp", "run": "1", "x": ""},
    ]
    made = [v2.submit(tiny(color=n), metadata=one)["id"] for n, one in enumerate(labels)]
    other.submit(tiny(), metadata=labels[0])
    assert v2.ids(**{"metadata[client]": "acme corp"}) == [made[4], made[1], made[0]]
    assert v2.ids(limit=1, **{"metadata[client]": "acme corp"}) == [made[4], made[1], made[0]]
    assert v2.ids(limit=1, **{"metadata[client]": "acme corp", "metadata[run]": "1"}) == [made[4], made[0]]
    assert v2.ids(**{"metadata[client]": "acme corp", "metadata[run]": "1", "metadata[x]": ""}) == [made[4]]
    assert v2.ids(**{"metadata[x]": "ü&="}) == [made[1]]
    assert v2.ids(**{"metadata[client]": "ACME corp"}) == []
    written = f"{quote('metadata[client]')}={quote_plus('acme corp')}&limit=2"
    assert len(v2.get(f"/jobs?{written}").given()["jobs"]) == 2


@pytest.mark.parametrize("query", BROKEN)
def test_filters_that_make_no_sense_are_refused(bare: V2, query: str) -> None:
    address = urlsplit(bare.base)
    with closing(
        http.client.HTTPConnection(address.hostname or "", address.port)
    ) as connection:  # which mends no query
        connection.request("GET", f"/api/v2/jobs?{query}", headers={"Authorization": f"Bearer {bare.key}"})
        answer = connection.getresponse()
        assert answer.status == 400
        assert json.loads(answer.read())["error"]["code"] == "invalid_metadata_filter"


def test_a_cursor_is_good_for_the_list_that_it_came_from_alone(v2: V2, other: V2) -> None:
    for number in range(3):
        v2.submit(tiny(color=number), metadata={"a": "b"})
    cursor = v2.get("/jobs", params={"limit": 1}).given()["next_cursor"]
    narrow = v2.get("/jobs", params={"limit": 1, "metadata[a]": "b"}).given()["next_cursor"]
    assert v2.get("/jobs", params={"cursor": cursor, "limit": 2}).given()["jobs"], "of another size it may be"
    v2.get("/jobs", params={"cursor": narrow}).refused(400, "invalid_cursor")
    v2.get("/jobs", params={"cursor": cursor, "metadata[a]": "b"}).refused(400, "invalid_cursor")
    v2.get("/jobs", params={"cursor": cursor, "status": "queued"}).refused(400, "invalid_cursor")
    other.get("/jobs", params={"cursor": cursor}).refused(400, "invalid_cursor")
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for bad in (changed, cursor[:-4], "x", "AAAA", "ü", "0", cursor + "AAAA"):
        v2.get("/jobs", params={"cursor": bad}).refused(400, "invalid_cursor")


def test_limits_and_statuses_that_make_no_sense_are_refused(bare: V2) -> None:
    for limit in ("0", "101", "-1", "x", "1.5", "²", "9" * 30):
        bare.get("/jobs", params={"limit": limit}).refused(400, "invalid_request")
    for status in ("done", "queued,done", "SUCCEEDED"):
        bare.get("/jobs", params={"status": status}).refused(400, "invalid_request")
    assert bare.get("/jobs").given() == {"jobs": [], "next_cursor": None}


def test_statuses_narrow_a_list(v2: V2) -> None:
    done, failed = v2.run(tiny())["id"], v2.run(failing())["id"]
    running = v2.submit(sleeping(60))["id"]
    v2.reaches(running, "running")
    waiting = [v2.submit(tiny(color=n), metadata={"n": str(n)})["id"] for n in range(6)]
    v2.post(f"/jobs/{waiting[5]}/cancel").given()
    assert v2.ids(status="succeeded") == [done]
    assert v2.ids(status="failed,succeeded", limit=1) == [failed, done]
    assert v2.ids(status="running") == [running]
    assert v2.ids(status="queued") == waiting[4::-1]
    assert v2.ids(status="canceled") == [waiting[5]]
    assert v2.ids(status="canceling,expired") == []
    assert v2.ids(status="expired") == []
    assert v2.ids(status="queued,running,canceling,canceled,succeeded,failed,expired") == v2.ids()
    assert v2.ids(**{"status": "queued", "metadata[n]": "2"}) == [waiting[2]]
    for job_id in [*waiting, running]:
        v2.post(f"/jobs/{job_id}/cancel")
