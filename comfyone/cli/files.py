"""``comfyone upload`` and ``comfyone download``."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from comfyone.cli.documents import DownloadDocument, UploadDocument
from comfyone.cli.local import CommandError, Server, client_of, print_document, settings_of, told
from comfyone.cli.output import Json
from comfyone.errors import ComfyUIError
from comfyone.utils.text import format_bytes

__all__ = ["download", "upload"]


def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file.")],
    subfolder: Annotated[str, typer.Option(help="Folder below the server's input folder.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    server: Server = None,
    json: Json = False,
) -> None:
    """Bring a file to the server, for LoadImage and its like."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        answer = client.upload_image(file, subfolder=subfolder, overwrite=overwrite)
    value = f"{answer['subfolder']}/{answer['name']}" if answer["subfolder"] else answer["name"]
    if json:
        print_document(
            UploadDocument(name=answer["name"], subfolder=answer["subfolder"], type=answer["type"], value=value)
        )
    else:
        typer.echo(value)


def download(
    context: typer.Context,
    filename: Annotated[str, typer.Argument(help="The file's name on the server.")],
    subfolder: Annotated[str, typer.Option(help="Its folder.")] = "",
    type_: Annotated[str, typer.Option("--type", help="output, input or temp.")] = "output",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to save it; otherwise here, under its name.")
    ] = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Fetch a file from the server."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        file = {"filename": filename, "subfolder": subfolder, "type": type_}
        try:
            path = client.download(file, output or Path())
        except ComfyUIError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            text = f"the server has no file '{filename}' of type '{type_}'"
            raise CommandError(text, "see 'comfyone history'") from None
        size = path.stat().st_size
    print_document(DownloadDocument(path=path, size=size)) if json else typer.echo(f"{path} ({format_bytes(size)})")
