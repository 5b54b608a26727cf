"""The contact sheet: what is on it, pixel by pixel where that says something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from comfyone.batch.contact_sheet import Tile, contact_sheet, tiles_of
from comfyone.batch.jobs import Job, JobStatus
from comfyone.errors import ValidationError
from tests.graphs import text_to_image

TILE, GAP = 128, 12
RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(folder: Path, *tiles: Tile | Job, **settings: Any) -> Image.Image:
    path = contact_sheet(tiles, folder / "sheet.png", **{"tile": TILE, **settings})
    with Image.open(path) as opened:
        opened.load()
        return opened


def at(sheet: Image.Image, x: float, y: float, column: int = 0) -> Any:
    """The colour at a place of a tile in the first row, from 0 to 1."""
    return sheet.getpixel((GAP + column * (TILE + GAP) + int(x * (TILE - 1)), GAP + int(y * (TILE - 1))))


def saved(folder: Path, picture: Image.Image, name: str = "x.png", **more: Any) -> Path:
    picture.save(folder / name, **more)
    return folder / name


def halves(size: tuple[int, int] = (200, 100)) -> Image.Image:
    """Red at the left, blue at the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture


def test_a_picture_keeps_its_shape_and_stands_in_the_middle(tmp_path: Path) -> None:
    sheet = drawn(tmp_path, Tile("owl", path=saved(tmp_path, halves())))
    assert at(sheet, 0.1, 0.5) == RED
    assert at(sheet, 0.9, 0.5) == BLUE
    assert at(sheet, 0.5, 0.1) == at(sheet, 0.5, 0.9) == (39, 39, 42)


