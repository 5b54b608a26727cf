"""Whether a backend is trusted with jobs: a circuit that failures open and a good probe closes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Circuit"]

TOLERATED = 3
"""Calls in a row that may fail before the circuit opens; a job that was lost or got stuck opens it at once."""


@dataclass(slots=True)
class Circuit:
    """Times are seconds of any clock that only goes forward. ``first`` is how long it stays open at first; each time that
    it opens again without a job having succeeded in between doubles that, up to ``most``."""

    first: float = 5.0
    most: float = 600.0
    reason: str | None = None
    """Why it is open; None while it is closed."""

    until: float = 0.0
    """When it may be probed."""

    _failures: int = 0
    _opened: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    @property
    def open(self) -> bool:
        return self.reason is not None

    def fail(self, reason: str, now: float) -> bool:
        """A call got no usable answer. Returns whether that opened the circuit."""
        self._failures += 1
        return self._failures >= TOLERATED and self.trip(reason, now)

    def trip(self, reason: str, now: float) -> bool:
        """Opens it at once. Returns whether it was closed."""
        was_closed, self.reason, self._failures = not self.open, reason, 0
        if was_closed:
            pause = min(self.first * 2**self._opened, self.most)
            self.until = now + pause * self._random.uniform(0.75, 1.25)
            self._opened = min(self._opened + 1, 30)
        return was_closed

    def probed(self, *, good: bool, now: float) -> None:
        """What a probe of an open circuit said: it closes, or stays open for longer."""
        reason, self.reason = self.reason, None
        if not good:
            self.trip(reason or "it does not answer", now)

    def answered(self) -> None:
        """A call was answered."""
        self._failures = 0

    def succeeded(self) -> None:
        """A job ended well there: earlier trouble is forgotten."""
        self._failures = self._opened = 0
