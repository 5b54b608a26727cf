"""All that ComfyUI serves and we do; docs/reference/comfyui.md says what each means here."""

from __future__ import annotations

from comfyone.gateway.dialects.comfyui.catalog import CATALOG_ROUTES
from comfyone.gateway.dialects.comfyui.files import FILE_ROUTES
from comfyone.gateway.dialects.comfyui.history import HISTORY_ROUTES
from comfyone.gateway.dialects.comfyui.jobs import JOB_ROUTES
from comfyone.gateway.dialects.comfyui.prompts import PROMPT_ROUTES
from comfyone.gateway.dialects.comfyui.system import SYSTEM_ROUTES
from comfyone.gateway.dialects.comfyui.userdata import USERDATA_ROUTES

__all__ = ["COMFYUI_ROUTES"]

COMFYUI_ROUTES = (
    *PROMPT_ROUTES,
    *HISTORY_ROUTES,
    *JOB_ROUTES,
    *FILE_ROUTES,
    *CATALOG_ROUTES,
    *USERDATA_ROUTES,
    *SYSTEM_ROUTES,
)
