"""Durable submissions: how many jobs a second a gateway accepts when each answer waits for its commit.

The only backend is down, so that nothing but accepting is measured. Afterwards the database is asked whether it holds
every job that was answered. In turns with it the same load goes to `bench.bare`, the floor.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import load
from bench.figures import AtLeast, Figure, median, percentile
from bench.servers import Server, bare, gateway
from comfyone import (
    ComfyOne,
    IOType,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from comfyone.api.calls import new_idempotency_key

__all__ = ["measure"]

GRAPH: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "examples" / "workflows" / "text_to_image.json").read_text()
)
CASES = [(kind, connections) for kind in ("workflow by name", "raw graph") for connections in (32, 1)]


def measure(quick: bool) -> list[Figure]:
    """A seven-node graph by name with values, and as a whole; over 32 connections and over one."""
    rounds, count = (2, 2000) if quick else (5, 5000)
    loads: dict[tuple[str, int], list[load.Load]] = {case: [] for case in CASES}
    floors: dict[tuple[str, int], list[load.Load]] = {case: [] for case in CASES}
    with gateway() as ours, bare() as floor:
        _prepare(ours)
        for case in CASES:
            for server in (ours, floor):
                _send(server, *case, 400)
        for _ in range(rounds):
            for kind, connections in CASES:
                amount = count if connections > 1 else count // 5
                loads[kind, connections].append(_send(ours, kind, connections, amount))
                floors[kind, connections].append(_send(floor, kind, connections, amount))
        sent = len(CASES) * 400 + sum(len(run.latencies) for runs in loads.values() for run in runs)
        _check(ours.database, sent)
        _check(floor.database, sent)
    return [_figure(*case, loads[case], floors[case]) for case in CASES]


def _send(server: Server, kind: str, connections: int, amount: int) -> load.Load:
    requests = list(_requests(kind, server.key, amount))
    used = server.cpu_seconds()
    done = load.run(server.url, requests, connections)
    done.server_cpu = server.cpu_seconds() - used
    return done


def _prepare(server: Server) -> None:
    with ComfyOne(server.key, domain=server.url) as client:
        client.api.register_backend("away", url="http://127.0.0.1:9", state="down").raise_for_code()
        inputs = [
            WorkflowInput(id="6", type=IOType.STRING, name="text", title="prompt"),
            WorkflowInput(id="3", type=IOType.NUMBER, name="seed", minimum=0),
        ]
        workflow = WorkflowPayload(
            name="paint",
            inputs=WorkflowInputPayload(inputs=inputs),
            outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="9")]),
            workflow=GRAPH,
        )
        client.api.create_workflow(workflow).raise_for_code()


def _requests(kind: str, key: str, amount: int) -> Iterator[bytes]:
    """Submissions as the SDK sends them, an idempotency key with each; no two are alike."""
    graph = json.loads(json.dumps(GRAPH))
    for seed in range(amount):
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": new_idempotency_key()}
        if kind == "workflow by name":
            body = {"workflow_id": "paint", "inputs": {"prompt": f"an owl, number {seed}", "seed": seed}}
            yield load.post("/v1/prompts", json.dumps(body).encode(), headers)
        else:
            graph["3"]["inputs"]["seed"] = seed
            yield load.post("/v1/prompts_workflow", json.dumps({"workflow": graph}).encode(), headers)


def _check(database: Path, sent: int) -> None:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (held,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    if held != sent:
        raise RuntimeError(f"{sent} jobs were accepted, but the database holds {held}")


def _figure(kind: str, connections: int, runs: list[load.Load], floor: list[load.Load]) -> Figure:
    latencies = [seconds * 1000 for run in runs for seconds in run.latencies]
    over = f"{connections} connections" if connections > 1 else "1 connection"
    rate, bare_rate = median([run.rate for run in runs]), median([run.rate for run in floor])
    detail = {
        "p50 ms": percentile(latencies, 50),
        "p99 ms": percentile(latencies, 99),
        "best /s": max(run.rate for run in runs),
        "CPU µs each": median([run.server_cpu / len(run.latencies) * 1e6 for run in runs]),
        "bare server /s": bare_rate,
        "its part": f"{rate / bare_rate:.0%}",
        "rounds": len(runs),
    }
    target = AtLeast(3000) if connections > 1 else None
    return Figure(f"durable submissions, {kind}, {over}", rate, "/s", target, detail)
