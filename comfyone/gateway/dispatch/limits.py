"""The engine's times and counts, in one place. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    depth: int = 2
    """Jobs a backend holds: one that runs and one that waits there, so that it does not idle between two."""

    attempts: int = 3
    """How often a job is given to a backend before it fails as lost."""

    absence: float = 3.0
    """How long a prompt must be in neither queue nor history before it counts as never received, or as forgotten."""

    unclear: float = 5.0
    """The same for one whose sending had no answer, or that an earlier process may have sent: it can be on its way yet."""

    history: float = 30.0
    """How long the history may lag behind the announcement of an end."""

    lost: float = 60.0
    """How long a backend may stay silent before its jobs go elsewhere."""

    schedule: float = 300.0
    """How long a job waits while no backend could take it, before it fails as unschedulable."""

    stall: float = 1800.0
    """How long a job may run there without a sign of progress before the backend counts as stuck; 0: for ever."""

    backoff: float = 0.5
    """How long a job waits after a failed attempt; doubled for each further one, with jitter, up to ``backoff_most``."""

    backoff_most: float = 60.0

    quarantine: float = 5.0
    """How long a backend that lost a job or fails calls gets no more; doubled each time, up to ``quarantine_most``."""

    quarantine_most: float = 600.0

    ping: float = 15.0
    """How often a backend that says nothing is asked whether it is there."""

    sweep: float = 30.0
    """How often prompts on a backend are looked for that nobody follows any more."""

    catalogue_age: float = 300.0
    """How often a backend is asked what it can do."""

    overtaking: float = 5.0
    """How long a job may be overtaken by others whose models a backend has loaded."""

    first_look: float = 1.0
    """Silence after which the evidence is read; it grows by half each time, up to ``last_look``."""

    last_look: float = 10.0

    reconnect: float = 0.25
    """First wait before a socket is opened again; it doubles up to ``reconnect_most``, with jitter."""

    reconnect_most: float = 10.0

    retention: float = 3 * 24 * 3600.0
    """How long ended jobs and their results are kept."""
