"""What a failure means for the job that met it. Pure."""

from __future__ import annotations

import builtins
from concurrent.futures import CancelledError
from enum import Enum, auto

from comfyone.errors import (
    APIError,
    ComfyExecutionError,
    ComfyOneError,
    NotComfyUIError,
    PromptLostError,
    PromptRejectedError,
    ValidationError,
)

__all__ = ["SavingError", "Verdict", "is_gone", "judge", "may_have_been_sent", "told"]

_REFUSALS = frozenset({401, 403, 404, 405, 407})
_TRANSIENT = frozenset({408, 429})


class SavingError(ComfyOneError):
    """The results of a job are there, but can't be written. The job was run, and need not be run again."""


class Verdict(Enum):
    """Whose fault it is, and so what helps."""

    REQUEST = auto()
    """What was asked is wrong: nothing helps."""
    RUN = auto()
    """It was taken, and failed: another try may do better."""
    STOPPED = auto()
    """Somebody stopped it at the server, who would not like to see it again."""
    SERVER = auto()
    """The server is away, or gave no good answer: another one helps, or time."""
    REFUSED = auto()
    """The server doesn't want us, or is no ComfyUI: another one helps, but time does not."""
    LOCAL = auto()
    """It went well, and we can't keep the results: whoever owns this machine must help."""


def judge(error: BaseException) -> Verdict:
    """Say what a failure means."""
    match error:
        case SavingError():
            return Verdict.LOCAL
        case PromptRejectedError() | ValidationError():
            return Verdict.REQUEST
        case PromptLostError():
            return Verdict.SERVER
        case ComfyExecutionError():
            return Verdict.STOPPED if error.interrupted else Verdict.RUN
        case CancelledError():
            return Verdict.STOPPED
        case NotComfyUIError():
            return Verdict.REFUSED
        case APIError(status=int() as status):
            return _of_status(status)
        case APIError() | builtins.ConnectionError() | TimeoutError():
            return Verdict.SERVER
        case _:
            return Verdict.RUN


def _of_status(status: int) -> Verdict:
    if status in _REFUSALS:
        return Verdict.REFUSED
    return Verdict.REQUEST if 400 <= status < 500 and status not in _TRANSIENT else Verdict.SERVER


def may_have_been_sent(error: BaseException) -> bool:
    """Whether a prompt whose sending or watching failed so may be at the server all the same."""
    if isinstance(error, PromptLostError):
        return not is_gone(error)
    return not (isinstance(error, ComfyOneError) and error.context.get("sent") is False)


def is_gone(error: PromptLostError) -> bool:
    """Whether the server answered, and does not know the prompt. Otherwise it gave no answer, which is the cause."""
    return error.__cause__ is None


def told(error: BaseException) -> str:
    """The failure in words; never empty."""
    if isinstance(error, CancelledError):
        return "its prompt was cancelled by somebody else"
    return str(error) or type(error).__name__