def test_a_photograph_is_upright_as_its_camera_says(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    path = saved(tmp_path, halves(), "photo.jpg", exif=turned, quality=95)
    sheet = drawn(tmp_path, Tile("photo", path=path))
    top, bottom = at(sheet, 0.5, 0.1), at(sheet, 0.5, 0.9)
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


def test_what_is_transparent_shows_a_checkered_ground(tmp_path: Path) -> None:
    sheet = drawn(tmp_path, Tile("clear", path=saved(tmp_path, Image.new("RGBA", (64, 64), (255, 0, 0, 0)))))
    colors = {sheet.getpixel((x, TILE // 2 + GAP)) for x in range(GAP + 40, GAP + TILE - 40)}
    assert colors == {(255, 255, 255), (214, 214, 219)}


@pytest.mark.parametrize("mode", ["I;16", "F", "L", "P", "CMYK", "LA"])
def test_pictures_of_every_kind_are_shown(tmp_path: Path, mode: str) -> None:
    ramp = Image.linear_gradient("L")
    picture = (
        ramp.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else ramp.convert(mode)
    )
    sheet = drawn(tmp_path, Tile(mode, path=saved(tmp_path, picture, "x.tiff")))
    assert sum(at(sheet, 0.5, 0.95)[:3]) - sum(at(sheet, 0.5, 0.05)[:3]) > 500


def test_black_and_white_is_shown_in_shades(tmp_path: Path) -> None:
    dithered = Image.new("L", (512, 512), 128).convert("1")
    middle = at(drawn(tmp_path, Tile("grey", path=saved(tmp_path, dithered))), 0.5, 0.5)
    assert 60 < middle[0] < 200


@pytest.mark.parametrize(
    ("name", "content"),
    [("film.mp4", b"\0" * 1000), ("broken.png", b"\x89PNG\r\n\x1a\n no"), ("model.glb", b"glTF"), ("gone.png", None)],
)
def test_what_is_no_picture_is_a_label(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    sheet = drawn(tmp_path, Tile(name, path=tmp_path / name))
    square = sheet.crop((GAP, GAP, GAP + TILE, GAP + TILE))
    assert at(sheet, 0.02, 0.02) == (39, 39, 42)
    assert len(square.getcolors(100_000) or []) > 10


def test_the_caption_says_what_made_it_the_seed_before_a_long_prompt(tmp_path: Path) -> None:
    graph, prompt = text_to_image("x", seed=4711), "a very long prompt " * 40
    path = saved(tmp_path, halves())
    job = Job(job_id="owl", workflow=graph, metadata={"parameters": {"6.text": prompt}}, files=(path,))
    (tile,) = tiles_of(job)
    assert tile.title == "owl"
    assert tile.lines == ("seed: 4711", f"text: {prompt}")
    swept = Job(job_id="owl", workflow=graph, metadata={"parameters": {"3.seed": 4711}}, files=(path, path))
    assert [each.title for each in tiles_of(swept)] == ["owl (1/2)", "owl (2/2)"]
    assert [each.lines for each in tiles_of(swept)] == [("seed: 4711",)] * 2


def test_captions_differ_where_jobs_do(tmp_path: Path) -> None:
    path = saved(tmp_path, halves())
    name = "text=a-very-long-name-that-does-not-fit_seed={}"
    sheet = drawn(tmp_path, *(Tile(name.format(seed), path=path) for seed in (1, 2)), columns=2)
    one, two = (sheet.crop((left, GAP + TILE, left + TILE, sheet.height)) for left in (GAP, GAP + TILE + GAP))
    assert ImageChops.difference(one, two).getbbox() is not None


@pytest.mark.parametrize(
    ("facts", "text", "failed"),
    [
        ({"status": JobStatus.FAILED, "error": "out of memory"}, "out of memory", True),
        ({"status": JobStatus.CANCELLED}, "cancelled", False),
        ({"status": JobStatus.COMPLETED, "result": {"outputs": {"1": {"text": ["hoo"]}}}}, "hoo", False),
        ({"status": JobStatus.COMPLETED, "result": {}}, "no files", False),
    ],
)
def test_a_job_without_files_says_why(tmp_path: Path, facts: dict[str, Any], text: str, failed: bool) -> None:
    job = Job(job_id="owl", workflow={}, **facts)
    (tile,) = tiles_of(job)
    assert (tile.text, tile.failed, tile.path) == (text, failed, None)
    colors = {color for _, color in drawn(tmp_path, job).getcolors(100_000) or []}
    assert ((248, 113, 113) in colors) is failed


def test_two_hundred_pictures_are_each_of_full_size_and_thousands_still_fit(tmp_path: Path) -> None:
    path = saved(tmp_path, halves((64, 64)))
    sheet = drawn(tmp_path, *(Tile(f"owl {number}", ("seed: 1",), path) for number in range(200)), tile=256)
    assert 0.7 < sheet.width / sheet.height < 1.4
    assert sheet.width * sheet.height <= 64_000_000
    assert sheet.getpixel((GAP + 3 * 268 + 10, GAP + 128)) == RED
    many = drawn(tmp_path, *(Tile("", path=path) for _ in range(400)), tile=512)
    assert 30_000_000 < many.width * many.height <= 64_000_000


@pytest.mark.parametrize(
    ("tiles", "name", "settings", "told"),
    [
        ([], "sheet.png", {}, "nothing to draw"),
        ([Tile("x")], "sheet.gif", {}, r"\.png, \.jpg or \.webp, not 'sheet\.gif'"),
        ([Tile("x")], "sheet.png", {"columns": 0}, "columns"),
        ([Tile("x")], "sheet.png", {"tile": 10}, "tile"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, tiles: list[Tile], name: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        contact_sheet(tiles, tmp_path / name, **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "kind"), [("sheet.png", "PNG"), ("sheet.JPG", "JPEG"), ("sheet.webp", "WEBP")])
def test_the_suffix_says_in_which_format(tmp_path: Path, name: str, kind: str) -> None:
    path = contact_sheet([Tile("owl", text="hoo")], str(tmp_path / name))
    with Image.open(path) as opened:
        assert opened.format == kind
