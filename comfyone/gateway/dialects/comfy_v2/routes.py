"""Comfy API v2, put together."""

from __future__ import annotations

from comfyone.gateway.dialects.comfy_v2.assets import ASSET_ROUTES
from comfyone.gateway.dialects.comfy_v2.jobs import JOB_ROUTES
from comfyone.gateway.dialects.comfy_v2.records import V2Health
from comfyone.gateway.dialects.routing import Call, Route

__all__ = ["V2_ROUTES"]


async def get_v2_health(_: Call) -> V2Health:
    return V2Health()


HEALTH = Route("GET", "/api/v2/health", get_v2_health, "Whether the gateway is there", answer=V2Health, open=True)

V2_ROUTES = (*JOB_ROUTES, *ASSET_ROUTES, HEALTH)
