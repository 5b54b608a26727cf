"""What a large file costs the gateway on each of its four ways: in memory, which must not grow with it, and in time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import AtMost, Figure
from bench.servers import Server, gateway
from comfyone import ComfyOne
from comfyone.api.result import Result
from comfyone.emulator import Sandbox, server

__all__ = ["measure"]

MEGABYTE = 1024**2
GROWTH = AtMost(30)
TINY = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "large"}},
}


def measure(quick: bool) -> list[Figure]:
    """One file of 2 GB (256 MB when it has to be quick), and one gateway for all."""
    size = (256 if quick else 2048) * MEGABYTE - 1024
    if not Path("/proc/self/clear_refs").exists():
        return [Figure("growth of the gateway while it moves a large file", None, detail={"why": "needs Linux"})]
    server.UPLOAD_LIMIT = 2 * size
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder, gateway() as served, Sandbox() as sandbox:
        video = Path(folder) / "video.mp4"
        with video.open("wb") as file:
            file.write(b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00")
            file.truncate(size)
        with ComfyOne(served.key, domain=served.url) as client:
            client.api.register_backend("sandbox", url=sandbox.url).raise_for_code()
            return list(_ways(client, served, sandbox, video))


def _ways(client: ComfyOne, served: Server, sandbox: Sandbox, video: Path) -> Iterator[Figure]:
    def run(graph: dict[str, Any], output: str) -> Result:
        answer = client.api.prompt_workflow(graph, outputs=[output]).raise_for_code()
        return client.job(answer.data["id"]).result(600)

    run(TINY, "3")
    [written] = (sandbox.files.root / "output").glob("large*")
    written.unlink()
    written.symlink_to(video)
    size, results, record = video.stat().st_size, list[Result](), dict[str, Any]()
    # The backend has it in its cache, and reports the file that it wrote then.
    yield _way("fetching a result", size, served, lambda: results.append(run(TINY, "3")))
    assert results[0][0].record.size == size
    yield _way("upload", size, served, lambda: record.update(client.api.upload_file(video).data))
    place = {"1": {"class_type": "TestText", "inputs": {"text": record["Path"]}}}
    yield _way("placing an input", size, served, lambda: run(place, "1"))
    target = video.with_name("saved.mp4")
    yield _way("download", size, served, lambda: client.api.download_file(record["url"], target))
    assert target.stat().st_size == size


def _way(name: str, size: int, served: Server, action: Callable[[], object]) -> Figure:
    cpu, began = served.cpu_seconds(), time.perf_counter()
    with _growth(served.pid) as growth:
        action()
    seconds = time.perf_counter() - began
    detail = {"MB": size / MEGABYTE, "seconds": seconds, "MB a second": size / MEGABYTE / seconds}
    detail["gateway CPU seconds"] = served.cpu_seconds() - cpu
    return Figure(f"growth of the gateway: {name}", growth[0], "MB", GROWTH, detail)


@contextmanager
def _growth(pid: int) -> Iterator[list[float]]:
    """Fills with the megabytes by which a process was larger, at its peak, than it was before."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before, growth = _memory(pid, "VmRSS"), [0.0]
    yield growth
    growth[0] = max(0.0, _memory(pid, "VmHWM") - before)


def _memory(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
