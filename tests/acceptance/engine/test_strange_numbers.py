"""Python writes numbers that JSON does not have. A server that tells of one has done its work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfyone.emulator import Sandbox, routes, sockets
from comfyone.gateway.domain.jobs import Origin
from tests.acceptance.engine.inside import QUICK, open_inside
from tests.graphs import failing, speaking


def as_python_writes(value: Any) -> bytes:
    """The text ``NaN`` as the number."""
    return json.dumps(msgspec.to_builtins(value)).encode().replace(b'"NaN"', b"NaN")


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (routes, sockets):
        monkeypatch.setattr(module, "encode", as_python_writes)


@pytest.mark.usefixtures("strange")
async def test_a_number_that_is_none_is_null_and_the_job_is_done_at_once(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            view = await inside.view(await inside.submit(speaking("NaN"), ("1",), origin=Origin()))
            assert (view.job.state, view.job.attempt) == ("succeeded", 1)
            assert [output.value for output in view.outputs] == [b"null"]
            assert await inside.condition() == "live"


@pytest.mark.usefixtures("strange")
async def test_a_number_that_is_none_in_an_error_is_no_trouble(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            job = (await inside.view(await inside.submit(failing("NaN")))).job
            assert (job.state, job.attempt) == ("failed", 1)
            assert job.error is not None
            assert job.error.type == "node_error"
            assert await inside.condition() == "live"
