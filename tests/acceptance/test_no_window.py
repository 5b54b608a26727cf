"""Every route of every dialect × everything that another tenant has: the same answer as for what nobody has.

Made from the table of routes, so that none can be forgotten; `test_one_door` looks closer at v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from comfyone.gateway.dialects.roster import DIALECTS
from tests.acceptance.conftest import Tenant
from tests.graphs import slow, tiny
from tests.support.pictures import png
from tests.support.v1 import V1
from tests.support.waiting import eventually

UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"
PARAMETER = re.compile(r"{\w+(?::\w+)?}")
PLACES = sorted(
    {
        (method, path)
        for dialect in DIALECTS
        for route in dialect.routes
        for method, path in route.places
        if PARAMETER.search(path) and not path.startswith("/admin/")
    }
)
OF_ALL = ("date", "content-length", "x-request-id", "x-comfy-request-id", "etag")


def absent(key: str) -> str:
    """What nobody has, of the same form as a key."""
    if re.fullmatch(r"[0-9a-f-]{36}", key):
        return UNKNOWN
    stem, dot, suffix = key.rpartition(".")
    return re.sub(r"[0-9a-z]", lambda match: "7" if match[0].isdigit() else "e", stem or suffix) + (
        dot and dot + suffix
    )


@pytest.fixture
def keys(rival: Tenant, sandbox: Sandbox) -> list[str]:
    """Whatever leads to something of the rival's, in any dialect."""
    rival.register("their-gpu", url=sandbox.url, labels={"app": "their-app"})
    [worker] = rival.raw("GET", "/api/v1/workers").json()
    workflow = rival.workflow(slow(steps=200, seconds=0.1), name="their-workflow")
    asset = rival.upload("their-photo.png", png()).data
    webhook = rival.post("/v1/webhooks", {"url": "https://8.8.8.8/"}).data
    rival.patch(f"/v1/webhooks/{webhook['id']}", {"enabled": False})  # nothing is to be sent there
    done = rival.post("/v1/prompts_workflow", {"workflow": tiny()}, params={"wait": 20}).data
    busy = rival.submit({"workflow_id": "their-workflow"})
    eventually(lambda: rival.status(busy)["state"] == "running")
    form = {"content_type": "image/png", "file_path": "their-upload.png"}
    uploaded = rival.raw(
        "POST", "/api/v2/assets", data=form, files={"file": ("their-upload.png", png((9, 8, 7)))}
    ).json()
    rival.raw("POST", "/userdata/their-note.json", data=b"{}")
    [output] = done["outputs"]
    [result] = re.findall(r"[0-9a-f-]{36}", output["url"])
    ids = [worker["id"], workflow["id"], asset["id"], webhook["id"], done["taskId"], busy, uploaded["id"], result]
    names = ["their-gpu", "their-workflow", "their-app", "their-photo.png", "their-upload.png", "their-note.json"]
    return [*ids, *names, str(uploaded["hash"])]


def filled(path: str, values: tuple[str, ...]) -> str:
    left = iter(values)
    return PARAMETER.sub(lambda _: next(left), path)


def paths(path: str, keys: list[str]) -> Iterator[tuple[str, str]]:
    """A path with the rival's keys in it, and with keys that nobody has; of several places in turn and all at once."""
    count = len(PARAMETER.findall(path))
    for key in keys:
        for others in {(key,) * count, *((key, *("x",) * (count - 1)), (*("x",) * (count - 1), key))}:
            yield (
                filled(path, others),
                filled(path, tuple(absent(other) if other == key else other for other in others)),
            )


def ask(tenant: V1, method: str, path: str) -> requests.Response:
    body: dict[str, Any] = {} if method in ("GET", "DELETE", "HEAD") else {"json": BODIES.get(method, {})}
    return tenant.raw(method, path, stream=True, **body)


BODIES: dict[str, Any] = {"PATCH": {"state": "down", "priority": 1, "enabled": False, "policy_type": "random"}}


def told(answer: requests.Response, path: str, place: str) -> tuple[int, str, set[str]]:
    """An answer without what was asked for and what is new in each."""
    text = answer.content.decode("utf-8", "replace") if answer.status_code >= 300 else answer.text
    for part in sorted({part for part in re.split(r"[/?&=]", path) if part not in place}, key=len, reverse=True):
        text = text.replace(part, "KEY")
    for name in ("x-request-id", "x-comfy-request-id"):
        text = text.replace(answer.headers.get(name, "-none-"), "NEW")
    return answer.status_code, text, {name.lower() for name in answer.headers} - set(OF_ALL)


@pytest.mark.parametrize(("method", "path"), PLACES, ids=[" ".join(place) for place in PLACES])
def test_what_another_has_is_answered_like_what_nobody_has(
    acme: Tenant, rival: Tenant, keys: list[str], method: str, path: str
) -> None:
    before = rival.everything()
    for foreign, unknown in paths(path, keys):
        theirs, nobodys = ask(acme, method, foreign), ask(acme, method, unknown)
        assert told(theirs, foreign, path) == told(nobodys, unknown, path), foreign
    assert rival.everything() == before
