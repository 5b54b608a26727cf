"""The same commands through a gateway: it chooses the server, and keeps the results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from PIL import Image, UnidentifiedImageError
from pydantic import SecretStr

from comfyone.api.comfyone import ComfyOne
from comfyone.cli.documents import OutputRecord, QueueDocument, QueueEntry, SendDocument
from comfyone.cli.live import Watch, watching
from comfyone.cli.local import CommandError, error_record, kept
from comfyone.cli.remote import data
from comfyone.errors import ComfyOneError, JobCancelledError, JobFailedError, JobTimeoutError
from comfyone.settings.client import ClientSettings

if TYPE_CHECKING:
    from comfyone.api.job import Job
    from comfyone.api.result import Output
    from comfyone.wire.v1 import JobEvent

__all__ = ["Through", "one_way", "queue_through", "send_through", "settings_through"]

Through = Annotated[
    str | None, typer.Option("--gateway", help="Address of a gateway to go through, in place of a ComfyUI server.")
]
WAITING, RUNNING = ("queued",), ("dispatched", "running")
LISTED = 200


def one_way(server: object, gateway: str | None) -> None:
    """See that a command is told one place to go to.

    Raises:
        CommandError: It is told two.
    """
    if server and gateway:
        hint = "drop --server: the gateway chooses the server; or drop --gateway, to go to that server alone"
        raise CommandError("--server and --gateway name two places to go to", hint, 2)


def settings_through(settings: ClientSettings, gateway: str | None, api_key: str | None) -> ClientSettings:
    """The settings with a gateway as the server, if one is named: it speaks ComfyUI's own words too. Headers and names that
    were set are for the server, and don't go there.

    Raises:
        CommandError: There is no key.
    """
    if gateway is None:
        return settings
    changed = {"url": gateway, "headers": {}, "auth": SecretStr(_key(api_key))}
    return settings.model_copy(update={"comfyui": settings.comfyui.model_copy(update=changed)})


def send_through(
    gateway: str,
    api_key: str | None,
    graph: Mapping[str, Any],
    settings: ClientSettings,
    seeds: Mapping[str, int],
    *,
    title: str,
    wait: bool,
    quiet: bool,
) -> SendDocument:
    """Runs a graph on whichever server the gateway chooses; see `comfyone.cli.send.send`."""
    with _connected(gateway, api_key) as client:
        record = data(client.api.prompt_workflow(graph))
        job = client.job(record["taskId"])
        if not wait:
            return SendDocument(prompt_id=job.id, state="queued", seeds=seeds)
        if not quiet:
            typer.echo(f"job {job.id}", err=True)
        again = f"comfyone jobs save {job.id} {settings.output.output_dir} --gateway {gateway}"
        try:
            return _followed(job, settings, seeds, title, quiet, again)
        except KeyboardInterrupt:
            raise CommandError(f"stopped waiting; job {job.id} goes on", again, 130, prompt_id=job.id) from None
        except JobTimeoutError as error:
            error.hint = again
            raise


def _connected(gateway: str, api_key: str | None) -> ComfyOne:
    return ComfyOne(_key(api_key), domain=gateway)


def _key(api_key: str | None) -> str:
    if not api_key:
        raise CommandError("no API key was given", "pass --api-key, or export COMFYONE_API_KEY", 2)
    return api_key


def _followed(
    job: Job, settings: ClientSettings, seeds: Mapping[str, int], title: str, quiet: bool, again: str
) -> SendDocument:
    began = time.monotonic()
    try:
        with watching(title, quiet=quiet) as watch:
            if not quiet:
                Thread(target=_watch, args=(job, watch), daemon=True).start()
            result = job.result(settings.comfyui.timeout)
            watch.advance(100.0, "")
    except (JobFailedError, JobCancelledError) as error:
        state: Literal["failed", "interrupted"] = "failed" if isinstance(error, JobFailedError) else "interrupted"
        return SendDocument(prompt_id=job.id, state=state, seeds=seeds, error=error_record(error))
    seconds = round(time.monotonic() - began, 3)
    with kept(job.id, settings.output.output_dir, again):
        outputs = tuple(_saved(output, settings) for output in result)
    return SendDocument(prompt_id=job.id, state="succeeded", seeds=seeds, seconds=seconds, outputs=outputs)


def _watch(job: Job, watch: Watch) -> None:
    """Shows how far a job is, for as long as anybody waits for it."""
    with suppress(ComfyOneError):  # the wait itself says what is wrong
        for event in job.events(previews=True):
            _show(watch, event)


def _show(watch: Watch, event: JobEvent) -> None:
    if event.percent is not None:
        watch.advance(event.percent, event.data.get("node_id"))
    if event.preview:
        with suppress(UnidentifiedImageError):
            watch.show(Image.open(BytesIO(event.preview)))


def _saved(output: Output, settings: ClientSettings) -> OutputRecord:
    record = OutputRecord(node_id=output.record.node_id or "", kind=output.record.kind or "value", value=output.value)
    if not output.is_file:
        return record
    path = None
    if settings.output.download_results:
        settings.output.output_dir.mkdir(parents=True, exist_ok=True)
        path = output.save(settings.output.output_dir)
    return record.model_copy(update={"filename": output.name, "path": path})


def queue_through(gateway: str, api_key: str | None) -> QueueDocument:
    """What of the key's tenant runs and waits, among its newest jobs; first what came first."""
    with _connected(gateway, api_key) as client:
        jobs = list(reversed(data(client.api.get_prompt_history(limit=LISTED))))
    running, waiting = (
        tuple(
            QueueEntry(prompt_id=job["taskId"], number=place)
            for place, job in enumerate(jobs)
            if job["state"] in states
        )
        for states in (RUNNING, WAITING)
    )
    return QueueDocument(running=running, pending=waiting)
