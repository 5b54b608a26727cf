"""Large files pass through the gateway in pieces, whichever way they go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyone.emulator import Sandbox, server
from tests.acceptance.engine.lab import PATIENCE, Lab
from tests.graphs import node, tiny
from tests.support.gateway import GatewayProcess

SIZE = 512 * 1024**2
MOST = 30 * 1024**2
"""Bytes by which the gateway may grow while it moves a file."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to look at its memory")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A large file that takes no room on the disk."""
    path = tmp_path_factory.mktemp("large") / "video.mp4"
    with path.open("wb") as file:
        file.write(b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00")
        file.truncate(SIZE)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    state = tmp_path_factory.mktemp("transfers") / "state"
    with pytest.MonkeyPatch.context() as patch, GatewayProcess(state) as gateway:
        patch.setattr(server, "UPLOAD_LIMIT", 2 * SIZE)
        with Sandbox() as sandbox, Lab(gateway, "acme", sandbox) as lab:
            lab.submit(tiny(prefix="warm")).result(PATIENCE)
            yield lab
    shutil.rmtree(state)


def memory(pid: int, name: str) -> int:
    """A figure of a process, in bytes: ``VmRSS`` or its peak, ``VmHWM``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def small(gateway: GatewayProcess) -> Iterator[None]:
    """What happens in here lets the gateway grow by little."""
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(gateway.pid, "VmRSS")
    yield
    grown = memory(gateway.pid, "VmHWM") - before
    assert grown < MOST, f"the gateway grew by {grown / 1024**2:.0f} MB"


def test_a_large_upload_is_stored_placed_and_downloaded_in_pieces(lab: Lab, video: Path, tmp_path: Path) -> None:
    with small(lab.gateway):
        record = lab.api.upload_file(video).data
    assert (record["size"], record["mime"]) == (SIZE, "video/mp4")
    with small(lab.gateway):
        lab.submit({"1": node("TestText", text=record["Path"])}, outputs=["1"]).result(PATIENCE)
    (sandbox,) = lab.sandboxes
    (placed,) = sandbox.files.uploads
    assert (sandbox.files.root / "input" / placed).stat().st_size == SIZE
    with small(lab.gateway):
        saved = lab.api.download_file(record["url"], tmp_path / "saved.mp4")
    assert saved.stat().st_size == SIZE
    saved.unlink()


def test_a_large_result_is_fetched_in_pieces(lab: Lab, video: Path) -> None:
    """A graph that the backend has in its cache reports the file that it wrote then; we have put another in its place."""
    (sandbox,) = lab.sandboxes
    lab.submit(tiny(prefix="large")).result(PATIENCE)
    (written,) = (sandbox.files.root / "output").glob("large*")
    written.unlink()
    written.symlink_to(video)
    with small(lab.gateway):
        [output] = lab.submit(tiny(prefix="large")).result(PATIENCE)
    assert output.record.size == SIZE
