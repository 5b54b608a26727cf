"""Every request that a ComfyUI understands, as data: one function an endpoint, none of which sends anything.

Checked against ComfyUI 0.3.75. Each path also exists under ``/api``; a base address with that prefix works as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from comfyone.errors import ValidationError
from comfyone.transport.call import TRANSFER_TIMEOUT, Call, Upload

__all__ = [
    "CORE",
    "cancel_prompts",
    "clear_history",
    "clear_queue",
    "create_user",
    "delete_userdata",
    "free_memory",
    "get_embeddings",
    "get_extensions",
    "get_features",
    "get_folder_paths",
    "get_history",
    "get_index",
    "get_logs",
    "get_models",
    "get_object_info",
    "get_prompt",
    "get_queue",
    "get_raw_logs",
    "get_server_files",
    "get_settings",
    "get_system_stats",
    "get_translations",
    "get_userdata",
    "get_users",
    "get_workflow_templates",
    "interrupt_execution",
    "list_userdata",
    "move_userdata",
    "queue_prompt",
    "remove_from_history",
    "save_userdata",
    "set_setting",
    "set_settings",
    "upload_file",
    "upload_mask",
    "view",
    "view_metadata",
]

CORE = ("prompt", "queue", "history", "interrupt", "object_info", "system_stats", "ws")
"""Where every ComfyUI answers: what has none of these at its place is no ComfyUI."""

_OBJECT_INFO_SECONDS = 300.0


def queue_prompt(
    workflow: Mapping[str, Any],
    *,
    prompt_id: str,
    client_id: str | None,
    front: bool = False,
    number: float | None = None,
    extra_data: Mapping[str, Any] | None = None,
    partial_execution_targets: Sequence[str] | None = None,
) -> Call:
    """Queue a graph under an id of our own. Sent twice it would run twice, so `flows.submit` looks before it repeats.

    Raises:
        ValidationError: The workflow is no graph in API format, or nothing has such an id.
    """
    _check_graph(workflow)
    _segment(prompt_id, "prompt_id")  # what it comes to can be asked for
    body: dict[str, Any] = {"prompt": workflow, "prompt_id": prompt_id}
    further = {
        "client_id": client_id,
        "number": number,
        "front": front or None,
        "extra_data": dict(extra_data) if extra_data else None,
        "partial_execution_targets": list(partial_execution_targets) if partial_execution_targets else None,
    }
    body |= {name: value for name, value in further.items() if value is not None}
    return Call("POST", "prompt", json=body, idempotent=False, read_timeout=TRANSFER_TIMEOUT)


def _check_graph(workflow: Any) -> None:
    if not isinstance(workflow, Mapping) or not workflow:
        raise ValidationError(
            f"the workflow is no graph, but {'empty' if workflow == {} else type(workflow).__name__!r}",
            hint="give node ids mapped to {'class_type': …, 'inputs': …}",
        )
    if isinstance(workflow.get("nodes"), list):
        raise ValidationError(
            "the workflow is in ComfyUI's UI format",
            hint="export it with 'Export (API)', or convert it with 'comfyone convert'",
        )


def get_prompt() -> Call:
    """How many prompts wait or run."""
    return Call("GET", "prompt")


def get_queue() -> Call:
    """All prompts that wait or run."""
    return Call("GET", "queue")


def clear_queue() -> Call:
    """Throw out all that waits, whoever sent it. What comes meanwhile would go with a repeat, so there is none."""
    return Call("POST", "queue", json={"clear": True}, idempotent=False)


def cancel_prompts(prompt_ids: Sequence[str]) -> Call:
    """Throw these out of the queue; those that run already stay."""
    return Call("POST", "queue", json={"delete": _ids(prompt_ids)})


def get_history(prompt_id: str | None = None, max_items: int | None = None, offset: int | None = None) -> Call:
    """What has run: one prompt, or the latest of all."""
    if prompt_id is not None:
        return Call("GET", f"history/{_segment(prompt_id, 'prompt_id')}")
    return Call("GET", "history", params={"max_items": max_items, "offset": offset})


def clear_history() -> Call:
    """Forget all that has run."""
    return Call("POST", "history", json={"clear": True}, idempotent=False)


def remove_from_history(prompt_ids: Sequence[str]) -> Call:
    """Forget these."""
    return Call("POST", "history", json={"delete": _ids(prompt_ids)})


def interrupt_execution(prompt_id: str | None = None) -> Call:
    """Stop what runs, or only this prompt if it runs. A repeat without an id might stop the next one."""
    body = {} if prompt_id is None else {"prompt_id": prompt_id}
    return Call("POST", "interrupt", json=body, idempotent=False)


def free_memory(unload_models: bool = False, free_memory: bool = False) -> Call:
    """Ask to unload models, and to forget cached results, when nothing runs any more."""
    return Call("POST", "free", json={"unload_models": unload_models, "free_memory": free_memory})


def get_object_info(node_class: str | None = None) -> Call:
    """What node classes there are; it may be megabytes, and take long."""
    path = "object_info" if node_class is None else f"object_info/{_segment(node_class, 'node_class')}"
    return Call("GET", path, read_timeout=_OBJECT_INFO_SECONDS)


def get_models(folder: str | None = None) -> Call:
    """The folders of models, or the models in one."""
    return Call("GET", "models" if folder is None else f"models/{_segment(folder, 'folder')}")


def get_embeddings() -> Call:
    """Embeddings by name."""
    return Call("GET", "embeddings")


def get_extensions() -> Call:
    """Scripts of the web page."""
    return Call("GET", "extensions")


def get_system_stats() -> Call:
    """The system and its devices."""
    return Call("GET", "system_stats")


def get_features() -> Call:
    """What the server supports."""
    return Call("GET", "features")


def get_index() -> Call:
    """The web page."""
    return Call("GET", "")


def view(
    filename: str,
    subfolder: str = "",
    folder_type: str = "output",
    *,
    preview: str | None = None,
    channel: str | None = None,
) -> Call:
    """A file. ``preview`` such as ``"webp;90"`` makes a smaller picture of it; ``channel`` is rgb, a or rgba."""
    params = {"filename": filename, "subfolder": subfolder, "type": folder_type}
    return Call("GET", "view", params={**params, "preview": preview, "channel": channel}, read_timeout=TRANSFER_TIMEOUT)


def view_metadata(folder: str, filename: str) -> Call:
    """The header of a ``.safetensors`` file."""
    return Call("GET", f"view_metadata/{_segment(folder, 'folder')}", params={"filename": filename})


def upload_file(upload: Upload, subfolder: str = "", overwrite: bool = False, folder_type: str = "input") -> Call:
    """Put a file, of any kind, where nodes find it. The server may change its name; the answer says.

    Args:
        upload: The file, whose part is named ``image``, as ComfyUI wants it whatever it holds.
    """
    return _upload("upload/image", upload, subfolder, overwrite, folder_type)


def upload_mask(
    upload: Upload,
    original: Mapping[str, Any],
    subfolder: str = "",
    overwrite: bool = False,
    folder_type: str = "input",
) -> Call:
    """Put a picture there whose transparency is taken from ``upload``, and all else from ``original``.

    Args:
        original: Where that lies: ``filename``, ``subfolder`` and ``type``.
    """
    reference = json.dumps({name: original[name] for name in ("filename", "subfolder", "type") if name in original})
    return _upload("upload/mask", upload, subfolder, overwrite, folder_type, original_ref=reference)


def _upload(path: str, upload: Upload, subfolder: str, overwrite: bool, kind: str, **fields: str) -> Call:
    if kind not in ("input", "temp", "output"):
        raise ValidationError(f"type must be 'input', 'temp' or 'output', not {kind!r}")
    told = {"subfolder": subfolder, "type": kind, "overwrite": "true" if overwrite else "false", **fields}
    # Equal bytes under one name are one file to the server, so that a lost answer may be asked for again.
    return Call("POST", path, upload=replace(upload, part="image", fields=told), read_timeout=TRANSFER_TIMEOUT)


def list_userdata(
    directory: str | None = None, *, recurse: bool = False, full_info: bool = False, split: bool = False
) -> Call:
    """The user's files in a folder; without one, all of them with what they are."""
    if directory is None:
        return Call("GET", "v2/userdata")
    flags = {"recurse": recurse, "full_info": full_info, "split": split}
    return Call("GET", "userdata", params={"dir": directory, **{name: "true" for name, on in flags.items() if on}})


