"""Settings of a gateway."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from comfyone.settings.sources import PREFIX, Source, from_yaml, merged, validated, yaml_value

__all__ = ["DEFAULT_STATE", "GatewaySettings", "load_settings"]

DEFAULT_STATE = Path.home() / ".comfyone"

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts on which only this machine can be listened to."""


def _listed(value: Any) -> Any:
    """A list, also where it came as one text: ``10.0.0.0/8, 192.168.0.0/16``."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_listed)]
Waits = Annotated[tuple[Annotated[float, Field(ge=0)], ...], BeforeValidator(_listed)]


class GatewaySettings(BaseModel):
    """Everything about a gateway that can be set. Sizes are bytes, times seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    state_dir: Path = Field(DEFAULT_STATE, description="folder of the database and the files")
    backends: Mapping[str, str] = Field(
        default_factory=dict, description="servers that tenants may register by name: name → url"
    )
    open_tenant: str | None = Field(
        None, description="tenant of whoever sends no key from this machine; only where nobody else can listen"
    )
    bootstrap_key: SecretStr | None = Field(None, description="key of a tenant 'default' that the first start makes")
    max_body: int = Field(16 * 1024**2, ge=1024, description="largest JSON body")
    max_upload: int = Field(2 * 1024**3, ge=1, description="largest file")
    max_bytes: int | None = Field(None, ge=0, description="bytes of a tenant's files together; none: any number")
    inline_size: int = Field(
        16 * 1024, ge=0, le=256 * 1024, description="files of up to so many bytes are kept in the database"
    )
    upload_ttl: float | None = Field(None, gt=0, description="how long an upload is kept; none: until it is deleted")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="where the outside world finds the gateway, for links; none: by the name that a request used",
    )
    max_streams: int = Field(64, ge=1, description="open event streams of one tenant (Comfy API v2)")
    max_sockets: int = Field(64, ge=1, description="open WebSockets of one tenant")
    max_queued: int | None = Field(100_000, ge=1, description="jobs of one tenant that wait")
    max_running: int | None = Field(None, ge=1, description="jobs of one tenant that backends have")
    max_per_minute: int | None = Field(None, ge=1, description="submissions of one tenant within a minute")
    max_backend_seconds: float | None = Field(None, gt=0, description="backend time of one tenant within a day (UTC)")
    stall_after: float = Field(
        1800.0,
        ge=0,
        description="how long a job may run without progress before its backend counts as stuck; 0: for ever",
    )
    schedule_timeout: float = Field(300.0, gt=0, description="how long a job waits while no backend could take it")
    lost_after: float = Field(60.0, gt=0, description="how long a backend may be silent before its jobs go elsewhere")
    attempts: int = Field(3, ge=1, description="how often a job is given to a backend before it fails as lost")
    retention: float = Field(3 * 24 * 3600.0, gt=0, description="how long ended jobs and their results are kept")
    allow_private: Networks = Field(
        (), description="networks that are not public, to which webhooks and image URLs may lead all the same"
    )
    webhook_retries: Waits = Field(
        (5.0, 30.0, 120.0, 600.0, 3600.0, 10_800.0, 43_200.0, 86_400.0),
        description="waits between the attempts at a webhook's message, which is given up when they are used up",
    )
    log_level: str = Field(
        "INFO", pattern="^(TRACE|DEBUG|INFO|WARNING|ERROR)$", description="least level that is logged"
    )

    @field_validator("open_tenant")
    @classmethod
    def _only_at_home(cls, value: str | None, info: ValidationInfo) -> str | None:
        host = info.data.get("host", "")
        if value is not None and host not in LOOPBACK:
            raise ValueError(
                f"no key is needed only where the gateway listens on {' or '.join(LOOPBACK)}, not on {host}"
            )
        return value


def load_settings(
    file: Path | None, arguments: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> GatewaySettings:
    """The settings that are in force.

    Args:
        file: A YAML file with settings by name, or None.
        arguments: What was given on the command line; None values count as not given.

    Raises:
        SettingsError: naming the setting, its value's fault, and its origin.
    """
    values, origins = merged(
        [
            Source(f"file {file}", from_yaml(file) if file else {}),
            Source("the environment", _from_environment(environment)),
            Source("the command line", {name: value for name, value in arguments.items() if value is not None}),
        ]
    )
    return validated(GatewaySettings, values, origins, GatewaySettings.model_fields)


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Of the ``COMFYONE_*`` variables those that are settings; the client has its own (`COMFYONE_API_KEY`)."""
    found: dict[str, Any] = {}
    for name in GatewaySettings.model_fields:
        value = environment.get(PREFIX + name.upper())
        if value is not None:
            found[name] = yaml_value(value) if name == "backends" else value
    return found
