"""The knobs: everything that can be made to go wrong, or slowly, while the sandbox runs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ScenarioError(ValueError):
    """A knob that does not exist, or a value that it does not take; the message says which."""


class Scenario(msgspec.Struct, forbid_unknown_fields=True):
    """What the sandbox does besides working. All defaults together are a well-behaved server."""

    step_time: Seconds = 0.0
    """How long one sampler step takes."""
    node_error: dict[str, str] = {}
    """Node class to message: nodes of that class raise ``RuntimeError(message)``."""
    hang: list[str] = []
    """Node classes that never finish until they are interrupted."""
    drop_sockets_after: Count | None = None
    """Cut a WebSocket once it has been sent so many messages; 0 cuts at once, those that are open too."""
    silent_sockets: bool = False
    """Accept WebSockets and send nothing."""
    late_end: Seconds = 0.0
    """Between ``execution_success`` and all that follows it (history, status, ``executing`` null)."""
    late_history: Seconds = 0.0
    """After ``executing`` null: so long a finished prompt is in neither queue nor history."""
    fail_requests: dict[str, Count] = {}
    """Path prefix to a number: so many next requests to it are answered ``fail_status``."""
    fail_status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    slow_requests: dict[str, Seconds] = {}
    """Path prefix to a delay before a request to it is looked at, even if nobody waits for the answer any more."""
    lose_answers: Count = 0
    """So many next prompts are taken, and the connection is cut instead of an answer."""
    reset_connections: bool = False
    """Cut every connection as soon as it asks for anything (except ``/sandbox``)."""
    late_prompts: Seconds = 0.0
    """A prompt whose answer is lost is taken only so long after that."""
    untargeted_interrupts: bool = False
    """As servers of old: an interrupt stops whatever runs, whatever prompt it names."""
    lacking: list[str] = []
    """Node classes that this server does not have."""
    checkpoints: list[str] | None = None
    """The checkpoints that it has, as it spells them; null: the usual ones."""
    object_info_delay: Seconds = 0.0
    object_info_padding: Annotated[float, msgspec.Meta(ge=0, le=256)] = 0.0
    """Megabytes of further node classes in ``/object_info``."""

    def changed(self, changes: Any) -> dict[str, Any]:
        """Check changes and give the values to set.

        Args:
            changes: Knob to new value; what is not named stays.

        Raises:
            ScenarioError: an unknown knob or a value that it does not take.
        """
        try:
            checked = msgspec.convert(msgspec.to_builtins(self) | msgspec.convert(changes, dict[str, Any]), Scenario)
        except msgspec.ValidationError as error:
            known = ", ".join(self.__struct_fields__)
            raise ScenarioError(f"scenario: {error}. Knobs: {known}") from None
        return {name: getattr(checked, name) for name in changes}

    def apply(self, changes: Any) -> None:
        """Check changes and set them all, or none.

        Raises:
            ScenarioError: an unknown knob or a value that it does not take.
        """
        for name, value in self.changed(changes).items():
            setattr(self, name, value)

    def apply_texts(self, texts: list[str]) -> None:
        """Set knobs given as ``NAME=JSON``, all or none; a value that is no JSON is a text.

        Raises:
            ScenarioError: a text without ``=``, an unknown knob or a value that it does not take.
        """
        changes: dict[str, Any] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals:
                raise ScenarioError(f"knob {text!r}: write NAME=JSON, such as step_time=0.5")
            try:
                changes[name.strip().replace("-", "_")] = msgspec.json.decode(value)
            except msgspec.DecodeError:
                changes[name.strip().replace("-", "_")] = value
        self.apply(changes)

    def take_failure(self, path: str) -> bool:
        """Whether a request to ``path`` is to fail; counts it."""
        for prefix, left in self.fail_requests.items():
            if left and path.startswith(prefix):
                self.fail_requests[prefix] = left - 1
                return True
        return False

    def delay(self, path: str) -> float:
        """Seconds that a request to ``path`` is to wait."""
        return max((delay for prefix, delay in self.slow_requests.items() if path.startswith(prefix)), default=0.0)
