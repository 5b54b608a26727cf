"""Whatever is sent, every answer is one that the document tells of, and none is a failure of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.domain.tenants import Scope
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
PLACES = {
    "v1": "^/v1/",
    "admin": "^/admin/",
    "tasks": "^/(api/v1/|health|ready)",
    "comfy": "^/api/v2/",
    "native": "^/(?!v1/|admin/|health|ready|api/v)",
}
"""The dialects, by the paths that they serve; the last one takes whatever no other does."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway of its own: what is sent there may end in any state."""
    with GatewayProcess(tmp_path_factory.mktemp("fuzz") / "state", "--max-upload", "100000") as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("place", PLACES)
def test_no_answer_is_a_failure_of_ours_or_one_that_is_not_documented(
    target: GatewayProcess, sandbox: Sandbox, place: str, tmp_path: Path
) -> None:
    key = target.key(place, scopes=[scope.value for scope in Scope])
    V1(target.url, key).register("sandbox", url=sandbox.url)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{target.url}/openapi.json"]
    command += ["--include-path-regex", PLACES[place], "--header", f"Authorization: Bearer {key}"]
    command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", "8", "--no-shrink"]
    command += ["--suppress-health-check", "all", "--request-timeout", "30", "--warnings", "off"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stdout[-20000:]
    assert " 0 selected" not in done.stdout, "there is nothing at these paths"
