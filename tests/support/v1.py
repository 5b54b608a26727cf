"""The v1 dialect, spoken by hand: every answer is checked against what the dialect promises of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from comfyone.errors import FAULTS

__all__ = ["V1", "Answer"]

NO_BACKEND = 2006
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Answer:
    """A JSON answer in its envelope."""

    status: int
    body: dict[str, Any]
    headers: requests.structures.CaseInsensitiveDict[str]

    @property
    def data(self) -> Any:
        assert self.body["code"] == 0, self.body
        return self.body["data"]

    def fails(self, slug: str, field: str | None = None) -> dict[str, Any]:
        """Asserts that it is this fault, about this field if one is named; returns the body."""
        assert self.body.get("error") == slug, self.body
        if field is not None:
            assert self.body.get("field") == field, self.body
        return self.body


class V1:
    """One key's view of a gateway."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.key = key
        self._session = requests.Session()
        self._session.trust_env = False
        if key is not None:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        self._session.close()

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer as it came."""
        return self._session.request(method, self.url + path, timeout=30, allow_redirects=False, **options)

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """A JSON answer, its envelope checked."""
        return read(self.raw(method, path, **options))

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return self.call("POST", path, json=json, **options)

    def patch(self, path: str, json: Any) -> Answer:
        return self.call("PATCH", path, json=json)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def register(self, instance_id: str, **more: Any) -> dict[str, Any]:
        return dict(self.post("/v1/backends", {"instance_id": instance_id, **more}).data)

    def workflow(
        self, graph: Any, inputs: list[dict[str, Any]] | None = None, outputs: list[str] | None = None, name: str = "w"
    ) -> dict[str, Any]:
        """Stores a workflow; its output is node 3 unless told otherwise."""
        body = {"name": name, "inputs": inputs or [], "outputs": outputs or ["3"], "workflow": graph}
        return dict(self.post("/v1/workflows", body).data)

    def upload(self, name: str, content: bytes, mime: str = "application/octet-stream") -> Answer:
        return self.post("/v1/files", files={"file": (name, content, mime)})

    def submit(self, body: dict[str, Any], path: str = "/v1/prompts", **options: Any) -> str:
        return str(self.post(path, body, **options).data["taskId"])

    def status(self, job: str, wait: float = 0) -> dict[str, Any]:
        return dict(self.get(f"/v1/prompts/{job}/status", params={"wait": wait} if wait else None).data)

    def ended(self, job: str, wait: float = 20) -> dict[str, Any]:
        """The status of a job at its end."""
        status = self.status(job, wait)
        assert status["state"] in TERMINAL, status
        return status

    def everything(self) -> dict[str, Any]:
        """What the tenant has: the same before and after whatever must not change it."""
        jobs = self.get("/v1/prompts/history", params={"limit": 200}).data
        return {
            "backends": [backend["name"] for backend in self.get("/v1/backends").data],
            "workflows": [(workflow["id"], workflow["version"]) for workflow in self.get("/v1/workflows").data],
            "jobs": {job["id"]: job["state"] for job in jobs},
        }


def read(response: requests.Response) -> Answer:
    """Checks an answer's envelope, which is the same for all routes and all faults."""
    assert response.headers["content-type"] == "application/json", response.headers
    body = response.json()
    assert isinstance(body, dict)
    assert type(body["code"]) is int
    assert body["msg"] == body["message"] != ""
    assert "data" in body
    assert response.headers["X-Request-Id"]
    assert response.headers["X-ComfyOne"]
    if body["code"] == 0:
        assert response.status_code == 200
        assert "error" not in body
    else:
        kind = FAULTS[body["error"]]
        assert response.status_code == kind.status
        assert body["code"] == (NO_BACKEND if body["error"] == "no_backend" else kind.status)
        assert body["data"] is None
        assert body["hint"]
        assert len(response.content) < 4000, "an answer does not send back what was too long"
        assert body["request_id"] == response.headers["X-Request-Id"]
    return Answer(response.status_code, body, response.headers)
