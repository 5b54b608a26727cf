"""What a server tells us of a prompt: hints from its socket, evidence from its queue and history (law 3)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from comfyone.errors import ComfyOneError
from comfyone.gateway.domain.jobs import Failure

__all__ = [
    "Ending",
    "FileRef",
    "Gone",
    "Hint",
    "HintKind",
    "Preview",
    "Produced",
    "Refused",
    "Unreachable",
    "Unsent",
    "Where",
    "Whereabouts",
    "WrongServer",
]


class Unreachable(ComfyOneError):
    """The server gave no usable answer. Whether it took the request is unclear; unless it ``answered``, whatever it said, the
    request may even be on its way yet."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class Unsent(Unreachable):
    """The request certainly never reached the server."""


class WrongServer(ComfyOneError):
    """Something answers, but it is not what it should be."""


class Gone(ComfyOneError):
    """There is nothing to fetch. ``vanished``: the server names a file that it no longer has."""

    def __init__(self, message: str, *, hint: str | None = None, vanished: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.vanished = vanished


class Refused(ComfyOneError):
    """The server will not run the graph; the reason lies in the graph. ``unable``: another server might, which has the node
    class or the file that this one lacks."""

    def __init__(self, failure: Failure, *, unable: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.unable = unable


class HintKind(Enum):
    CONNECTED = auto()  # the socket is up; whatever was said before may have been missed
    BEGUN = auto()
    PROGRESS = auto()  # nodes are done or under way
    OUTPUT = auto()  # a node reported its output
    PREVIEW = auto()  # a picture of what a node is making
    TEXT = auto()  # a node says something
    ENDING = auto()  # the end was announced; the history may not have it yet
    OVER = auto()  # the history has it


class Preview(msgspec.Struct, frozen=True):
    """A picture of unfinished work. ``content`` is a view of the frame that it came in: nothing is copied for nobody."""

    mime: str
    content: memoryview


class Hint(msgspec.Struct, frozen=True):
    """One message of the socket. ``done`` are nodes that need no more work, ``fractions`` the share done of others, ``step``
    the steps done of the node that is under way, and of how many.

    ``message`` is what was said, as it was said, of a preview what came with the picture; ``text`` the frame in which a node
    said something. They are for those who understand the server's own words.
    """

    kind: HintKind
    prompt_id: str | None = None
    done: frozenset[str] = frozenset()
    fractions: Mapping[str, float] = msgspec.field(default_factory=dict)
    node_id: str | None = None
    step: tuple[float, float] | None = None
    produced: tuple[Produced, ...] = ()
    preview: Preview | None = None
    message: Mapping[str, Any] | None = None
    text: bytes | None = None


class FileRef(msgspec.Struct, frozen=True):
    """A file on a server, as the server names it."""

    filename: str
    subfolder: str
    type: str


class Produced(msgspec.Struct, frozen=True):
    """One thing that a node produced: a file on the server, or a value. ``kind`` is the server's word for it.

    ``more`` is what else the server says of the file, ``remarks`` what it says of all that the node made. A ``single`` value
    stood by itself, in no list.
    """

    node_id: str
    kind: str
    file: FileRef | None = None
    value: Any = None
    more: Mapping[str, Any] = msgspec.field(default_factory=dict)
    remarks: Mapping[str, Any] = msgspec.field(default_factory=dict)
    single: bool = False


class Ending(msgspec.Struct, frozen=True):
    """How a prompt ended, after the server's history. Neither failure nor interruption: it succeeded."""

    produced: tuple[Produced, ...] = ()
    failure: Failure | None = None
    interrupted: bool = False
    node_id: str | None = None
    """The node that was interrupted, if it was one, and its class."""

    node_type: str | None = None


class Where(Enum):
    PENDING = auto()
    RUNNING = auto()
    ENDED = auto()
    ABSENT = auto()  # neither queued nor in the history; meaningful only when it stays so


class Whereabouts(msgspec.Struct, frozen=True):
    where: Where
    ending: Ending | None = None
