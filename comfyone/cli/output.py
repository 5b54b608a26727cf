"""How every command speaks: tables for people, JSON for programs, one line for what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from comfyone.errors import ComfyOneError

__all__ = ["Json", "fail", "reported", "show", "table"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

WIDE = 1000
"""Columns of a table that goes to a file or a pipe: nothing is folded there."""

_errors = Console(stderr=True, soft_wrap=True, highlight=False)


def show(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    print()  # noqa: T201


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as a table of these columns."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")  # an id that is cut is of no use
    for row in rows:
        grid.add_row(*("" if row.get(column) is None else str(row[column]) for column in columns))
    Console(width=None if sys.stdout.isatty() else WIDE).print(grid)


def fail(message: str, hint: str | None = None, code: int = 1) -> typer.Exit:
    """Says what went wrong, on standard error; raise what it returns."""
    _errors.print(f"error: {message}", style="red", markup=False)
    if hint:
        _errors.print(f"hint: {hint}", markup=False)
    return typer.Exit(code)


@contextmanager
def reported() -> Iterator[None]:
    """Turns every error of ours into a message and exit code 1, so that no traceback reaches a person."""
    try:
        yield
    except ComfyOneError as error:
        raise fail(error.message, error.hint) from None
    except OSError as error:
        raise fail(f"{error.filename or 'system'}: {error.strerror or error}") from None
