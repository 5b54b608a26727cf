"""What is found at the end: the gateway's answers and database, and the sandboxes' own records."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from blake3 import blake3
from PIL import Image, UnidentifiedImageError

from faults.clients import Tenant, Told, Unanswered
from faults.fleet import Fleet
from faults.work import Work

__all__ = ["Attempt", "Case", "Event", "Execution", "Found", "collect"]

AT_ONCE = 8
COMPLETED = ("success", "error")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the gateway's table; ``backend`` is the number of the sandbox."""

    number: int
    prompt_id: str
    backend: int
    claimed_at: float
    ended_at: float | None
    outcome: str | None
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    number: int
    type: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """What a sandbox recorded of a prompt."""

    backend: int
    prompt_id: str
    received: float
    started: float | None
    ended: float | None
    outcome: str | None

    @property
    def completed(self) -> bool:
        """Whether it was run to its end."""
        return self.outcome in COMPLETED


@dataclass(slots=True)
class Case:
    """Everything about one job. ``state`` and ``error`` are what the gateway answers; ``faults`` what its bytes lack."""

    told: Told
    state: str | None = None
    error: Mapping[str, Any] | None = None
    faults: list[str] = field(default_factory=list)
    pictures: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.told.id or f"(not accepted: job {self.told.work.number})"

    @property
    def work(self) -> Work:
        return self.told.work

    def executed(self, attempt: Attempt) -> Execution | None:
        """What came of an attempt where it was sent."""
        return next((run for run in self.executions if run.prompt_id == attempt.prompt_id), None)

    def dossier(self) -> dict[str, Any]:
        """All of it, to be read by people."""
        return asdict(self)


@dataclass(slots=True)
class Found:
    """The cases, and what belongs to none of them."""

    cases: list[Case]
    unknown_jobs: list[str] = field(default_factory=list)
    """Jobs in the database whose id nobody was told."""
    unknown_executions: list[Execution] = field(default_factory=list)


async def collect(fleet: Fleet, tenants: list[Tenant], told: Iterable[Told], session: aiohttp.ClientSession) -> Found:
    """Asks the gateway for every job and its files, and reads the database and the records."""
    cases = [Case(one) for one in told]
    found = await asyncio.to_thread(_read_database, fleet, {case.told.id: case for case in cases if case.told.id})
    found.cases = cases
    owner = {attempt.prompt_id: case for case in cases for attempt in case.attempts}
    for number, sandbox in enumerate(fleet.sandboxes):
        for execution in await _records(session, sandbox.url, number):
            if case := owner.get(execution.prompt_id):
                case.executions.append(execution)
            else:
                found.unknown_executions.append(execution)
    limit = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_ask(case, tenants[case.work.tenant], limit) for case in cases if case.told.id))
    return found


async def _records(session: aiohttp.ClientSession, url: str, backend: int) -> list[Execution]:
    async with session.get(f"{url}/sandbox/executions") as response:
        records = (await response.json())["executions"]
    names = ("prompt_id", "received", "started", "ended", "outcome")
    return [Execution(backend, *(record[name] for name in names)) for record in records]


async def _ask(case: Case, tenant: Tenant, limit: asyncio.Semaphore) -> None:
    async with limit:
        try:
            status = await tenant.data("GET", f"/v1/prompts/{case.told.id}/status")
            case.state, case.error = status["state"], status["error"]
            if case.state == "succeeded":
                await _check_files(case, tenant, status["outputs"])
        except (Unanswered, aiohttp.ClientError, TimeoutError) as error:
            case.faults.append(f"{type(error).__name__}: {error}")


async def _check_files(case: Case, tenant: Tenant, outputs: list[dict[str, Any]]) -> None:
    """The bytes against the hash that is told of them, and the pixels against those that the job must have."""
    expected = case.work.expected()
    if len(outputs) != len(expected):
        case.faults.append(f"{len(outputs)} outputs instead of {len(expected)}")
    for output, picture in zip(outputs, expected, strict=False):
        content = await tenant.download(output["url"])
        if blake3(content).hexdigest() != output["hash"] or len(content) != output["size"]:
            case.faults.append(f"the bytes of {output['url']} are not those of its hash and size")
        if difference := _difference(content, picture):
            case.faults.append(f"{output['url']}: {difference}")
        case.pictures += 1


def _difference(content: bytes, expected: Image.Image) -> str | None:
    try:
        with Image.open(BytesIO(content)) as opened:
            seen = opened.convert("RGB")
    except UnidentifiedImageError:
        return "no picture"
    if seen.size != expected.size:
        return f"{seen.size} instead of {expected.size}"
    return None if seen.tobytes() == expected.tobytes() else "other pixels than the job's"


def _read_database(fleet: Fleet, cases: Mapping[str, Case]) -> Found:
    found = Found([])
    numbers = {sandbox.url: number for number, sandbox in enumerate(fleet.sandboxes)}
    with closing(open_read_only(fleet.database)) as database:
        backends = {row[0]: numbers[row[1]] for row in database.execute("SELECT id, url FROM backends")}
        found.unknown_jobs = [row[0] for row in database.execute("SELECT id FROM jobs") if row[0] not in cases]
        columns = "job_id, number, prompt_id, backend_id, claimed_at, ended_at, outcome, fatal"
        for job_id, number, prompt_id, backend, claimed, ended, outcome, fatal in database.execute(
            f"SELECT {columns} FROM attempts ORDER BY job_id, number"
        ):
            if case := cases.get(job_id):
                attempt = Attempt(number, prompt_id, backends[backend], claimed, ended, outcome, bool(fatal))
                case.attempts.append(attempt)
        events = defaultdict[str, list[Event]](list)
        for job_id, number, kind, at, data in database.execute(
            "SELECT job_id, number, type, at, data FROM job_events ORDER BY job_id, number"
        ):
            events[job_id].append(Event(number, kind, at, json.loads(data)))
    for job_id, case in cases.items():
        case.events = events[job_id]
    return found


def open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
