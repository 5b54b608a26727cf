"""Comfy API v2, put together."""

from __future__ import annotations

from dataclasses import replace

from comfyone.gateway.dialects.comfy_v2.assets import ASSET_ROUTES
from comfyone.gateway.dialects.comfy_v2.jobs import JOB_ROUTES
from comfyone.gateway.dialects.comfy_v2.records import V2Health
from comfyone.gateway.dialects.routing import Call, Route
from comfyone.gateway.domain.tenants import Scope

__all__ = ["V2_ROUTES"]


async def get_v2_health(_: Call) -> V2Health:
    return V2Health()


HEALTH = Route("GET", "/api/v2/health", get_v2_health, "Whether the gateway is there", answer=V2Health, open=True)

V2_ROUTES = (*(replace(route, scope=Scope.JOBS) for route in (*JOB_ROUTES, *ASSET_ROUTES)), HEALTH)
"""All but the last need a key for jobs; running a graph takes one for graphs too."""
