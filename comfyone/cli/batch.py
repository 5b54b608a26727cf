"""``comfyone batch``: a folder of workflows, or one workflow with many values."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comfyone.cli.documents import BatchDocument, BatchJob
from comfyone.cli.local import CommandError, client_of, print_document, settings_of, told
from comfyone.cli.output import Json, table
from comfyone.cli.remote import Key
from comfyone.cli.through import Through, one_way, settings_through
from comfyone.cli.workflow import checked, load
from comfyone.errors import ValidationError
from comfyone.utils.text import format_duration

if TYPE_CHECKING:
    from comfyone.batch.jobs import Job
    from comfyone.batch.sweep import Planned
    from comfyone.settings.client import ClientSettings

__all__ = ["batch"]

SHEET = "contact_sheet.png"


def batch(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A folder of workflows in API format; or one, with --sweep.")],
    timeout: Annotated[
        float | None, typer.Option("--timeout", "-t", min=0.001, help="Seconds for all of them.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="NODE.INPUT=[VALUE, …]: run the one workflow with every combination; may be repeated."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew; otherwise what is done is not run again.")
    ] = False,
    sheet: Annotated[bool, typer.Option("--contact-sheet", help="Draw a picture of all results.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Save the results below this folder.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option("--server", "-s", help="Address of a ComfyUI server; several share the work.")
    ] = None,
    gateway: Through = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Run many workflows, and save their results. Stopped and started again, it goes on."""
    with told(json):
        one_way(server, gateway)
        settings = settings_of(context, output__output_dir=output_dir)
        planned = _planned(directory, sweep or (), settings)
        folder = settings.output.output_dir / _name(directory) if settings.output.download_results else None
        if folder is None and (sheet or again):
            raise CommandError("--contact-sheet and --again need saved results", "set output.download_results to true")
        began = time.monotonic()
        places = [_at(settings, url) for url in server or ()] or [settings_through(settings, gateway, api_key)]
        jobs = _run(planned, folder, settings, places, timeout, again, json)
        drawn = _drawn(jobs, folder) if sheet and folder else None
    document = _document(jobs, time.monotonic() - began, drawn)
    print_document(document) if json else _tell(document)
    if document.completed < document.total:
        raise typer.Exit(1)


def _name(source: Path) -> str:
    """What the results of a folder, or of a file, are called."""
    place = source.resolve()
    return place.name if place.is_dir() else place.stem


def _planned(source: Path, sweeps: Sequence[str], settings: ClientSettings) -> list[Planned]:
    """The jobs: one a file, under the name of its stem; or one a combination of values."""
    from comfyone.batch.sweep import Planned, sweep  # noqa: PLC0415 - pictures and threads: only for who needs them

    if sweeps:
        grid = dict(_values(text) for text in sweeps)
        if len(grid) < len(sweeps):
            raise CommandError("--sweep names an input twice", "put all its values into one list", 2)
        return sweep(_loaded(source, settings), grid)
    if not source.is_dir():
        raise ValidationError(
            f"{source} is no folder", hint="name a folder of workflows, or add --sweep to one workflow"
        )
    files = sorted(source.glob("*.json"))
    if not files:
        raise ValidationError(f"{source} holds no *.json file")
    return [Planned(file.stem, _loaded(file, settings), {"file": str(file)}) for file in files]


def _loaded(file: Path, settings: ClientSettings) -> dict[str, Any]:
    graph = load(file)
    if settings.workflow.validate_before_send:
        checked(graph, file)
    return graph


def _values(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    try:
        listed = json_format.loads(values)
    except ValueError:
        listed = None
    if not (name and equals and isinstance(listed, list) and listed):
        raise CommandError(f"--sweep {text} is not NODE.INPUT=[VALUE, …]", "such as --sweep '3.seed=[1, 2, 3]'", 2)
    return name, listed


def _run(
    planned: Iterable[Planned],
    folder: Path | None,
    settings: ClientSettings,
    places: Sequence[ClientSettings],
    timeout: float | None,
    again: bool,
    json: bool,
) -> list[Job]:
    from comfyone.batch.folder import MANIFEST  # noqa: PLC0415 - as above
    from comfyone.batch.manifest import discard  # noqa: PLC0415
    from comfyone.batch.running import run  # noqa: PLC0415

    if again and folder:
        discard(folder / MANIFEST)
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(place)) for place in places]
        try:
            return run(
                clients,
                planned,
                folder,
                max_concurrent=settings.batch.max_concurrent,
                retry_on_failure=settings.batch.retry_on_failure,
                max_retries=settings.batch.max_retries,
                timeout=timeout,
                progress=not json,
            )
        except KeyboardInterrupt:
            kept = "what is done is kept" if folder else "nothing was to be saved"
            raise CommandError(f"stopped; {kept}", "run the same command again to go on" if folder else None) from None


def _at(settings: ClientSettings, url: str) -> ClientSettings:
    return settings.model_copy(update={"comfyui": settings.comfyui.model_copy(update={"url": url})})


def _drawn(jobs: Sequence[Job], folder: Path) -> Path:
    from comfyone.batch.contact_sheet import contact_sheet  # noqa: PLC0415 - as above

    return contact_sheet(jobs, folder / SHEET)


def _document(jobs: Sequence[Job], seconds: float, sheet: Path | None) -> BatchDocument:
    counts = {state: sum(job.status == state for job in jobs) for state in ("completed", "failed", "cancelled")}
    records = [
        BatchJob(job_id=job.job_id, status=job.status.value, prompt_id=job.prompt_id, error=job.error, files=job.files)
        for job in jobs
    ]
    return BatchDocument(total=len(jobs), **counts, seconds=round(seconds, 3), jobs=tuple(records), contact_sheet=sheet)


def _tell(document: BatchDocument) -> None:
    rows = [
        {"job": job.job_id, "status": job.status, "": job.error or ", ".join(map(str, job.files))}
        for job in document.jobs
    ]
    table(["job", "status", ""], rows)
    took = format_duration(document.seconds)
    typer.echo(
        f"{document.total} jobs: {document.completed} completed, {document.failed} failed, {document.cancelled} cancelled in {took}"
    )
    if document.contact_sheet:
        typer.echo(f"saved {document.contact_sheet}")
