"""Every vocabulary that the gateway speaks over HTTP, in the order in which they are asked for a path."""

from __future__ import annotations

from comfyone.gateway.dialects.admin_v1.routes import ADMIN_ROUTES
from comfyone.gateway.dialects.comfy_v2.codec import V2Codec
from comfyone.gateway.dialects.comfy_v2.routes import V2_ROUTES
from comfyone.gateway.dialects.comfyone_v1.codec import V1Codec
from comfyone.gateway.dialects.comfyone_v1.routes import ROUTES as V1_ROUTES
from comfyone.gateway.dialects.comfyui.codec import ComfyUICodec
from comfyone.gateway.dialects.comfyui.routes import COMFYUI_ROUTES
from comfyone.gateway.dialects.registry.codec import RegistryCodec
from comfyone.gateway.dialects.registry.routes import REGISTRY_ROUTES
from comfyone.gateway.dialects.routing import Dialect
from comfyone.gateway.dialects.tasks_v1.codec import TasksCodec
from comfyone.gateway.dialects.tasks_v1.document import DOCUMENT_ROUTES
from comfyone.gateway.dialects.tasks_v1.routes import TASK_ROUTES

__all__ = ["DIALECTS"]

DIALECTS = (
    Dialect(V1_ROUTES, V1Codec(), ("/v1",), compressed=True),
    Dialect(REGISTRY_ROUTES, RegistryCodec()),
    Dialect(ADMIN_ROUTES, V1Codec(), ("/admin",), compressed=True),
    Dialect(V2_ROUTES, V2Codec(), ("/api/v2",)),
    Dialect((*TASK_ROUTES, *DOCUMENT_ROUTES), TasksCodec(), ("/api/v1", "/health", "/ready"), compressed=True),
    Dialect(COMFYUI_ROUTES, ComfyUICodec(), ("/", "/api")),
)
