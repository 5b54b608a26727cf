"""The composition root: here, and nowhere else, the parts are chosen and put together."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from comfyone.errors import ComfyOneError
from comfyone.gateway.blobs.local import LocalBlobs
from comfyone.gateway.bus.memory import MemoryBus
from comfyone.gateway.dialects.comfy_v2.site import Site as V2Site
from comfyone.gateway.dialects.comfyone_v1.codec import V1Codec
from comfyone.gateway.dialects.comfyone_v1.messages import job_message, trial_message
from comfyone.gateway.dialects.comfyone_v1.socket import V1Socket
from comfyone.gateway.dialects.comfyui.codec import ComfyUICodec
from comfyone.gateway.dialects.comfyui.socket import NativeSocket
from comfyone.gateway.dialects.comfyui.web import page_routes
from comfyone.gateway.dialects.docs_page import docs_page
from comfyone.gateway.dialects.edge import Edge
from comfyone.gateway.dialects.openapi import openapi_document
from comfyone.gateway.dialects.roster import DIALECTS
from comfyone.gateway.dialects.routing import Call, Dialect, Route
from comfyone.gateway.dialects.serving import Server
from comfyone.gateway.dispatch.deliveries import Deliveries
from comfyone.gateway.dispatch.dispatcher import Dispatcher
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.dispatch.outlook import Outlook
from comfyone.gateway.domain.backends import Backend
from comfyone.gateway.domain.jobs import JobEvent
from comfyone.gateway.domain.tenants import TenantPolicy
from comfyone.gateway.drivers.comfyui import ComfyUIDriver, client_session
from comfyone.gateway.drivers.object_info import Shelf
from comfyone.gateway.outbound.guard import open_guard
from comfyone.gateway.services.accounts import Authenticator, bootstrap, visitor_key
from comfyone.gateway.services.administration import Administration
from comfyone.gateway.services.allowances import Allowances
from comfyone.gateway.services.backends import Backends
from comfyone.gateway.services.catalog import Catalog
from comfyone.gateway.services.fetching import Fetching
from comfyone.gateway.services.files import Files
from comfyone.gateway.services.folders import Folders
from comfyone.gateway.services.graphs import Graphs
from comfyone.gateway.services.jobs import Jobs
from comfyone.gateway.services.node_info import NodeInfo
from comfyone.gateway.services.pools import Pools
from comfyone.gateway.services.prompts import Prompts
from comfyone.gateway.services.quota import Quota
from comfyone.gateway.services.readiness import Readiness
from comfyone.gateway.services.registry import Registry
from comfyone.gateway.services.shared_backends import SharedBackends
from comfyone.gateway.services.submissions import Submissions
from comfyone.gateway.services.tasks import Tasks
from comfyone.gateway.services.usage import Usage
from comfyone.gateway.services.webhooks import Webhooks
from comfyone.gateway.services.workflows import Workflows
from comfyone.gateway.storage.sqlite import SqliteStore
from comfyone.settings.gateway import GatewaySettings

__all__ = ["Gateway", "Services", "StateInUse", "create_app", "database_path", "open_gateway"]


class StateInUse(ComfyOneError):
    """Another gateway works on the state folder."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the dialects speak to."""

    backends: Backends
    registry: Registry
    workflows: Workflows
    files: Files
    folders: Folders
    node_info: NodeInfo
    prompts: Prompts
    jobs: Jobs
    tasks: Tasks
    readiness: Readiness
    webhooks: Webhooks
    pools: Pools
    usage: Usage
    administration: Administration
    shared_backends: SharedBackends
    dispatcher: Dispatcher
    outlook: Outlook
    comfy_v2: V2Site

    def progress(self, job_id: str) -> float:
        return self.dispatcher.progress(job_id)


@dataclass(frozen=True, slots=True)
class Gateway:
    services: Services
    authenticator: Authenticator
    bus: MemoryBus
    settings: GatewaySettings
    open_key: str | None = field(default=None, repr=False)


def database_path(state_dir: Path) -> Path:
    return state_dir / "comfyone.db"