def get_userdata(file: str) -> Call:
    """A file of the user's."""
    return Call("GET", f"userdata/{_segment(file, 'file')}")


def save_userdata(file: str, content: Any, *, overwrite: bool = True, full_info: bool = False) -> Call:
    """Write a file of the user's: bytes or text as they are, anything else as JSON."""
    raw = content.encode() if isinstance(content, str) else content
    body: dict[str, Any] = {"content": bytes(raw)} if isinstance(raw, bytes | bytearray) else {"json": raw}
    params = {"overwrite": str(overwrite).lower(), "full_info": str(full_info).lower()}
    return Call("POST", f"userdata/{_segment(file, 'file')}", params=params, idempotent=overwrite, **body)


def delete_userdata(file: str) -> Call:
    """Delete a file of the user's. The second time it would be missing, so a repeat could not tell."""
    return Call("DELETE", f"userdata/{_segment(file, 'file')}", idempotent=False)


def move_userdata(file: str, target: str, *, overwrite: bool = True, full_info: bool = False) -> Call:
    """Rename a file of the user's."""
    path = f"userdata/{_segment(file, 'file')}/move/{_segment(target, 'target')}"
    params = {"overwrite": str(overwrite).lower(), "full_info": str(full_info).lower()}
    return Call("POST", path, params=params, idempotent=False)


