"""The book of prompts that somebody waits for. Pure: it says when to look, and judges what was seen.

What the socket says is a hint of when to look; only queue and history, read one after the other, are evidence. ComfyUI
writes a prompt's history a moment after it has left the queue, so a prompt in neither is not lost before it has been
seen in neither over a while.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from comfyone.comfyui.records import QueueState, messages_of
from comfyone.errors import ComfyExecutionError, ComfyOneError, PromptLostError

__all__ = ["Book", "Due", "NodeProgress", "Outcome", "Sink", "Terms", "was_interrupted"]

_FIRST_REPEAT, _LAST_REPEAT = 0.02, 1.0
_LOOKS = 3
_CLOSEST = 0.1  # seconds between looks while a prompt is young; later they follow at a quarter of its age
_ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass(frozen=True, slots=True)
class Terms:
    """How patiently prompts are followed, in seconds.

    Args:
        interval: Between looks while no socket tells when to look; at first they follow more closely.
        silence: How long the socket may say nothing of a prompt before there is a look.
        grace: From the news that a prompt is ending to a look, should nothing more be heard.
        patience: How long a prompt is in neither queue nor history until it counts as lost.
        outage: How long the server gives no answer until what it had counts as lost.
    """

    interval: float = 1.0
    silence: float = 15.0
    grace: float = 1.0
    patience: float = 5.0
    outage: float = 60.0


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far a prompt is, after what the socket said.

    Args:
        node: The node that runs.
        value: Its steps so far, of ``max``.
        done: Nodes that need no more work.
        total: How many nodes the graph has; 0 where that is not known.
    """

    node: str | None = None
    value: float = 0.0
    max: float = 0.0
    done: frozenset[str] = frozenset()
    total: int = 0

    @property
    def fraction(self) -> float:
        """The share of nodes that are done, the one that runs in proportion; from 0 to 1."""
        part = self.value / self.max if self.max > 0 and self.node not in self.done else 0.0
        return min((len(self.done) + part) / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the wait for a prompt ended: with its history entry, with an error, or because it was cancelled."""

    entry: Mapping[str, Any] | None = None
    error: ComfyOneError | None = None
    cancelled: bool = False


Sink: TypeAlias = Callable[[Outcome], object]


@dataclass(slots=True)
class _Watch:
    prompt_id: str
    sinks: list[Sink] = field(default_factory=list)
    due: float = math.inf  # never: it is not sent, or being looked for
    since: float | None = None  # when it was sent
    over: bool = False  # the socket says that its history is written
    ending: bool = False  # the socket says that it will be
    thrown_out: bool = False  # of the queue, on request: once it is gone, it was cancelled
    stopping: bool = False  # an interruption is what we want
    absent_since: float | None = None
    looks: int = 0
    unanswered_since: float | None = None
    total: int = 0
    node: str | None = None
    step: tuple[Any, Any] = (0, 0)  # as the socket says it: nobody may ever ask
    done: set[str] = field(default_factory=set)
    states: Any = None

    def progress(self) -> NodeProgress:
        """How far it is, put together from what was said."""
        states = self.states.items() if isinstance(self.states, dict) else ()
        done = {name for name, told in states if isinstance(told, dict) and told.get("state") == "finished"}
        value, most = (_number(number) for number in self.step)
        return NodeProgress(self.node, value, most, frozenset(self.done | done), self.total)


@dataclass(frozen=True, slots=True)
class Due:
    """What to look for now: ``over`` in the history alone, ``others`` in the queue first."""

    over: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


_NOTHING = Due()


class Book:
    """Keeps the watched prompts of one server. Safe to use from many threads; sinks are called without the lock."""

    def __init__(self, terms: Terms | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.terms = terms or Terms()
        self._clock = clock
        self._guard = threading.Lock()
        self._watches: dict[str, _Watch] = {}
        self._listening = False
        self._last: Outcome | None = None
        self._over: list[str] = []
        self._bound = math.inf  # nothing else is due before; finding out exactly takes a look at every watch

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def listening(self) -> bool:
        """Whether a socket tells when to look."""
        return self._listening

    def watch(self, prompt_id: str, sink: Sink, total: int = 0) -> None:
        """Call ``sink`` once when the prompt has come to its end. Nothing is looked for before `sent`: what the server answered
        to the prompt belongs to its result, and is known only then."""
        with self._guard:
            if self._last is None:
                watch = self._watches.setdefault(prompt_id, _Watch(prompt_id))
                watch.sinks.append(sink)
                watch.total = total or watch.total
                return
        sink(self._last)

    def sent(self, prompt_id: str, *, earlier: bool = False) -> bool:
        """The server has the prompt. One that it has had since ``earlier`` may have ended already.

        Gives whether it is to be looked for before anything else is.
        """
        with self._guard:
            watch = self._watches.get(prompt_id)
            if watch is None:
                return False
            if watch.over and watch.since is None:  # so said the socket before the answer was here
                watch.since = self._clock()
                self._over.append(prompt_id)
                return True
            return self._plan(watch, 0.0 if earlier else self._pace(watch))

    def drop(self, prompt_id: str, sink: Sink | None = None) -> None:
        """Stop watching, for everybody or for one sink."""
        with self._guard:
            watch = self._watches.get(prompt_id)
            if watch is None:
                return
            watch.sinks = [each for each in watch.sinks if sink is not None and each != sink]
            if not watch.sinks:
                del self._watches[prompt_id]

    def cancelling(self, prompt_ids: Iterable[str] | None = None) -> None:
        """These (or all) were thrown out of the queue on request: once they are gone, they were cancelled."""
        with self._guard:
            for prompt_id in list(self._watches) if prompt_ids is None else prompt_ids:
                watch = self._watches.get(prompt_id)
                if watch is not None and watch.since is not None:
                    watch.thrown_out = True
                    self._plan(watch, 0.0)

    def stopping(self, prompt_id: str, on: bool) -> None:
        """Whether an interruption of this one is what we want."""
        with self._guard:
            if watch := self._watches.get(prompt_id):
                watch.stopping = on

    def cancelled(self, prompt_id: str) -> None:
        """It was cancelled, for certain."""
        self._settle(prompt_id, Outcome(cancelled=True))

    def listen(self, on: bool) -> None:
        """A socket is up, or gone. Either way something may have been missed: all are looked for."""
        with self._guard:
            self._listening = on
        self.look_now()

    def look_now(self) -> None:
        """Everything that was sent is to be looked for now."""
        with self._guard:
            for watch in self._watches.values():
                if watch.since is not None and not watch.over:
                    self._plan(watch, 0.0)

    def progress(self, prompt_id: str) -> NodeProgress | None:
        """How far a watched prompt is."""
        with self._guard:
            watch = self._watches.get(prompt_id)
            return watch.progress() if watch else None

    def hear(self, message: Mapping[str, Any]) -> bool:
        """Note what the socket says; gives whether something is to be looked for now, of what was `sent`.

        Right after a reconnect ComfyUI sends ``executing`` without ``prompt_id``; that one tells nothing.
        """
        data = message.get("data")
        prompt_id = data.get("prompt_id") if isinstance(data, dict) else None
        with self._guard:
            watch = self._watches.get(prompt_id) if isinstance(prompt_id, str) else None
            if watch is None or not isinstance(data, dict):
                return False
            return self._note(watch, message.get("type"), data)

    def _note(self, watch: _Watch, kind: Any, data: Mapping[str, Any]) -> bool:
        over, ending = kind == "executing" and data.get("node") is None, kind in _ENDINGS
        if over:
            watch.over, watch.due = True, math.inf
        elif ending:
            watch.ending = True
        else:
            _advance(watch, kind, data)
        if watch.since is None:  # its answer is not here yet
            return False
        if over:
            self._over.append(watch.prompt_id)
            return True
        if ending:
            return self._plan(watch, self.terms.grace)
        if self._listening and not watch.ending and watch.absent_since is None and not watch.over:
            if watch.due == math.inf:
                return self._plan(watch, self.terms.silence)
            watch.due = self._clock() + self.terms.silence  # what was planned for a silence is off
        return False

    def _plan(self, watch: _Watch, seconds: float) -> bool:
        """Have it looked for in so many seconds, or earlier if that was planned; gives whether nobody would wake before."""
        now = self._clock()
        watch.since = now if watch.since is None else watch.since
        watch.due = min(watch.due, now + seconds)
        sooner = watch.due < self._bound
        self._bound = min(self._bound, watch.due)
        return sooner

    def next_due(self) -> float | None:
        """When to look next, on the clock, or earlier; None when nothing is watched."""
        with self._guard:
            if self._over:
                return self._clock()
            return self._bound if self._bound < math.inf else None

    def due(self, most: int | None = None) -> Due:
        """What to look for now. What is given is not given again before it is known what was seen.

        Args:
            most: How many to give at most that are said to be over.
        """
        if not self._over and self._bound > self._clock():
            return _NOTHING
        with self._guard:
            chosen, self._over = (self._over, []) if most is None else (self._over[:most], self._over[most:])
            over = tuple(prompt_id for prompt_id in chosen if prompt_id in self._watches)
            return Due(over, self._others() if self._bound <= self._clock() else ())

    def _others(self) -> tuple[str, ...]:
        now = self._clock()
        chosen = [watch for watch in self._watches.values() if watch.due <= now]
        if chosen and not self._listening:  # one answer of the queue serves them all
            chosen = [watch for watch in self._watches.values() if watch.due < math.inf]
        for watch in chosen:
            watch.due = math.inf
        self._bound = min((watch.due for watch in self._watches.values()), default=math.inf)
        return tuple(watch.prompt_id for watch in chosen)

    def in_queue(self, queue: QueueState, asked: Iterable[str]) -> list[str]:
        """Note who waits or runs; gives those who do neither, to be looked for in the history."""
        present, running = queue.ids(), queue.running_ids()
        absent: list[str] = []
        with self._guard:
            for watch in self._known(asked):
                if watch.prompt_id not in present:
                    absent.append(watch.prompt_id)
                    continue
                watch.absent_since, watch.looks, watch.unanswered_since = None, 0, None
                watch.thrown_out = watch.thrown_out and watch.prompt_id not in running
                if not watch.over:  # else news came meanwhile
                    self._plan(watch, self._pace(watch))
        return absent

    def in_history(self, prompt_id: str, entry: Mapping[str, Any] | None) -> None:
        """Note what the history says: the end, or nothing, which means little at first."""
        if entry is not None:
            self._settle(prompt_id, self._ended(prompt_id, entry))
            return
        with self._guard:
            outcome = next((self._absent(watch) for watch in self._known([prompt_id])), None)
        if outcome is not None:
            self._settle(prompt_id, outcome)

    def _ended(self, prompt_id: str, entry: Mapping[str, Any]) -> Outcome:
        watch = self._watches.get(prompt_id)
        wanted = watch is not None and watch.stopping and was_interrupted(entry)
        return Outcome(entry=entry, cancelled=wanted)

    def _absent(self, watch: _Watch) -> Outcome | None:
        if watch.due < math.inf or watch.prompt_id in self._over:  # news came meanwhile
            return None
        now = self._clock()
        since = watch.absent_since = now if watch.absent_since is None else watch.absent_since
        watch.over, watch.unanswered_since = False, None
        watch.looks += 1
        if (watch.thrown_out or watch.stopping) and watch.looks > 1:
            return Outcome(cancelled=True)
        if now - since >= self.terms.patience and watch.looks >= _LOOKS:
            return Outcome(error=_lost(watch.prompt_id, now - since))
        self._plan(watch, min(_FIRST_REPEAT * 2.0 ** (watch.looks - 1), _LAST_REPEAT))
        return None

    def unanswered(self, asked: Iterable[str], error: ComfyOneError, *, final: bool = False) -> None:
        """The server gave no answer, so nothing is known of these; and never will be, if that is ``final``."""
        gone: list[tuple[str, Outcome]] = []
        with self._guard:
            now = self._clock()
            for watch in self._known(asked):
                since = watch.unanswered_since = now if watch.unanswered_since is None else watch.unanswered_since
                watch.over = False
                self._plan(watch, min(self.terms.interval, max(_CLOSEST, now - since)))
                if final:
                    gone.append((watch.prompt_id, Outcome(error=error)))
                elif now - since >= self.terms.outage:
                    gone.append((watch.prompt_id, Outcome(error=_out_of_reach(watch.prompt_id, error))))
        for prompt_id, outcome in gone:
            self._settle(prompt_id, outcome)

    def end(self, outcome: Outcome) -> None:
        """End every wait like this."""
        with self._guard:
            prompt_ids = list(self._watches)
        for prompt_id in prompt_ids:
            self._settle(prompt_id, outcome)

    def close(self, outcome: Outcome) -> None:
        """End every wait like this, and each that begins from now on."""
        with self._guard:
            self._last = outcome
        self.end(outcome)

    def _known(self, prompt_ids: Iterable[str]) -> list[_Watch]:
        return [watch for prompt_id in prompt_ids if (watch := self._watches.get(prompt_id))]

    def _pace(self, watch: _Watch) -> float:
        if not self._listening:
            age = 0.0 if watch.since is None else self._clock() - watch.since
            return min(self.terms.interval, max(_CLOSEST, age / 4))
        return self.terms.grace if watch.ending else self.terms.silence

    def _settle(self, prompt_id: str, outcome: Outcome) -> None:
        with self._guard:
            watch = self._watches.pop(prompt_id, None)
        for sink in watch.sinks if watch else ():
            _tell(sink, prompt_id, outcome)


def _tell(sink: Sink, prompt_id: str, outcome: Outcome) -> None:
    try:
        sink(outcome)
    except Exception as error:  # an entry that can't be read is its prompt's end, and no other's
        if outcome.entry is None:
            raise
        sink(Outcome(error=_unreadable(prompt_id, outcome.entry, error)))


def was_interrupted(entry: Mapping[str, Any]) -> bool:
    """Whether a history entry is of a prompt that somebody stopped."""
    return "execution_interrupted" in messages_of(entry)


def _advance(watch: _Watch, kind: Any, data: Mapping[str, Any]) -> None:
    match kind:
        case "progress_state":  # much the most frequent
            watch.states = data.get("nodes")
        case "executing":
            watch.node, watch.step = str(data.get("node")), (0, 0)
        case "progress":
            watch.node, watch.step = str(data.get("node")), (data.get("value"), data.get("max"))
        case "execution_cached":
            nodes = data.get("nodes")
            watch.done.update(map(str, nodes if isinstance(nodes, list) else ()))
        case "executed":
            watch.done.add(str(data.get("node")))


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0


def _lost(prompt_id: str, seconds: float) -> PromptLostError:
    return PromptLostError(
        prompt_id,
        f"prompt {prompt_id} is in neither queue nor history ({seconds:.1f} s)",
        hint="the server was restarted, or somebody deleted it; submit it again if it is still wanted",
    )


def _unreadable(prompt_id: str, entry: Mapping[str, Any], error: Exception) -> ComfyExecutionError:
    told = ComfyExecutionError(
        prompt_id, f"prompt {prompt_id} has ended, but its history entry can't be read: {error!r}", entry=entry
    )
    told.__cause__ = error
    return told


def _out_of_reach(prompt_id: str, error: ComfyOneError) -> PromptLostError:
    lost = PromptLostError(
        prompt_id,
        f"prompt {prompt_id}: its server gives no answer any more: {error.message}",
        hint="once the server answers, wait_for_completion tells what became of it",
    )
    lost.__cause__ = error
    return lost
