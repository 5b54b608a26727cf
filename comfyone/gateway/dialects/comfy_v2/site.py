"""What the operations of one gateway share: where callers find it, how long things are kept, and who listens."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from comfyone.gateway.dialects.comfy_v2.links import Links
from comfyone.gateway.dialects.routing import Call

__all__ = ["Site", "site_of"]


@dataclass(frozen=True, slots=True)
class Site:
    """``retention``: seconds that ended jobs and their results are kept; ``max_streams``: open event streams of one tenant.

    ``streams`` counts those that are open, by tenant; ``classes`` are the classes of the nodes of jobs that were looked at
    lately.
    """

    public_url: str | None
    retention: float
    max_streams: int
    streams: Counter[str] = field(default_factory=Counter)
    classes: OrderedDict[tuple[str, tuple[str, ...] | None], Mapping[str, str]] = field(default_factory=OrderedDict)

    def links(self, call: Call) -> Links:
        return Links(call.request.scope, self.public_url)


def site_of(call: Call) -> Site:
    site: Site = call.services.comfy_v2
    return site
