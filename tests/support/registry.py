"""The registry, spoken by hand: every answer is checked against what its envelope promises."""

from __future__ import annotations

from typing import Any

import requests

from comfyone.errors import FAULTS
from tests.support.v1 import V1

__all__ = ["Registry"]

LOUD = (401, 403, 429, 500, 503)


class Registry:
    """One key's view of the registry."""

    def __init__(self, v1: V1) -> None:
        self._v1 = v1

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> dict[str, Any]:
        """An answer in its envelope."""
        return envelope(self._v1.raw(method, path, json=json, **options))

    def data(self, method: str, path: str, json: Any = None) -> Any:
        """What a success holds."""
        answer = self.call(method, path, json)
        assert answer["code"] == 0, answer
        return answer["data"]

    def refused(self, method: str, path: str, json: Any = None, **options: Any) -> dict[str, Any]:
        """The envelope of a refusal, which comes with HTTP 200."""
        response = self._v1.raw(method, path, json=json, **options)
        answer = envelope(response)
        assert response.status_code == 200, response.text
        assert answer["code"] == 1, answer
        return answer

    def add(self, app_id: str, instance_id: str, **more: Any) -> dict[str, Any]:
        body = {"app_id": app_id, "instance_id": instance_id, **more}
        return dict(self.data("POST", "/v1/backends", body))

    def chosen(self, app_id: str, **params: str) -> list[str]:
        """The instance ids that the app's policy chooses."""
        answer = self.call("GET", f"/v1/{app_id}/backends", params=params)
        assert answer["code"] == 0, answer
        return [record["instance_id"] for record in answer["data"]]


def envelope(response: requests.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json", response.headers
    answer = dict(response.json())
    assert answer["msg"]
    assert "data" in answer
    if answer["code"] == 0:
        assert response.status_code == 200
        assert answer.keys() == {"code", "msg", "data"}
    else:
        assert answer["code"] == 1
        assert answer["data"] is None
        assert answer["request_id"] == response.headers["X-Request-Id"]
        status = FAULTS[answer["error"]].status
        assert response.status_code == (status if status in LOUD else 200)
    return answer
