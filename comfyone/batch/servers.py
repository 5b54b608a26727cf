"""Which server gets the next job: the least busy of those that are up. Pure; somebody else says what time it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfyone.transport.retry import RetryPolicy

__all__ = ["Server", "Servers"]


@dataclass(eq=False, slots=True)
class Server:
    """What a queue knows of one server.

    Args:
        index: Its place among the clients that the queue was given.
        name: Its address, for people.
        busy: How many of the queue's jobs it has.
        taken: How many it ever got, so that equals take turns.
        failures: How often in a row it was away; 0 means that it is up.
        rest_until: Until when it gets nothing.
    """

    index: int
    name: str
    busy: int = 0
    taken: int = 0
    failures: int = 0
    rest_until: float = 0.0


class Servers:
    """All servers of a queue.

    A server that fails rests for a while, longer each time. After that it gets one job; if it takes that, it is up again.
    """

    def __init__(self, names: Sequence[str], backoff: RetryPolicy) -> None:
        self.all = tuple(Server(index, name) for index, name in enumerate(names))
        self.limit = 1
        self._backoff = backoff

    def share(self, workers: int) -> None:
        """Set how many jobs a server may have at once, given how many there may be in all."""
        self.limit = max(1, -(-workers // len(self.all)))

    def choose(self, now: float, wanted: Server | None = None) -> Server | None:
        """The server for the next job, or None when that has to wait.

        Args:
            wanted: Where the job may be already: there, looking for it costs nothing. It is asked unless it is resting.
        """
        if wanted is not None and wanted.rest_until <= now:
            return wanted
        free = [server for server in self.all if self._has_room(server, now)]
        return min(free, key=lambda server: (server.failures > 0, server.busy, server.taken), default=None)

    def _has_room(self, server: Server, now: float) -> bool:
        return server.rest_until <= now and server.busy < (1 if server.failures else self.limit)

    def take(self, server: Server) -> None:
        """A job goes there."""
        server.busy += 1
        server.taken += 1

    def release(self, server: Server) -> None:
        """It is no longer there."""
        server.busy -= 1

    def answered(self, server: Server) -> None:
        """It took a job: it is up."""
        server.failures, server.rest_until = 0, 0.0

    def failed(self, server: Server, now: float, error: BaseException) -> None:
        """It is away, and gets nothing for a while. What fails while it rests says nothing new."""
        if server.rest_until <= now:
            server.failures += 1
            server.rest_until = now + self._backoff.delay(min(server.failures, 30), error)

    def another_is_up(self, server: Server) -> bool:
        """Whether there is another that works, as far as is known."""
        return any(other is not server and not other.failures for other in self.all)

    def next_return(self, now: float) -> float | None:
        """When the next of those that rest may be tried again."""
        return min((server.rest_until for server in self.all if server.rest_until > now), default=None)
