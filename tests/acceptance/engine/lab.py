"""A tenant with backends of its own, and what really ran on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

from comfyone.api.job import Job
from comfyone.emulator import Sandbox
from comfyone.emulator.records import Record
from comfyone.gateway.app import database_path
from comfyone.gateway.storage.sqlite import connect
from comfyone.wire.v1 import JobStatus
from tests.graphs import Graph, node
from tests.support import waiting
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1

__all__ = ["Lab", "color_of", "eventually", "inverted"]

GRAPHS = "/v1/prompts_workflow"
PATIENCE = 40.0
"""Seconds: far more than anything here takes, so that a machine that is busy fails no test."""

T = TypeVar("T")


class Lab:
    """A new tenant of a running gateway, whose backends are these sandboxes, named ``s0``, ``s1``, …"""

    def __init__(self, gateway: GatewayProcess, tenant: str, *sandboxes: Sandbox) -> None:
        self.gateway = gateway
        self.sandboxes = sandboxes
        self.key = gateway.key(tenant)
        self.sdk = gateway.client(self.key)
        self.api = self.sdk.api
        self.v1 = V1(gateway.url, self.key)
        self.impatient = gateway.client(self.key, max_retries=1)
        for number, sandbox in enumerate(sandboxes):
            self.api.register_backend(f"s{number}", url=sandbox.url).raise_for_code()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.gateway.running:
            for backend in self.api.get_available_backends().data:
                self.api.delete_backend(backend["name"])
        self.sdk.close()
        self.v1.close()

    def submit(self, graph: Graph, outputs: Sequence[str] = ("3",), *, once: bool = False, **options: Any) -> Job:
        """Runs a graph; node 3 is its output unless told otherwise. With ``once`` nothing is tried again."""
        api = self.impatient.api if once else self.api
        answer = api.prompt_workflow(graph, outputs=list(outputs), **options).raise_for_code()
        return self.sdk.job(answer.data["id"])

    def post(self, graph: Graph, **fields: Any) -> Job:
        """Like ``submit``, with any field that the route knows."""
        return self.sdk.job(self.v1.submit({"workflow": graph, "outputs": ["3"], **fields}, GRAPHS))

    def learned(self) -> None:
        """Returns once the gateway knows what each of the backends can do."""

        def known() -> bool:
            error = self.submit({"3": node("NoSuchNode")}).wait(PATIENCE).error
            return error is not None and error["type"] == "unable"

        eventually(known)

    def reaches(self, job: Job, *states: str) -> JobStatus:
        """The status of a job as soon as it is in one of these states."""

        def seen() -> JobStatus | None:
            status = job.status()
            return status if status.state in states else None

        reached = eventually(seen)
        assert reached is not None
        return reached

    def live(self, name: str = "s0") -> bool:
        return bool(self.api.get_backend(name).data["is_live"])

    def prompts(self, job: Job) -> list[tuple[str, str | None]]:
        """For each attempt its prompt id and how it ended."""
        return self.rows("SELECT prompt_id, outcome FROM attempts WHERE job_id = ? ORDER BY number", job.id)

    def execute(self, statement: str, *values: object) -> None:
        """Changes the state beside the gateway, as an administrator's command would."""
        with closing(connect(database_path(self.gateway.state))) as connection:
            connection.execute(statement, values)

    def rows(self, statement: str, *values: object) -> list[Any]:
        with closing(connect(database_path(self.gateway.state), read_only=True)) as connection:
            return connection.execute(statement, values).fetchall()

    def newest(self) -> str:
        """The id of the tenant's newest job."""
        return str(self.v1.get("/v1/prompts/history", params={"limit": 1}).data[0]["id"])

    def attempts(self, job: Job) -> list[tuple[float, float]]:
        """From when to when each attempt lasted, in the order of attempts."""
        return self.rows("SELECT claimed_at, ended_at FROM attempts WHERE job_id = ? ORDER BY number", job.id)

    def records(self, job: Job, sandboxes: Sequence[Sandbox] | None = None) -> list[Record]:
        """Everything that the sandboxes, its own unless others are named, have accepted for a job, on whichever attempt."""
        return [
            record
            for prompt_id, _ in self.prompts(job)
            for sandbox in sandboxes or self.sandboxes
            for record in sandbox.records.of(prompt_id)
        ]

    def executions(self, job: Job, sandboxes: Sequence[Sandbox] | None = None) -> list[Record]:
        """Every time that a job really began to run somewhere."""
        return [record for record in self.records(job, sandboxes) if record.started is not None]

    def assert_ran_once(self, job: Job) -> None:
        assert [record.outcome for record in self.executions(job)] == ["success"], self.prompts(job)


def inverted(color: int) -> tuple[int, int, int]:
    """The colour that `tests.graphs.tiny` makes of another."""
    red, green, blue = ((color >> shift) & 255 for shift in (16, 8, 0))
    return 255 - red, 255 - green, 255 - blue


def color_of(job: Job, timeout: float = PATIENCE) -> Any:
    """The colour of a job's only picture."""
    (image,) = job.result(timeout).images
    return image.convert("RGB").getpixel((5, 5))


def eventually(predicate: Callable[[], T]) -> T:
    return waiting.eventually(predicate, PATIENCE)
