"""What has ended."""

from __future__ import annotations

from typing import Any

from comfyone.gateway.dialects.comfyui.bodies import Changes
from comfyone.gateway.dialects.comfyui.entries import history_entry, told
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.routing import Call, Query

__all__ = ["HISTORY_ROUTES"]


async def get_history(call: Call) -> Any:
    offset = call.number("offset")
    wanted = None if offset is None or offset < 0 else offset
    prompts = await call.services.prompts.history(call.principal, call.number("max_items"), wanted)
    return dict(await told(call, prompts, lambda prompt, catalog: (prompt.id, history_entry(prompt, catalog))))


async def get_history_entry(call: Call) -> Any:
    prompt = await call.services.prompts.entry(call.principal, call.path("prompt_id"))
    if prompt is None:
        return {}
    return {prompt.id: history_entry(prompt, await call.services.node_info.catalog(call.principal))}


async def change_history(call: Call) -> None:
    body: Changes = await call.body()
    if body.clear:
        await call.services.prompts.clear(call.principal)
    await call.services.prompts.hide(call.principal, body.delete or ())


HISTORY_ROUTES = (
    native(
        "GET",
        "/history",
        get_history,
        "Prompts that have ended, the latest last",
        answer=dict[str, dict[str, Any]],
        query=(
            Query("max_items", "how many, 1,000 at most", int, None, 0),
            Query("offset", "from which on, counted from the oldest; without it, the latest are given", int, None),
        ),
    ),
    native("GET", "/history/{prompt_id}", get_history_entry, "How a prompt ended", answer=dict[str, dict[str, Any]]),
    native("POST", "/history", change_history, "Hide prompts in this history", body=Changes, media=""),
)
