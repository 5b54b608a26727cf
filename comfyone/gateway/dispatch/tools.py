"""What an engine has in common for all its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.dispatch.previews import Previews
from comfyone.gateway.dispatch.secrets import Secrets
from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.ports import Blobs, Bus, Store
from comfyone.gateway.services.graphs import Graphs

__all__ = ["Tools"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run works with."""

    store: Store
    graphs: Graphs
    blobs: Blobs
    bus: Bus
    limits: Limits
    secrets: Secrets
    previews: Previews
    later: Callable[[float, str], None]
    """Looks again, in so many seconds, whether something of a tenant can be placed."""

    elsewhere: Callable[[Job], bool]
    """Whether another backend than the one that has a job may be able to run it."""