def get_settings(name: str | None = None) -> Call:
    """The user's settings, or one of them."""
    return Call("GET", "settings" if name is None else f"settings/{_segment(name, 'name')}")


def set_settings(settings: Mapping[str, Any]) -> Call:
    """Change some of the user's settings; the others stay."""
    return Call("POST", "settings", json=dict(settings))


def set_setting(name: str, value: Any) -> Call:
    """Change one of the user's settings."""
    if value is None:  # a body of its own would be none at all
        return set_settings({name: None})
    return Call("POST", f"settings/{_segment(name, 'name')}", json=value)


def get_logs() -> Call:
    """What the server has logged, as a text."""
    return Call("GET", "internal/logs")


def get_raw_logs() -> Call:
    """What the server has logged, line by line."""
    return Call("GET", "internal/logs/raw")


def get_folder_paths() -> Call:
    """Where the server looks for models."""
    return Call("GET", "internal/folder_paths")


def get_server_files(folder_type: str = "output") -> Call:
    """Names of the files in the input, output or temp folder itself, the newest first."""
    return Call("GET", f"internal/files/{_segment(folder_type, 'folder_type')}")


def get_workflow_templates() -> Call:
    """Example workflows that custom nodes bring along, by package."""
    return Call("GET", "workflow_templates")


def get_translations() -> Call:
    """Translations that custom nodes bring along."""
    return Call("GET", "i18n")


def get_users() -> Call:
    """The users, where the server knows more than one."""
    return Call("GET", "users")


def create_user(name: str) -> Call:
    """Add a user, where the server knows more than one."""
    return Call("POST", "users", json={"username": name}, idempotent=False)


def _ids(prompt_ids: Sequence[str]) -> list[str]:
    if isinstance(prompt_ids, str):
        raise ValidationError("prompt_ids must be several ids, not one text", hint=f"give [{prompt_ids!r}]")
    return list(prompt_ids)


def _segment(value: str, what: str) -> str:
    """A value as one part of a path, whatever it holds."""
    if not isinstance(value, str) or not value or value in (".", ".."):
        raise ValidationError(f"{what} must be a name, not {value!r}")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise ValidationError(f"{what} holds what is no character: {value!r}") from error
