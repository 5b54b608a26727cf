"""One attempt at one job on one backend, followed to its end.

Hints from the socket say when to look; only the backend's queue and history say what happened (law 3).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from loguru import logger

from comfyone.errors import Fault
from comfyone.gateway.dispatch.collect import Collector
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.dispatch.materials import graph_for
from comfyone.gateway.dispatch.telling import Telling
from comfyone.gateway.dispatch.tools import Tools
from comfyone.gateway.domain.evidence import Ending, FileRef, Gone, Hint, HintKind, Refused, Unreachable, Unsent, Where
from comfyone.gateway.domain.files import Content, Output
from comfyone.gateway.domain.jobs import Assignment, Failure, JobState
from comfyone.gateway.domain.placement import models_of
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.domain.verdicts import Back, End, Fate, Verdict, of_ending, of_fate, settled

__all__ = ["Run"]

ENDING_PATIENCE = 0.05
"""After an end is announced, the message that its history is written follows at once; past this we look anyway."""

CANCEL_PATIENCE = 0.2
"""A prompt that we took out of the queue is absent at once; twice seen absent is enough."""

ABANDON_PATIENCE = 2.0
"""How long whoever removes a backend waits for its jobs to be stopped there."""


class Run:
    """Follows an assignment. ``recovered`` ones were sent, or not, by an earlier process: only the evidence knows."""

    def __init__(self, assignment: Assignment, link: Link, tools: Tools, *, recovered: bool) -> None:
        self.assignment = assignment
        self.job = assignment.job
        self.prompt_id = assignment.prompt_id
        self._link = link
        self._tools = tools
        self._recovered = recovered
        self._cancelling = assignment.job.cancelling
        self._sent = recovered
        self._on_its_way = recovered  # it may surface late: nobody has seen it there yet
        self._heard = recovered  # of what an earlier process had sent, much may have been said before
        self._announced = False
        self._deaf_since: float | None = None
        self._moved_at = time.monotonic()
        self._began_at = assignment.job.started_at
        self._executed_at: float | None = None
        self._look = asyncio.Event()
        self._begun = assignment.job.state is JobState.RUNNING
        self._telling = Telling(self.job, tools.bus, tools.previews, begun=self._begun, shared=link.backend.shared)
        self._collector = Collector(
            self.job.tenant_id, self.job.outputs, link.driver, tools.blobs, named=self.job.workflow_id is None
        )
        self._side_tasks: set[asyncio.Future[Any]] = set()
        link.attach(self.prompt_id, self)

    @property
    def snapshot(self) -> Snapshot:
        return self._telling.snapshot

    @property
    def seconds(self) -> float:
        """Backend time, so far."""
        return (self._executed_at or time.time()) - self._began_at if self._began_at else 0.0

    def on(self, backend_id: str) -> bool:
        return self._link.backend.id == backend_id

    async def produced(self, file: FileRef) -> Content | None:
        """The bytes of a file that a node has reported; see `Collector.announced`."""
        blob = await self._collector.announced(file)
        return (blob.content or self._tools.blobs.path(blob.hash)) if blob else None

    async def follow(self) -> None:
        """To the end of the attempt: the job has ended, or is back in the queue."""
        try:
            if self._recovered:
                self._telling.follow(await self._nodes())
            if self._recovered or await self._send_in_turn():
                await self._settle()
        finally:
            self._collector.forget()
            self._telling.end()
            self._link.release(self.prompt_id)

    async def abandon(self, reason: str) -> None:
        """Gives the job back after ``follow`` was cancelled, and stops it on the backend if that answers soon."""
        if self._sent:
            with suppress(TimeoutError):
                async with asyncio.timeout(ABANDON_PATIENCE):
                    await self._stop()
        await self._close(Back(reason))

    def cancel(self) -> None:
        """Stops the prompt on the backend, which nobody waits for. What then happened is for the evidence to say."""
        self._cancelling = True
        if self._sent:
            self._aside(asyncio.ensure_future(self._stop_and_look()))

    # sending

    async def _send_in_turn(self) -> bool:
        async with self._link.sending:
            return await self._send()

    async def _send(self, *, again: bool = False) -> bool:
        """Sends the graph. Returns whether the backend may have it; otherwise the job has been dealt with."""
        graph = await self._graph()
        if graph is None:
            return False
        if self._cancelling:
            await self._close(End(JobState.CANCELLED, "cancelled before it was sent"))
            return False
        extra, targets = await self._extras()
        self._telling.follow(graph)
        self._sent = True
        try:
            left_out = await self._link.driver.send(self.prompt_id, graph, extra=extra, targets=targets)
            self._link.answered()
            self._link.warm = models_of(self.job.needs) or self._link.warm
        except Refused as error:
            if not again and self._link.mislaid(error.failure.message):
                return await self._send(again=True)
            await self._accept_refusal(error)
            return False
        except Unsent as error:
            await self._return_unsent(error)
            return False
        except Unreachable as error:
            self._link.failed(error.message)
            logger.info("job {}: unclear whether {} has it: {}", self.job.id, self._link.backend.name, error.message)
            left_out, self._on_its_way = {}, not error.answered
            self._look.set()
        concerned = [failure for node_id, failure in left_out.items() if node_id in (self.job.outputs or left_out)]
        if concerned:
            await self._stop()
            if self._link.mislaid(concerned[0].message):
                await self._close(Back(f"an input file was gone from backend '{self._link.backend.name}'"))
            else:
                await self._close(End(JobState.FAILED, "refused in part", concerned[0]))
            return False
        if self._cancelling:
            await self._stop_and_look()
        return True

    async def _accept_refusal(self, error: Refused) -> None:
        """The request is wrong; unless it asks for what only this backend lacks, which we did not know."""
        if error.unable and self.job.wanted_backend_id is None and self._tools.elsewhere(self.job):
            name, self._link.stale = self._link.backend.name, True
            self._link.nudge.set()
            await self._close(Back(f"backend '{name}' is not able: {error.failure.message}", otherwise=error.failure))
        else:
            await self._close(End(JobState.FAILED, "refused", error.failure))

    async def _graph(self) -> dict[str, Any] | None:
        """What to send, its inputs placed; None when that failed and the job has been dealt with."""
        try:
            return await graph_for(self.job, self._link, self._tools.graphs, self._tools.store, self._tools.blobs)
        except Fault as fault:
            await self._close(
                End(JobState.FAILED, "no input", Failure("input_missing", fault.message, hint=fault.hint))
            )
        except Refused as error:
            await self._close(End(JobState.FAILED, "input refused", error.failure))
        except Unreachable as error:
            await self._return_unsent(error)
        return None

    async def _extras(self) -> tuple[Mapping[str, Any], Sequence[str]]:
        """What to send besides the graph: further data for its nodes, and the only outputs to run."""
        secrets = self._tools.secrets.of(self.job.id)
        if self.job.workflow_id is not None:
            return secrets, ()
        origin = await self._tools.store.read(lambda session: session.engine.origin(self.job))
        return ({**origin.extra_data, **secrets}, origin.targets) if origin else (secrets, ())

    async def _return_unsent(self, error: Unreachable) -> None:
        if isinstance(error, Unsent):
            self._link.doubt(error.message)
        await self._close(Back(self._link.told(error.message)))

    async def _nodes(self) -> Iterable[str]:
        return await self._tools.graphs.of(self.job)

    async def _stop(self) -> None:
        try:
            await self._link.stop(self.prompt_id)
        except Unreachable as error:
            logger.info("job {}: could not be stopped yet: {}", self.job.id, error.message)

    async def _stop_and_look(self) -> None:
        await self._stop()
        self._look.set()  # of a prompt that was taken out of the queue nothing will be heard

    # listening

    def hear(self, hint: Hint) -> None:
        self._heard = self._heard or hint.kind is not HintKind.CONNECTED
        self._moved_at = time.monotonic()
        self._telling.relay(hint)
        match hint.kind:
            case HintKind.BEGUN:
                self._begin()
            case HintKind.PROGRESS | HintKind.OUTPUT:
                self._advance(hint)
            case HintKind.PREVIEW:
                self._telling.show(hint)
            case HintKind.ENDING:
                self._announced = True
                asyncio.get_running_loop().call_later(ENDING_PATIENCE, self._look.set)
            case HintKind.OVER:
                self._announced = True
                self._look.set()
            case HintKind.CONNECTED:
                self._look.set()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._moved_at, self._began_at = time.monotonic(), time.time()
            began = self._began_at
            begun = self._tools.store.submit(lambda session: session.engine.begin(self.job, began), soon=True)
            begun.add_done_callback(self._tell)
            self._aside(begun)

    def _tell(self, _: asyncio.Future[Any]) -> None:
        """From now on progress may be told: it comes after ``running``, which is committed."""
        self._telling.begun = True

    def _advance(self, hint: Hint) -> None:
        if hint.produced:
            self._collector.start(hint.produced)
        self._telling.advance(hint)

    # judging

    async def _settle(self) -> None:
        """Waits until the evidence says how it ended, then stores that."""
        wait = self._tools.limits.first_look
        while True:
            heard = await self._wait(wait)
            found = await self._judge()
            if isinstance(found, Ending):
                if not self._heard:
                    self._link.suspect()
                return await self._store_ending(found)
            if found is None and self._is_stuck():
                await self._stop()
                found = Fate.STUCK
            if isinstance(found, Fate):
                return await self._store_fate(found)
            if self._cancelling:
                await self._stop()  # an interrupt that came between two nodes may have missed
            wait = self._tools.limits.first_look if heard else min(wait * 1.5, self._tools.limits.last_look)

    async def _wait(self, seconds: float) -> bool:
        """Until something is heard, or ``seconds`` of silence. Returns whether something was."""
        silence = asyncio.get_running_loop().call_later(seconds, self._look.set)
        try:
            await self._look.wait()
        finally:
            silence.cancel()
        self._look.clear()
        return asyncio.get_running_loop().time() < silence.when()

    async def _judge(self) -> Ending | Fate | None:
        """The evidence, read until it is conclusive; None while the prompt waits or runs over there."""
        pause, missing_since = 0.02, time.monotonic()
        while True:
            try:
                seen = await self._link.driver.look(self.prompt_id, ended=self._announced)
            except Unreachable as error:
                self._link.failed(error.message)
                return Fate.BACKEND_LOST if self._is_lost() else None
            self._deaf_since = None
            self._link.answered()
            if seen.ending:
                return seen.ending
            if seen.where is not Where.ABSENT:
                self._on_its_way = False
                if seen.where is Where.RUNNING:
                    self._begin()
                return None
            missing = time.monotonic() - missing_since
            if missing > self._patience():
                return Fate.FORGOTTEN if self._begun or self._announced else Fate.NEVER_RECEIVED
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    def _is_lost(self) -> bool:
        """After a call without an answer: whether there has been none for too long, whatever the socket says."""
        self._deaf_since = self._deaf_since or time.monotonic()
        return time.monotonic() - self._deaf_since > self._tools.limits.lost

    def _is_stuck(self) -> bool:
        """Whether it has run there for too long without a sign of progress."""
        stall = self._tools.limits.stall
        return stall > 0 and self._begun and time.monotonic() - self._moved_at > stall

    def _patience(self) -> float:
        """How long a prompt must be absent from queue and history to be gone."""
        if self._announced:
            return self._tools.limits.history
        if self._cancelling:
            return CANCEL_PATIENCE
        return self._tools.limits.unclear if self._on_its_way and not self._begun else self._tools.limits.absence

    # storing

    async def _store_ending(self, ending: Ending) -> None:
        self._executed_at = time.time()
        self._link.release(self.prompt_id)  # the backend is free while we fetch
        strayed = self._link.may_have_hit(self.prompt_id)
        verdict = of_ending(ending, self._link.backend, cancelling=self._cancelling, strayed=strayed)
        await (self._close(verdict) if verdict else self._store_outputs(ending))

    async def _store_outputs(self, ending: Ending) -> None:
        while True:
            try:
                outputs = await self._collector.finish(ending.produced)
                break
            except Gone as error:
                return await self._store_gone(error)
            except Unreachable as error:
                if self._is_lost():
                    return await self._close(Back(f"its results were lost: {self._link.told(error.message)}"))
            except Fault as fault:  # our own disk is full: the results stay where they are until there is room
                logger.error("job {}: {}", self.job.id, fault.message)
            await asyncio.sleep(1.0)
        self._link.succeeded()
        await self._end(End(JobState.SUCCEEDED, "succeeded"), outputs)
        if self.job.free_cache:
            self._aside(asyncio.ensure_future(self._link.free()))

    async def _store_gone(self, error: Gone) -> None:
        """Nothing is there to fetch. A run that was answered from the server's cache can name files that have been deleted
        since: without the cache they are made again."""
        reason = self._link.told(error.message) if error.vanished else error.message
        failure = Failure("output_missing", reason, hint=error.hint)
        if not error.vanished:
            return await self._close(End(JobState.FAILED, "output missing", failure))
        await self._link.free()
        await self._close(Back(reason, otherwise=failure))

    async def _store_fate(self, fate: Fate) -> None:
        stall = self._tools.limits.stall
        verdict = of_fate(fate, self._link.backend, cancelling=self._cancelling, begun=self._begun, stall=stall)
        if isinstance(verdict, Back) and fate is not Fate.NEVER_RECEIVED:
            self._link.lost_job(verdict.reason)
        await self._close(verdict)

    async def _close(self, verdict: Verdict) -> None:
        limits = self._tools.limits
        last = settled(verdict, cancelling=self._cancelling, attempt=self.job.attempt, attempts=limits.attempts)
        await (self._end(last) if isinstance(last, End) else self._give_back(last))

    async def _give_back(self, verdict: Back) -> None:
        logger.info("job {} goes back to the queue: {}", self.job.id, verdict.reason)
        limits = self._tools.limits
        pause = min(limits.backoff * 2 ** (self.job.attempt - 1), limits.backoff_most) * random.uniform(0.75, 1.25)  # noqa: S311
        now = time.time()
        await self._tools.store.write(
            lambda session: session.engine.requeue(
                self.job,
                verdict.reason,
                now,
                not_before=now + pause,
                fatal=verdict.fatal,
                started=self._began_at,
            )
        )
        self._link.release(self.prompt_id)
        self._tools.later(pause, self.job.tenant_id)

    async def _end(self, verdict: End, outputs: Sequence[Output] = ()) -> None:
        self._link.release(self.prompt_id)
        now = time.time()
        await self._tools.store.write(
            lambda session: session.engine.end(
                self.job,
                verdict.state,
                now,
                outcome=verdict.outcome,
                failure=verdict.failure,
                outputs=outputs,
                started=self._began_at,
                executed=self._executed_at,
                fatal=verdict.fatal,
            )
        )

    def _aside(self, future: asyncio.Future[Any]) -> None:
        """Keeps a future that nobody waits for alive, and its failure from passing unseen."""
        self._side_tasks.add(future)
        future.add_done_callback(self._side_done)

    def _side_done(self, future: asyncio.Future[Any]) -> None:
        self._side_tasks.discard(future)
        if not future.cancelled() and (error := future.exception()):
            logger.error("job {}: {}", self.job.id, error)
