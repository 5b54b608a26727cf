"""What the commands for ComfyUI print with ``--json``: a document a command, documented in docs/reference/json.md.

Names and types stay as they are; what is new is added. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "DOCUMENTS",
    "EXIT_CODES",
    "BatchDocument",
    "BatchJob",
    "ConfigDocument",
    "ConversionDocument",
    "Document",
    "DoneDocument",
    "DownloadDocument",
    "ErrorDocument",
    "ErrorRecord",
    "HistoryDocument",
    "HistoryEntry",
    "InfoDocument",
    "ModelsDocument",
    "NodeErrorRecord",
    "NodesDocument",
    "OutputRecord",
    "ProblemRecord",
    "QueueDocument",
    "QueueEntry",
    "SendDocument",
    "SettingRecord",
    "TemplateDocument",
    "UploadDocument",
    "ValidationDocument",
]


class Document(BaseModel):
    """Base of all: nothing in it changes, and nothing unknown gets into it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeErrorRecord(Document):
    """What a server has against an input of a node."""

    node_id: str
    class_type: str | None = None
    input: str | None = None
    message: str
    details: str | None = None


class ErrorRecord(Document):
    """What went wrong."""

    type: str = Field(description="name of the class of the error")
    message: str
    hint: str | None = Field(default=None, description="what to do about it")
    prompt_id: str | None = Field(
        default=None, description="the prompt concerned; it can be picked up again by this id"
    )
    node_id: str | None = None
    node_type: str | None = None
    node_errors: tuple[NodeErrorRecord, ...] = ()
    reasons: tuple[str, ...] = Field(default=(), description="each by itself, where there are several")


class ErrorDocument(Document):
    """Printed in place of a command's own document when it could not do its work; the exit code is not 0."""

    error: ErrorRecord


class OutputRecord(Document):
    """One thing that a node produced: a file, or a value."""

    node_id: str
    kind: str = Field(description="images, gifs, video, audio, text, or whatever else the node calls it")
    filename: str | None = None
    subfolder: str | None = None
    type: str | None = Field(default=None, description="output, temp or input")
    value: Any = None
    path: Path | None = Field(default=None, description="where it was saved")


class SendDocument(Document):
    """``comfyone send``."""

    prompt_id: str | None = Field(description="null when the workflow was only prepared")
    state: Literal["prepared", "queued", "succeeded", "failed", "interrupted"]
    seeds: Mapping[str, int] = Field(default_factory=dict, description="seeds that were drawn, by node.input")
    seconds: float | None = None
    outputs: tuple[OutputRecord, ...] = ()
    metadata: Path | None = Field(default=None, description="the file that the run is described in")
    error: ErrorRecord | None = None


class BatchJob(Document):
    """One job of a batch."""

    job_id: str
    status: Literal["pending", "running", "completed", "failed", "cancelled"]
    prompt_id: str | None = None
    error: str | None = None
    files: tuple[Path, ...] = ()


class BatchDocument(Document):
    """``comfyone batch``."""

    total: int
    completed: int
    failed: int
    cancelled: int
    seconds: float
    jobs: tuple[BatchJob, ...]
    contact_sheet: Path | None = None


class ProblemRecord(Document):
    """One thing that is wrong with a workflow, or may be."""

    severity: Literal["error", "warning"]
    message: str
    node_id: str | None = None
    input: str | None = None
    suggestions: tuple[str, ...] = ()


class ValidationDocument(Document):
    """``comfyone validate``."""

    file: Path
    valid: bool
    checked_against: str | None = Field(
        default=None, description="the server whose nodes and models were known, if any"
    )
    total_nodes: int | None = None
    node_types: Mapping[str, int] = Field(default_factory=dict)
    problems: tuple[ProblemRecord, ...] = ()


class ConversionDocument(Document):
    """``comfyone convert``."""

    file: Path
    saved: Path | None = None
    graph: Mapping[str, Any] | None = Field(default=None, description="the graph itself, unless it was saved")
    notes: tuple[str, ...] = ()
    differences: tuple[str, ...] = Field(default=(), description="from the file named with --diff")


class QueueEntry(Document):
    """A prompt that waits or runs."""

    prompt_id: str
    number: float = Field(description="its place: the lower, the sooner")
    nodes: int | None = None


class QueueDocument(Document):
    """``comfyone queue``."""

    running: tuple[QueueEntry, ...]
    pending: tuple[QueueEntry, ...]
    raw: Mapping[str, Any] | None = Field(default=None, description="the server's own document, with --verbose")


class HistoryEntry(Document):
    """A prompt that is over."""

    prompt_id: str
    status: str
    outputs: tuple[OutputRecord, ...] = ()


class HistoryDocument(Document):
    """``comfyone history``."""

    entries: tuple[HistoryEntry, ...]


class UploadDocument(Document):
    """``comfyone upload``."""

    name: str
    subfolder: str
    type: str
    value: str = Field(description="what an input of LoadImage takes")


class DownloadDocument(Document):
    """``comfyone download``."""

    path: Path
    size: int


class ModelsDocument(Document):
    """``comfyone models``: the folders, or what is in one."""

    folder: str | None = None
    names: tuple[str, ...]


class NodesDocument(Document):
    """``comfyone nodes``: the classes, or all about one."""

    names: tuple[str, ...]
    info: Mapping[str, Any] | None = None


class InfoDocument(Document):
    """``comfyone info``."""

    url: str
    system: Mapping[str, Any]
    devices: tuple[Mapping[str, Any], ...]
    queue_remaining: int | None = None


class TemplateDocument(Document):
    """``comfyone template``."""

    parameters: Mapping[str, Any] = Field(description="name to its present value")
    saved: Path | None = None
    graph: Mapping[str, Any] | None = None


class DoneDocument(Document):
    """``comfyone interrupt`` and ``comfyone free``."""

    done: bool
    prompt_id: str | None = None


class SettingRecord(Document):
    """A setting as it is in force."""

    name: str
    value: Any
    origin: str
    variable: str
    description: str


class ConfigDocument(Document):
    """``comfyone config``."""

    settings: tuple[SettingRecord, ...]


DOCUMENTS: Mapping[str, type[Document]] = {
    "send": SendDocument,
    "batch": BatchDocument,
    "validate": ValidationDocument,
    "convert": ConversionDocument,
    "template": TemplateDocument,
    "queue": QueueDocument,
    "history": HistoryDocument,
    "interrupt": DoneDocument,
    "free": DoneDocument,
    "upload": UploadDocument,
    "download": DownloadDocument,
    "models": ModelsDocument,
    "nodes": NodesDocument,
    "info": InfoDocument,
    "config": ConfigDocument,
}
"""Command to document."""

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "it failed, was refused, took too long, or the server is out of reach; the error says which",
    2: "the command was not understood: a wrong option or argument",
    130: "Ctrl-C; what was sent goes on, and its id was printed (`batch` ends with 1)",
}
"""What the exit codes of all commands mean."""
