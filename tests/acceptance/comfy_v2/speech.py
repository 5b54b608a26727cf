"""Comfy API v2 spoken by hand: every answer is checked against what the dialect promises of all of them."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from blake3 import blake3
from comfy_low.models import Asset as AssetModel
from comfy_low.models import Job as JobModel
from requests.structures import CaseInsensitiveDict

from tests.graphs import Graph

__all__ = ["TERMINAL", "V2", "Answer", "Frame", "form", "hash_of", "reference"]

TERMINAL = ("succeeded", "failed", "canceled", "expired")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,200}")

Frame = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: CaseInsensitiveDict[str]

    def given(self, status: int = 200) -> Any:
        assert self.status == status, (self.status, self.body)
        return self.body

    def refused(self, status: int, code: str) -> dict[str, Any]:
        """Asserts that it is this refusal; returns the error."""
        assert (self.status, self.body.get("error", {}).get("code")) == (status, code), (self.status, self.body)
        return dict(self.body["error"])


class V2:
    """One key's view of a gateway. ``base`` is what a client would be told: scheme, host and whatever prefix."""

    def __init__(self, base: str, key: str | None) -> None:
        self.base = base
        self.key = key
        self.session = requests.Session()
        self.session.trust_env = False
        if key is not None:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        self.session.close()

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.base}/api/v2{path}", timeout=30, allow_redirects=False, **options)

    def call(self, method: str, path: str, **options: Any) -> Answer:
        return _read(self.raw(method, path, **options))

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return self.call("POST", path, json=json, **options)

    # jobs

    def submitting(self, workflow: Any, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """The answer to a submission, whatever it is."""
        return self.post("/jobs", {"workflow": workflow, **fields}, headers=dict(headers or {}))

    def submit(self, workflow: Graph, **fields: Any) -> dict[str, Any]:
        return dict(self.submitting(workflow, {"Idempotency-Key": str(uuid.uuid4())}, **fields).given(201))

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/jobs/{job_id}").given())

    def reaches(self, job_id: str, *statuses: str, seconds: float = 30) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (job := self.job(job_id))["status"] not in statuses:
            assert time.monotonic() < end, job
            assert job["status"] not in TERMINAL, job
            time.sleep(0.03)
        return job

    def run(self, workflow: Graph, **fields: Any) -> dict[str, Any]:
        """A job at its end."""
        return self.reaches(self.submit(workflow, **fields)["id"], *TERMINAL)

    def ids(self, **query: Any) -> list[str]:
        """The ids of all jobs, over as many pages as there are."""
        found: list[str] = []
        cursor = None
        while True:
            page = self.get("/jobs", params={**query, **({"cursor": cursor} if cursor else {})}).given()
            found += [job["id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
            if not cursor:
                return found

    @contextmanager
    def events(self, job_id: str) -> Iterator[Iterator[Frame]]:
        with self.raw("GET", f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.headers["Cache-Control"] == "no-cache"
            assert "Content-Encoding" not in answer.headers
            yield _frames(answer)

    def told(self, job_id: str) -> list[Frame]:
        """All that a stream tells, to its end."""
        with self.events(job_id) as frames:
            return list(frames)

    # assets

    def upload(self, content: bytes, name: str = "photo.png", **fields: Any) -> Answer:
        body, kind = form([("content_type", "image/png"), ("file_path", name), *fields.items()], content)
        return self.call("POST", "/assets", data=body, headers={"Content-Type": kind})

    def asset(self, content: bytes, name: str = "photo.png") -> dict[str, Any]:
        answer = self.upload(content, name)
        assert answer.status in (200, 201), answer.body
        return dict(answer.body)

    def from_hash(self, hash: str, name: str | None = "photo.png", **fields: Any) -> Answer:
        return self.post("/assets/from-hash", {"hash": hash, **({"file_path": name} if name else {}), **fields})

    def knows(self, hash: str) -> bool:
        answer = self.raw("HEAD", f"/assets/by-hash/{hash}")
        assert answer.status_code in (200, 404), answer.status_code
        assert answer.content == b""
        return answer.status_code == 200

    def content(self, asset_id: str, span: str | None = None) -> requests.Response:
        headers = {"Accept-Encoding": "gzip, deflate", **({"Range": f"bytes={span}"} if span else {})}
        return self.raw("GET", f"/assets/{asset_id}/content", headers=headers)


def hash_of(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


def reference(asset_id: str, **info: Any) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": asset_id, **info}}


def form(
    fields: list[tuple[str, str]], content: bytes | None, *, first: bool = False, filename: bytes = b"x.png"
) -> tuple[bytes, str]:
    """A multipart body with its content type; the file last, or first."""
    texts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields
    ]
    file = []
    if content is not None:
        head = (
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: image/png\r\n\r\n'
        )
        file = [head % filename + content + b"\r\n"]
    parts = [*file, *texts] if first else [*texts, *file]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def _read(response: requests.Response) -> Answer:
    assert "X-Comfy-Error-Type" not in response.headers
    if response.status_code == 204:
        assert response.content == b""
        return Answer(204, None, response.headers)
    assert response.headers["Content-Type"] == "application/json", response.headers
    body = response.json()
    if response.status_code >= 400:
        assert body.keys() == {"error"}
        error = body["error"]
        assert error.keys() == {"code", "message", "details"}
        assert 0 < len(error["message"]) <= 256
        assert "\n" not in error["message"]
        assert error["details"] is None or isinstance(error["details"], dict)
        assert _REQUEST_ID.fullmatch(response.headers["X-Comfy-Request-Id"])
        if response.status_code == 429:
            assert int(response.headers["Retry-After"]) >= 1
    elif "urls" in body:
        _check_job(body)
    elif "url" in body:
        AssetModel.model_validate(body)
        assert _MOMENT.fullmatch(body["created_at"])
        assert _MOMENT.fullmatch(body["url_expires_at"])
    return Answer(response.status_code, body, response.headers)


def _check_job(body: dict[str, Any]) -> None:
    JobModel.model_validate(body)  # the official client's own idea of it
    for name in ("created_at", "expires_at", "started_at", "completed_at"):
        assert body[name] is None or _MOMENT.fullmatch(body[name]), body
    assert (body["completed_at"] is not None) == (body["status"] in TERMINAL)
    assert all("/api/" in link and link.startswith("/") for link in body["urls"].values())


def _frames(answer: requests.Response) -> Iterator[Frame]:
    kind = ""
    for line in answer.iter_lines(chunk_size=1):
        line.decode("ascii")
        name, _, value = line.partition(b": ")
        if name == b"event":
            kind = value.decode()
        elif name == b"data":
            yield kind, json.loads(value)
        else:
            assert not line or line.startswith(b":"), line
