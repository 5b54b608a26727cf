"""What a person watches while a prompt runs: a bar, the node it is at, and a picture of what it is making.

The picture is drawn in half blocks, two pixels a character, which any terminal with 24-bit colours can show. Nothing is drawn
where the output goes to a file or a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.style import Style

__all__ = ["Blocks", "Watch", "watching"]

UPPER_HALF = "▀"
COLUMNS, ROWS = 48, 24
"""The largest preview, in characters."""


class Blocks:
    """A picture in half blocks: of each pair of pixels the upper one is the foreground, the lower one the background."""

    def __init__(self, picture: Image.Image, columns: int = COLUMNS, rows: int = ROWS) -> None:
        small = picture.convert("RGB")
        small.thumbnail((columns, rows * 2))
        self._picture = small

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        picture = self._picture
        for top in range(0, picture.height, 2):
            for left in range(picture.width):
                yield Segment(UPPER_HALF, Style(color=self._color(left, top), bgcolor=self._color(left, top + 1)))
            yield Segment.line()

    def _color(self, left: int, top: int) -> Color:
        found = self._picture.getpixel((left, min(top, self._picture.height - 1)))
        assert isinstance(found, tuple)
        return Color.from_rgb(*found[:3])


class Watch:
    """The display of one prompt. Every method may be called from any thread, and before and after it is on the screen."""

    def __init__(self, title: str, live: Live | None, *, pictures: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[node]}"),
            TimeElapsedColumn(),
        )
        self._task = self._bar.add_task(title, total=100.0, node="")
        self._live = live
        self._pictures = pictures
        self._picture: Blocks | None = None
        self._node = ""
        self._draw()

    def advance(self, percent: float, node: str | None = None) -> None:
        """It has come so far, and is at this node."""
        self._node = self._node if node is None else node
        self._bar.update(self._task, completed=percent, node=self._node)
        self._draw()

    def show(self, picture: Image.Image) -> None:
        """A picture of what it is making, in place of the one before."""
        if self._pictures and self._live is not None:
            self._picture = Blocks(picture)
            self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            parts = (self._bar,) if self._picture is None else (self._bar, self._picture)
            self._live.update(Group(*parts))


@contextmanager
def watching(
    title: str, *, quiet: bool = False, console: Console | None = None, environment: Mapping[str, str] = os.environ
) -> Iterator[Watch]:
    """A display on standard error for as long as the context lasts; none that is seen when ``quiet`` or without a terminal."""
    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Watch(title, None, pictures=False)
        return
    pictures = console.color_system == "truecolor" and "NO_COLOR" not in environment
    with Live(console=console, refresh_per_second=10, transient=False) as live:
        yield Watch(title, live, pictures=pictures)
