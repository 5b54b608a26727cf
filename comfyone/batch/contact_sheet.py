"""A contact sheet: the results of a batch on one picture, each with what made it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from comfyone.batch.jobs import Job, JobStatus
from comfyone.errors import ValidationError
from comfyone.utils.files import write_over
from comfyone.utils.text import format_bytes

__all__ = ["Tile", "contact_sheet", "tiles_of"]

_BACKGROUND = (24, 24, 27)
_CELL = (39, 39, 42)
_INK = (244, 244, 245)
_PALE = (161, 161, 170)
_ALARM = (248, 113, 113)
_GAP = 12
_LINES = 4  # of a caption, its title among them
_LARGEST = 64_000_000  # pixels of a sheet
_SMALLEST_TILE = 96
_SEEDS = ("seed", "noise_seed")
_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Tile:
    """One place on a sheet.

    Args:
        title: The first line of its caption.
        lines: What else to say.
        path: A file; what is no picture is shown as a label.
        text: What to show where there is no file: what a job put out, or why it put out nothing.
        failed: Whether that is a failure.
    """

    title: str
    lines: Sequence[str] = ()
    path: Path | None = None
    text: str = ""
    failed: bool = False


def contact_sheet(
    results: Iterable[Job | Tile], path: str | os.PathLike[str], *, columns: int | None = None, tile: int = 256
) -> Path:
    """Draw the results of jobs on one sheet, and write it to a file, whole or not at all.

    Args:
        results: Jobs whose results were saved, as `run` gives them; or tiles.
        path: Where to; its suffix says in which format.
        columns: How many tiles are side by side; by default so many that the sheet is about as wide as high.
        tile: Pixels on a side of each picture. With very many pictures they are drawn smaller.

    Raises:
        ValidationError: There is nothing to draw, or a number or the suffix makes no sense.
        OSError: It can't be written.
    """
    tiles = [each for result in results for each in ([result] if isinstance(result, Tile) else tiles_of(result))]
    target = Path(path)
    _check(tiles, target, columns, tile)
    layout = _Layout.of(len(tiles), columns, tile)
    captions = [_caption(each, layout) for each in tiles]
    layout = replace(layout, lines=max(map(len, captions)))
    sheet = Image.new("RGB", layout.size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (each, caption) in enumerate(zip(tiles, captions, strict=True)):
        _draw_tile(sheet, draw, layout, layout.corner(index), each)
        _draw_caption(draw, layout, layout.corner(index), caption)
    content = BytesIO()
    sheet.save(content, Image.registered_extensions()[target.suffix.lower()], quality=90)
    return write_over(target, [content.getvalue()])


def tiles_of(job: Job) -> Iterator[Tile]:
    """A tile for each file of a job, and one for a job without any: what it is called, its parameters, its seeds."""
    lines = tuple(sorted(_facts(job), key=len))  # a long prompt comes last, and may be cut
    if not job.files:
        yield Tile(job.job_id, lines, text=_said(job), failed=job.status is JobStatus.FAILED)
    for index, path in enumerate(job.files):
        number = f" ({index + 1}/{len(job.files)})" if len(job.files) > 1 else ""
        yield Tile(job.job_id + number, lines, path)


def _said(job: Job) -> str:
    """What a job without files has to say: its error, the texts that it put out, or how it stands."""
    outputs = (job.result or {}).get("outputs")
    told = [output.get("text") for output in outputs.values()] if isinstance(outputs, dict) else []
    texts = [str(text) for each in told if isinstance(each, list) for text in each]
    return job.error or " ".join(texts) or ("no files" if job.status is JobStatus.COMPLETED else job.status.value)


def _facts(job: Job) -> Iterator[str]:
    parameters = job.metadata.get("parameters")
    given = parameters if isinstance(parameters, Mapping) else {}
    for name, value in given.items():
        yield f"{name.rpartition('.')[2]}: {value}"
    for node_id, node in job.workflow.items():
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        for name in _SEEDS:
            seed = inputs.get(name) if isinstance(inputs, Mapping) else None
            if isinstance(seed, int) and f"{node_id}.{name}" not in given and name not in given:
                yield f"{name}: {seed}"


def _check(tiles: Sequence[Tile], path: Path, columns: int | None, tile: int) -> None:
    if not tiles:
        raise ValidationError("there is nothing to draw", hint="pass jobs or tiles")
    if columns is not None and columns < 1:
        raise ValidationError(f"columns is a whole number from 1, not {columns!r}")
    if not _SMALLEST_TILE <= tile <= 4096:
        raise ValidationError(f"tile is a number of pixels from {_SMALLEST_TILE} to 4096, not {tile!r}")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValidationError(f"a sheet is a .png, .jpg or .webp, not '{path.name}'")


@dataclass(frozen=True, slots=True)
class _Layout:
    columns: int
    rows: int
    tile: int
    text: int
    """The height of a line of text."""
    lines: int = _LINES
    """How many of them a caption has."""

    @classmethod
    def of(cls, count: int, columns: int | None, tile: int) -> _Layout:
        """The places for so many tiles, smaller where the sheet would become too large."""
        while True:
            made = cls._sized(count, columns, tile)
            width, height = made.size
            if width * height <= _LARGEST or tile == _SMALLEST_TILE:
                return made
            tile = max(_SMALLEST_TILE, tile * 9 // 10)

    @classmethod
    def _sized(cls, count: int, columns: int | None, tile: int) -> _Layout:
        text = max(11, min(tile // 14, 22))
        high = tile + _LINES * (text + 4) + 2 * _GAP
        wanted = columns or max(1, round(math.sqrt(count * high / (tile + _GAP))))
        across = min(wanted, count)
        return cls(across, -(-count // across), tile, text)

    @property
    def cell(self) -> tuple[int, int]:
        """The size of a tile with its caption."""
        return self.tile, self.tile + _GAP // 2 + self.lines * (self.text + 4)

    @property
    def size(self) -> tuple[int, int]:
        """The size of the sheet."""
        width, height = self.cell
        return _GAP + self.columns * (width + _GAP), _GAP + self.rows * (height + _GAP)

    def corner(self, index: int) -> tuple[int, int]:
        """Where a tile begins."""
        row, column = divmod(index, self.columns)
        width, height = self.cell
        return _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, layout: _Layout, corner: tuple[int, int], tile: Tile
) -> None:
    left, top = corner
    draw.rectangle((left, top, left + layout.tile - 1, top + layout.tile - 1), fill=_CELL)
    picture = _picture(tile.path, layout.tile) if tile.path else None
    if picture is not None:
        sheet.paste(picture, (left + (layout.tile - picture.width) // 2, top + (layout.tile - picture.height) // 2))
    else:
        _draw_label(draw, layout, corner, tile)


def _draw_caption(draw: ImageDraw.ImageDraw, layout: _Layout, corner: tuple[int, int], caption: Sequence[str]) -> None:
    left, top = corner
    for number, line in enumerate(caption):
        place = (left, top + layout.tile + _GAP // 2 + number * (layout.text + 4))
        draw.text(place, line, font=_font(layout.text), fill=_PALE if number else _INK)


def _caption(tile: Tile, layout: _Layout) -> list[str]:
    font = _font(layout.text)
    title = _fitting(tile.title, font, layout.tile, tail=len(tile.title) // 3)
    rows = [title, *_joined(tile.lines, layout)]
    return rows if len(rows) <= _LINES else [*rows[: _LINES - 1], _cut(rows[_LINES - 1], font, layout.tile)]


def _picture(path: Path, side: int) -> Image.Image | None:
    """A picture that fits into a square, upright and without transparency; None where the file is none."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (side, side))  # a large JPEG is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(opened)
            upright = ImageOps.contain(_smooth(upright), (side, side), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    ground = _checkered(upright.size)
    layer = upright.convert("RGBA")
    ground.paste(layer, (0, 0), layer)
    return ground


def _smooth(picture: Image.Image) -> Image.Image:
    """A picture whose pixels can be mixed, eight bits a channel."""
    if picture.mode.startswith(("I", "F")):  # a conversion would cut off what lies above 255
        low, high = picture.getextrema()
        span = float(high) - float(low) or 1.0  # type: ignore[arg-type]
        return picture.point(lambda value: (value - float(low)) * (255.0 / span)).convert("L")  # type: ignore[arg-type]
    if picture.mode in ("P", "PA", "1"):
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture


def _checkered(size: tuple[int, int], square: int = 8) -> Image.Image:
    ground = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(ground)
    for top in range(0, size[1], square):
        for left in range(top // square % 2 * square, size[0], 2 * square):
            draw.rectangle((left, top, left + square - 1, top + square - 1), fill=(214, 214, 219))
    return ground


def _draw_label(draw: ImageDraw.ImageDraw, layout: _Layout, corner: tuple[int, int], tile: Tile) -> None:
    """What is no picture: its kind and size, or a text."""
    small, large = _font(layout.text), _font(layout.text * 2)
    room = layout.tile - 2 * _GAP
    if tile.path is not None:
        head = tile.path.suffix.lstrip(".").upper() or "FILE"
        size = format_bytes(tile.path.stat().st_size) if tile.path.exists() else "missing"
        below = [_fitting(tile.path.name, small, room, tail=8), size]
    else:
        head, below = "failed" if tile.failed else "", _wrapped(tile.text, small, room, 6)
    step = layout.text + 4
    middle, line = corner[0] + layout.tile // 2, corner[1] + (layout.tile - (len(below) + 2 * bool(head)) * step) // 2
    if head:
        draw.text((middle, line + step // 2), head, font=large, fill=_ALARM if tile.failed else _INK, anchor="mm")
        line += 2 * step
    for number, text in enumerate(below):
        draw.text((middle, line + number * step + step // 2), text, font=small, fill=_PALE, anchor="mm")


def _joined(lines: Sequence[str], layout: _Layout) -> list[str]:
    """Lines of a caption, as many on one as fit."""
    font, rows = _font(layout.text), list[str]()
    for line in lines:
        plain = " ".join(line.split())
        if rows and font.getlength(f"{rows[-1]} · {plain}") <= layout.tile:
            rows[-1] += f" · {plain}"
        else:
            rows += _wrapped(plain, font, layout.tile, _LINES)
    return rows


def _wrapped(text: str, font: Font, width: float, limit: int) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        if rows and font.getlength(f"{rows[-1]} {word}") <= width:
            rows[-1] += f" {word}"
        else:
            rows.append(word)
    if len(rows) > limit:
        rows = [*rows[: limit - 1], " ".join(rows[limit - 1 :])]
    return [_fitting(row, font, width) for row in rows]


def _fitting(text: str, font: Font, width: float, tail: int = 0) -> str:
    """The text, or its beginning, an ellipsis, and so many letters of its end."""
    if font.getlength(text) <= width:
        return text
    end = text[len(text) - min(tail, 16) :] if tail else ""
    low, high = 0, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(f"{text[:middle]}…{end}") <= width else (low, middle - 1)
    return f"{text[:low]}…{end}"


def _cut(text: str, font: Font, width: float) -> str:
    """The text with an ellipsis, as more would follow."""
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.removesuffix('…')}…"


@lru_cache(maxsize=8)
def _font(size: int) -> Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)  # Latin only, but always there
