"""What a key may see of its tenant's jobs, and how far back it is looked for them in place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.ports import JobView, TenantDoor

__all__ = ["NOTHING", "hidden", "is_far", "shown"]

NOTHING = b"{}"
"""What is shown in place of what a key may not see."""

NEAR = 1000
"""Jobs that a list may leave out and be read in place all the same."""


def hidden(principal: Principal, door: TenantDoor, job_ids: Iterable[str]) -> Collection[str]:
    """Those of the jobs whose graph and inputs the key may not see: they run workflows that it may not run."""
    if principal.workflows is None:
        return ()
    names = {job_id: door.workflow_of(job_id) for job_id in job_ids}
    return {job_id for job_id, name in names.items() if name is not None and not principal.may_run(name)}


def shown(principal: Principal, door: TenantDoor, views: Sequence[JobView]) -> list[JobView]:
    """Jobs as the key may see them: without the inputs of the `hidden` ones."""
    without = hidden(principal, door, [view.job.id for view in views])
    return [replace(view, job=replace(view.job, values=NOTHING)) if view.job.id in without else view for view in views]


def is_far(states: Sequence[JobState], offset: int) -> bool:
    """Whether a list of jobs may take its time, and is to be read beside the event loop: to find those in some states, or
    behind many others, is to look at all that came later."""
    return bool(states) or offset > NEAR