@asynccontextmanager
async def open_gateway(settings: GatewaySettings, limits: Limits | None = None) -> AsyncIterator[Gateway]:
    """A running gateway without its HTTP side. Leaving lets go of the backends' jobs; the next start takes them up.

    Args:
        settings: What its operator has set.
        limits: The engine's times and counts, in place of those that follow from the settings.

    Raises:
        StateError: when the state folder cannot be used.
        StateInUse: when another gateway uses it.
    """
    limits = limits or _limits(settings)
    bus = MemoryBus()
    told: list[Callable[[JobEvent], None]] = [bus.publish]

    def publish(event: JobEvent) -> None:
        for tell in told:
            tell(event)

    with _locked(settings.state_dir):
        store = SqliteStore(database_path(settings.state_dir), publish, job_message)
        graphs = Graphs(store)
        shelf = Shelf()
        blobs = LocalBlobs(settings.state_dir / "files", settings.inline_size)
        async with client_session() as session, open_guard(settings.allow_private, version("comfyone")) as outbound:

            def driver_for(backend: Backend) -> ComfyUIDriver:
                return ComfyUIDriver(backend.url, f"comfyone-{backend.id}", session, shelf)

            dispatcher = Dispatcher(store, graphs, blobs, bus, limits, settings.max_running, driver_for)
            if settings.bootstrap_key:
                key = settings.bootstrap_key.get_secret_value()
                await store.write(lambda session: bootstrap(session, key))
            visitor = None
            if open_tenant := settings.open_tenant:
                visitor = await store.write(lambda session: visitor_key(session, open_tenant))
            outlook = Outlook(store, bus, dispatcher.pace, dispatcher.pool)
            told += [outlook.note, dispatcher.note]
            await dispatcher.start()
            deliveries = Deliveries(store, outbound, settings.webhook_retries)
            deliveries.start()
            await outlook.start()
            catalog, quota = Catalog(store, graphs), Quota(store, settings.max_bytes)
            allowances = Allowances(_default_policy(settings))
            fetching = Fetching(store, blobs, outbound, quota, settings.max_upload)
            folders = Folders(store, blobs, dispatcher, quota, limit=settings.max_upload, lifetime=settings.upload_ttl)
            submissions = Submissions(store, dispatcher, catalog, allowances, quota, fetching)
            backends = Backends(store, dispatcher, catalog, settings.backends)
            services = Services(
                backends,
                Registry(store, backends),
                Workflows(store, dispatcher, catalog),
                Files(store, blobs, quota, limit=settings.max_upload, lifetime=settings.upload_ttl),
                folders,
                NodeInfo(dispatcher, folders),
                Prompts(store, blobs, dispatcher),
                Jobs(store, bus, dispatcher, outlook, submissions),
                Tasks(store, limits.attempts - 1),
                Readiness(store),
                Webhooks(store, outbound, trial_message),
                Pools(store),
                Usage(store),
                Administration(store),
                SharedBackends(store, dispatcher, catalog),
                dispatcher,
                outlook,
                V2Site(settings.public_url, settings.retention, settings.max_streams),
            )
            try:
                yield Gateway(services, Authenticator(store, visitor), bus, settings, visitor.key if visitor else None)
            finally:
                bus.close()
                await outlook.stop()
                await dispatcher.stop()
                await deliveries.stop()
                await store.close()


def _limits(settings: GatewaySettings) -> Limits:
    return Limits(
        stall=settings.stall_after,
        attempts=settings.attempts,
        lost=settings.lost_after,
        schedule=settings.schedule_timeout,
        retention=settings.retention,
    )


def _default_policy(settings: GatewaySettings) -> TenantPolicy:
    """The limits of a tenant for whom the operator has set no others."""
    return TenantPolicy(
        max_queued=settings.max_queued,
        max_running=settings.max_running,
        max_per_minute=settings.max_per_minute,
        max_backend_seconds=settings.max_backend_seconds,
    )


def create_app(gateway: Gateway) -> ASGIApp:
    """The HTTP side of a running gateway: every dialect on one port."""
    settings, services = gateway.settings, gateway.services
    native = NativeSocket(
        gateway.authenticator,
        services.jobs,
        services.dispatcher.snapshot,
        most=settings.max_sockets,
        max_upload=settings.max_upload,
    )
    v1 = V1Socket(gateway.authenticator, services.jobs, settings.max_sockets)
    sockets: dict[str, Callable[[WebSocket], Awaitable[None]]] = {"/v1/ws": v1, "/ws": native, "/api/ws": native}
    pages = _pages(openapi_document(DIALECTS, version("comfyone")))
    served = (
        *DIALECTS,
        Dialect(pages, V1Codec(), sockets=sockets, compressed=True),
        Dialect(page_routes(), ComfyUICodec()),
    )
    server = Server(served, gateway.authenticator, services, settings.max_body)
    return Edge(server, version("comfyone"), gateway.open_key)


def _pages(document: dict[str, Any]) -> tuple[Route, ...]:
    """What describes all the rest."""
    content, page = msgspec.json.encode(document), docs_page(document)

    async def openapi(_: Call) -> Response:
        return Response(content, media_type="application/json")

    async def docs(_: Call) -> Response:
        return HTMLResponse(page)

    return (
        Route("GET", "/openapi.json", openapi, "This interface, as OpenAPI", open=True, described=False),
        Route("GET", "/docs", docs, "This interface, as a page", media="text/html", open=True, described=False),
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One gateway per state folder: two would each think the other's runs lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise StateInUse(
            f"the state folder {folder} cannot be used: {error.strerror}", hint="choose another --state-dir"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateInUse(
                f"another gateway works in {folder}", hint="stop it, or choose another --state-dir"
            ) from error
        yield
