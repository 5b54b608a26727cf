"""Tasks and workers, spoken by hand: every answer is checked against the document that is shipped."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import requests

from tests.support.schemas import misfits
from tests.support.v1 import V1
from tests.support.waiting import eventually

__all__ = ["DOCUMENT", "ENDED", "Tasks"]

DOCUMENT: dict[str, Any] = json.loads(
    files("comfyone.gateway.dialects.tasks_v1").joinpath("openapi.json").read_text(encoding="utf-8")
)
ENDED = ("completed", "failed", "cancelled")


class Tasks:
    """One key's view of the tasks and workers."""

    def __init__(self, v1: V1) -> None:
        self._v1 = v1
        self.seen: set[tuple[str, str, str]] = set()
        """Method, path and status of every answer that was checked."""

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """An answer, checked against what the document says of it, if it says anything."""
        response = self._v1.raw(method, path, **options)
        operation = DOCUMENT["paths"].get(_template(path), {}).get(method.lower())
        if operation is not None:
            told = operation["responses"][str(response.status_code)]["content"]["application/json"]["schema"]
            wrong = misfits(DOCUMENT, told, response.json())
            assert wrong == [], f"{method} {path}: {wrong}"
            self.seen.add((method.lower(), _template(path), str(response.status_code)))
        if response.status_code >= 400:
            body = response.json()
            assert body.keys() == {"error", "code", "message"}
            assert body["code"] == response.status_code
        return response

    def get(self, path: str, **options: Any) -> Any:
        response = self.raw("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self.raw(method, path, **options)
        assert response.status_code == status, response.text
        return dict(response.json())

    def submit(self, workflow_id: str, payload: Any, priority: int = 0) -> dict[str, Any]:
        body = {"workflow_id": workflow_id, "payload": payload, "priority": priority}
        response = self.raw("POST", "/api/v1/tasks", json=body)
        assert response.status_code == 201, response.text
        return dict(response.json())

    def task(self, task_id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/v1/tasks/{task_id}"))

    def reaches(self, task_id: str, *statuses: str, seconds: float = 30.0) -> dict[str, Any]:
        """The task, as soon as it is in one of these states."""

        def seen() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task["status"] in statuses else None

        found = eventually(seen, seconds)
        assert found is not None
        return found

    def ended(self, task_id: str) -> dict[str, Any]:
        return self.reaches(task_id, *ENDED)

    def cancel(self, task_id: str) -> requests.Response:
        return self.raw("DELETE", f"/api/v1/tasks/{task_id}")

    def download(self, path: str) -> bytes:
        response = self._v1.raw("GET", path)
        assert response.status_code == 200
        return response.content


def _template(path: str) -> str:
    """The path as the document spells it."""
    parts = path.partition("?")[0].split("/")
    if len(parts) == 5 and parts[3] in ("tasks", "workers") and parts[4] != "metrics":
        parts[4] = "{id}"
    return "/".join(parts)
