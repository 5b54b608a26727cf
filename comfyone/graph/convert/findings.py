"""What a conversion gives, what it says besides, and why it may refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfyone.errors import ValidationError

__all__ = ["Conversion", "ConversionError", "Note", "Reason", "Seed"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the result that the file alone doesn't show."""

    message: str
    node_id: str | None = None
    """The node, as its id stands in the result (``"outer:inner"`` within subgraphs)."""
    kind: str = ""
    """A word for programs: ``bypassed``, ``choice``, ``default``, ``unconnected``, …"""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Seed:
    """An input that the editor changes after each run."""

    node_id: str
    input: str
    value: Any
    control: str
    """``fixed``, ``randomize``, ``increment``, ``decrement`` or ``increment-wrap``."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file was refused: the node, what is unclear about it, and what to do."""

    message: str
    hint: str
    node_id: str | None = None
    class_type: str | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})"


@dataclass(frozen=True, slots=True)
class Conversion:
    """A graph in API format. ``seeds`` are its inputs that the editor would change for the next run."""

    graph: dict[str, dict[str, Any]]
    notes: tuple[Note, ...] = ()
    seeds: tuple[Seed, ...] = ()


class ConversionError(ValidationError, ValueError):
    """A file of the editor can't be converted with certainty. ``reasons`` holds every reason that was found."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        listed = "; ".join(reason.message for reason in self.reasons)
        more = f"{len(self.reasons)} reasons: " if len(self.reasons) > 1 else ""
        hints = list(dict.fromkeys(reason.hint for reason in self.reasons))
        nodes = [reason.node_id for reason in self.reasons if reason.node_id is not None]
        super().__init__(
            f"the workflow can't be converted to the API format: {more}{listed}",
            {"nodes": list(dict.fromkeys(nodes))},
            hint="; ".join(hints),
        )
