"""The one ComfyUI server that a command speaks to: which it is, under which settings, and how a failure is told."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from comfyone.cli.documents import Document, ErrorDocument, ErrorRecord, NodeErrorRecord, OutputRecord
from comfyone.cli.output import fail
from comfyone.errors import ComfyOneError, NotComfyUIError, ServerUnreachableError
from comfyone.settings.client import ClientSettings, load_client_settings
from comfyone.settings.sources import yaml_value
from comfyone.utils.config import setup_logging

if TYPE_CHECKING:
    from comfyone.comfyui.client import ComfyUIClient
    from comfyone.comfyui.results import FileRef

__all__ = [
    "CommandError",
    "Given",
    "Server",
    "client_of",
    "error_record",
    "given_in",
    "kept",
    "output_record",
    "print_document",
    "settings_of",
    "told",
]

Server = Annotated[
    str | None, typer.Option("--server", "-s", help="Address of the ComfyUI server, in place of the settings'.")
]


class CommandError(ComfyOneError):
    """A command can't do its work. ``exit_code`` is what it ends with; see `EXIT_CODES`."""

    def __init__(
        self, message: str, hint: str | None = None, exit_code: int = 1, *, prompt_id: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
        self.prompt_id = prompt_id


@dataclass(frozen=True, slots=True)
class Given:
    """What was said before the command: the settings file, and settings by name."""

    config: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, config: Path | None, assignments: Sequence[str]) -> Given:
        """Read ``section.name=value`` texts; a value is YAML, as in the file."""
        values = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            if not name or not equals:
                raise fail(f"--set {text} is not NAME=VALUE", "such as --set comfyui.port=8189", code=2)
            values[name] = yaml_value(value)
        return cls(config, values)


def given_in(context: typer.Context) -> Given:
    found = context.find_object(Given)
    return found or Given()


def settings_of(context: typer.Context, **arguments: Any) -> ClientSettings:
    """The settings of a command; ``arguments`` are its own options by ``section__name``.

    Raises:
        SettingsError: one of them is wrong.
    """
    given = given_in(context)
    own = {name.replace("__", "."): value for name, value in arguments.items() if value is not None}
    return load_client_settings(given.config, {**given.values, **own})[0]


@contextmanager
def client_of(settings: ClientSettings) -> Iterator[ComfyUIClient]:
    """A client of the server; it is closed at the end."""
    from comfyone.comfyui.client import ComfyUIClient  # noqa: PLC0415 - HTTP and pictures: only for commands that need them

    server, socket = settings.comfyui, settings.websocket
    setup_logging({"logging": settings.logging.model_dump()})
    with ComfyUIClient(
        server.host,
        server.port,
        server.protocol,
        server.timeout,
        url=server.url,
        headers={name: value.get_secret_value() for name, value in server.headers.items()},
        auth=_auth(server.auth),
        tracker="websocket" if socket.enable else "http",
        reconnect_attempts=socket.reconnect_attempts,
        reconnect_delay=socket.reconnect_delay,
    ) as client:
        try:
            yield client
        except ServerUnreachableError as error:
            error.message = f"{client.base_url} does not answer: {error.message}"
            error.hint = "start the server, or name another one with --server"
            raise
        except NotComfyUIError as error:
            error.message = f"{client.base_url}: {error.message}"
            raise


@contextmanager
def kept(prompt_id: str, folder: Path, again: str) -> Iterator[None]:
    """A disk that is full loses nothing: whoever ran the prompt still has the results. ``again`` fetches them.

    Raises:
        CommandError: They can't be saved.
    """
    try:
        yield
    except ComfyOneError:
        raise
    except OSError as error:
        text = f"the results can't be saved in {folder}: {error.strerror or error}"
        raise CommandError(text, f"make room, then: {again}", prompt_id=prompt_id) from error


def _auth(secret: SecretStr | None) -> tuple[str, str] | str | None:
    """``user:password``, or a token."""
    if secret is None:
        return None
    user, colon, password = secret.get_secret_value().partition(":")
    return (user, password) if colon else user


def print_document(document: Document) -> None:
    """A document on standard output."""
    json_format.dump(document.model_dump(mode="json"), sys.stdout, indent=2, ensure_ascii=False)
    print()  # noqa: T201


@contextmanager
def told(json: bool) -> Iterator[None]:
    """Turns every error into a message, or a document, and an exit code: no traceback reaches anybody."""
    try:
        yield
    except (ComfyOneError, OSError) as error:
        record, code = error_record(error), getattr(error, "exit_code", 1)
        if json:
            print_document(ErrorDocument(error=record))
            raise typer.Exit(code) from None
        for problem in record.node_errors:
            where = f"node {problem.node_id}" + (f" ({problem.class_type})" if problem.class_type else "")
            what = f", input '{problem.input}'" if problem.input else ""
            typer.echo(
                f"  {where}{what}: {problem.message}" + (f": {problem.details}" if problem.details else ""), err=True
            )
        raise fail(record.message, record.hint, code) from None


def output_record(node_id: str, kind: str, file: FileRef | None, value: Any, about: Any) -> OutputRecord:
    """What a node produced, as a document tells it."""
    if file is None:
        return OutputRecord(node_id=node_id, kind=kind, value=value)
    return OutputRecord(node_id=node_id, kind=kind, filename=file.filename, subfolder=file.subfolder, type=file.type)


def error_record(error: BaseException) -> ErrorRecord:
    """What a program may know of an error."""
    facts = getattr(error, "context", None) or {}
    own = {
        name: getattr(error, name, None) or facts.get(name) for name in ("prompt_id", "node_id", "node_type", "hint")
    }
    own["prompt_id"] = own["prompt_id"] or getattr(error, "job_id", None)
    message = getattr(error, "message", None)
    if message is None and isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    found = [
        NodeErrorRecord(
            node_id=str(each.node_id),
            class_type=each.class_type,
            input=each.input_name,
            message=each.message,
            details=each.details or None,
        )
        for each in getattr(error, "problems", None) or ()
    ]
    reasons = tuple(map(str, getattr(error, "reasons", None) or ()))
    name = type(error).__name__
    return ErrorRecord(type=name, message=str(message or error), node_errors=tuple(found), reasons=reasons, **own)
