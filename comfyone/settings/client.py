"""Settings of whoever speaks to one ComfyUI from the shell: the sections of ``config.yaml``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from comfyone.settings.sources import (
    DEFAULTS,
    PREFIX,
    SettingsError,
    Source,
    from_yaml,
    merged,
    validated,
    yaml_value,
)

__all__ = ["DEFAULT_FILE", "ClientSettings", "Setting", "client_settings", "load_client_settings", "variable_of"]

DEFAULT_FILE = Path("config.yaml")
"""Read when it is there and no other file is named."""


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSection(_Section):
    """Where the server is, and what it wants to see."""

    host: str = Field("127.0.0.1", description="address of the server")
    port: int = Field(8188, ge=1, le=65535, description="port of the server")
    protocol: Literal["http", "https"] = Field("http", description="http or https")
    timeout: float = Field(300.0, gt=0, description="seconds to wait for an answer, and for a job's end")
    url: str | None = Field(None, description="the whole address, in place of host, port and protocol")
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="further headers of every request: name → value"
    )
    auth: SecretStr | None = Field(None, description="user:password, or a token, for what stands before the server")


class SocketSection(_Section):
    """How progress is heard."""

    enable: bool = Field(True, description="whether to listen on the WebSocket; otherwise the server is asked")
    reconnect_attempts: int = Field(5, ge=0, description="how often in a row a lost connection is made anew")
    reconnect_delay: float = Field(2.0, ge=0, description="seconds before the first of these attempts")


class WorkflowSection(_Section):
    """What happens to a workflow before it is run."""

    validate_before_send: bool = Field(True, description="whether a workflow is checked before it is sent")
    auto_queue: bool = Field(True, description="whether 'send' queues the workflow; otherwise it only prepares it")


class OutputSection(_Section):
    """What happens to results."""

    download_results: bool = Field(True, description="whether results are fetched")
    output_dir: Path = Field(Path("./outputs"), description="folder that they are saved into")
    save_metadata: bool = Field(True, description="whether {prompt_id}_metadata.json is written beside them")


class BatchSection(_Section):
    """How a batch runs."""

    max_concurrent: int = Field(3, ge=1, description="jobs at a time")
    retry_on_failure: bool = Field(True, description="whether a failed job is tried again")
    max_retries: int = Field(3, ge=0, description="how often, beyond the first time")


class LoggingSection(_Section):
    """What is logged, and where."""

    level: Annotated[Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)] = (
        Field("INFO", description="least level that is logged")
    )
    file: Path | None = Field(Path("./comfyui_api.log"), description="file to log to; null: none")
    console: bool = Field(True, description="whether the same is shown in the terminal")


class ClientSettings(BaseModel):
    """Everything that can be set. Times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    comfyui: ServerSection = ServerSection.model_validate({})
    websocket: SocketSection = SocketSection.model_validate({})
    workflow: WorkflowSection = WorkflowSection.model_validate({})
    output: OutputSection = OutputSection.model_validate({})
    batch: BatchSection = BatchSection.model_validate({})
    logging: LoggingSection = LoggingSection.model_validate({})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in force. Secrets show that they are there, and nothing else."""

    name: str
    value: Any
    origin: str
    variable: str
    description: str


def load_client_settings(
    file: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> tuple[ClientSettings, Mapping[str, str]]:
    """The settings that are in force, and by name (``section.name``) where each comes from.

    Args:
        file: A YAML file; without one `DEFAULT_FILE`, if it is there.
        arguments: What was given on the command line, by ``section.name``.

    Raises:
        SettingsError: naming the setting, its value's fault, and its origin.
    """
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    values, origins = merged(
        [
            Source(f"file {file}", _flat(from_yaml(file), file) if file else {}),
            Source("the environment", _from_environment(environment)),
            Source("the command line", arguments or {}),
        ]
    )
    nested: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = value
    return validated(ClientSettings, nested, origins, _names()), origins


def client_settings(settings: ClientSettings, origins: Mapping[str, str]) -> Iterator[Setting]:
    """Each setting, for people and programs to read."""
    for name in _names():
        section, key = name.split(".")
        part = getattr(settings, section)
        field = type(part).model_fields[key]
        value = part.model_dump(mode="json")[key]
        yield Setting(name, value, origins.get(name, DEFAULTS), variable_of(name), field.description or "")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.replace(".", "_").upper()


def _names() -> list[str]:
    return [
        f"{section}.{key}"
        for section, field in ClientSettings.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def _flat(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Settings by ``section.name``."""
    flat: dict[str, Any] = {}
    for section, values in content.items():
        if section not in ClientSettings.model_fields:
            known = ", ".join(ClientSettings.model_fields)
            raise SettingsError(f"the settings file {file} has a section '{section}'", hint=f"sections are: {known}")
        if values is None:
            continue
        if not isinstance(values, dict):
            raise SettingsError(f"section '{section}' of the settings file {file} holds no names and values")
        flat |= {f"{section}.{str(key).replace('-', '_')}": value for key, value in values.items()}
    return flat


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {name: environment[variable_of(name)] for name in _names() if variable_of(name) in environment}
    return {name: yaml_value(value) if name in _YAML else value for name, value in found.items()}


_YAML = {"comfyui.headers", "logging.file"}
"""Settings whose variable holds YAML: ``null`` means something there."""
