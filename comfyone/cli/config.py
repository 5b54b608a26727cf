"""``comfyone config``."""

from __future__ import annotations

import typer

from comfyone.cli.documents import ConfigDocument, SettingRecord
from comfyone.cli.local import given_in, print_document, told
from comfyone.cli.output import Json, table
from comfyone.settings.client import client_settings, load_client_settings

__all__ = ["config"]


def config(context: typer.Context, json: Json = False) -> None:
    """Show the settings for ComfyUI that are in force, and where each comes from."""
    with told(json):
        given = given_in(context)
        settings, origins = load_client_settings(given.config, given.values)
        found = list(client_settings(settings, origins))
    if json:
        names = SettingRecord.model_fields
        print_document(
            ConfigDocument(
                settings=tuple(SettingRecord(**{name: getattr(each, name) for name in names}) for each in found)
            )
        )
    else:
        rows = [
            {"setting": each.name, "value": each.value, "from": each.origin, "meaning": each.description}
            for each in found
        ]
        table(["setting", "value", "from", "meaning"], rows)
