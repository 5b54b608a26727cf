"""What bytes and names say of a file."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfyone.errors import Fault
from comfyone.gateway.domain.files import (
    Asset,
    Output,
    ServerFile,
    asset_ids_in,
    asset_path,
    check_file_name,
    is_at,
    kind_of,
    mime_of_name,
    parse_asset_path,
    place_of,
    plain_name,
    sniff_mime,
    suffix_of,
)
from comfyone.gateway.domain.ids import new_id

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "BMP": "image/bmp"}


@pytest.mark.parametrize(("name", "mime"), [*FORMATS.items(), ("TIFF", "image/tiff")])
def test_real_pictures_are_known_by_their_first_bytes(name: str, mime: str) -> None:
    buffer = BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, name)
    assert sniff_mime(buffer.getvalue()[:32]) == mime


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "video/mp4"),
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "image/avif"),
        (b"\x1aE\xdf\xa3\x01", "video/webm"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"OggS\x00", "audio/ogg"),
        (b"fLaC\x00", "audio/flac"),
        (b"glTF\x02", "model/gltf-binary"),
    ],
)
def test_other_media_are_known_by_their_first_bytes(head: bytes, mime: str) -> None:
    assert sniff_mime(head) == mime


@pytest.mark.parametrize("head", [b"", b"R", b"RIFF1234", b"hello", b"<svg></svg>", b"{}"])
def test_bytes_that_say_nothing_are_of_no_kind(head: bytes) -> None:
    assert sniff_mime(head) is None


@given(st.binary(max_size=40))
def test_no_bytes_make_the_look_fail(head: bytes) -> None:
    assert sniff_mime(head) is None or "/" in (sniff_mime(head) or "")


def test_the_kind_of_an_output_is_its_medium() -> None:
    assert [kind_of(mime) for mime in ("image/png", "video/mp4", "audio/flac", "text/plain")] == [
        "image",
        "video",
        "audio",
        "text",
    ]
    assert kind_of("model/gltf-binary") == kind_of(mime_of_name("unknown")) == "file"


@given(st.text(max_size=30))
def test_a_name_that_is_kept_is_a_plain_one(name: str) -> None:
    with suppress(Fault):
        assert check_file_name(name) == name
        assert not set(name) & {"/", "\\", "\0", "\n"}
        assert name not in ("", ".", "..")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.png", "a/b.png", "a\\b.png", "a\0.png", "a\n.png", "x" * 201, None]
)
def test_a_name_that_is_more_than_a_name_is_refused(name: str | None) -> None:
    with pytest.raises(Fault) as caught:
        check_file_name(name)
    assert caught.value.slug == "bad_file_name"


def test_the_path_of_an_asset_leads_back_to_it_and_other_texts_to_none() -> None:
    asset = Asset(new_id(), "tenant", "hash", "owl (1).png", "image/png", 1, 0.0)
    assert parse_asset_path(asset_path(asset)) == asset.id
    for text in ("owl.png", asset.id, f"{asset.id}/a/b", f"x{asset.id}/a", "comfyone/abc.png"):
        assert parse_asset_path(text) is None


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("owl.png", "owl.png"),
        ("sub/folder/owl.png", "owl.png"),
        ("..\\..\\owl.png", "owl.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\r\nb\0.png", "ab.png"),
        ("a\ud800b.png", "ab.png"),
        ("", "output"),
        ("..", "output"),
        ("folder/", "output"),
        ("Größe 👩‍💻.png", "Größe 👩‍💻.png"),
    ],
)
def test_of_a_name_that_a_server_gave_the_plain_part_is_kept(name: str, kept: str) -> None:
    assert plain_name(name, "output") == kept


@given(st.text(max_size=400))
def test_a_name_that_a_server_gave_becomes_one_that_an_upload_could_have(name: str) -> None:
    plain = plain_name(name, "output")
    assert check_file_name(plain) == plain


def test_a_long_name_keeps_its_extension() -> None:
    assert plain_name("ü" * 300 + ".png", "output").endswith("ü.png")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("owl.PNG", ".png"),
        ("a.tar.gz", ".gz"),
        ("none", ""),
        (".hidden", ""),
        ("a.", ""),
        ("a.p n", ""),
        ('a."; x', ""),
        ("a.überlang", ""),
        ("a." + "x" * 11, ""),
    ],
)
def test_only_a_plain_extension_goes_to_a_server(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


def test_the_files_that_a_value_names_are_found_however_deep() -> None:
    one, other = new_id(), new_id()
    value = {"a": [f"{one}/a.png", 1, None, {"b": [f"{other}/b.png"]}], "c": "text", "d": f"see {one}/a.png"}
    assert sorted(asset_ids_in(value)) == sorted([one, other])


@pytest.mark.parametrize(
    ("filename", "subfolder"), [("x.png", "a/b"), ("x.png", "a\\b"), ("b\\x.png", "a"), ("x.png", "/a//b/")]
)
def test_a_file_is_where_its_server_says_however_that_writes_paths(filename: str, subfolder: str) -> None:
    asset = Asset("a", "t", "h", "x.png", "image/png", 1, 0.0)
    made = Output("1", "image", "x.png", asset, file=ServerFile("images", filename, subfolder, "output"))
    assert is_at(made, place_of("x.png", "a/b", "output"))
    assert is_at(made, place_of("b/x.png", "a", "output"))
    assert not is_at(made, place_of("x.png", "a/b", "temp"))
    assert not is_at(made, place_of("x.png", "", "output"))


def test_a_file_of_a_job_in_other_words_is_at_its_name_alone() -> None:
    made = Output("1", "image", "x.png", Asset("a", "t", "h", "x.png", "image/png", 1, 0.0))
    assert is_at(made, place_of("x.png", "", "output"))
    assert not is_at(made, place_of("x.png", "a", "output"))
    assert not is_at(Output("1", "text", value=b"1"), place_of("x.png", "", "output"))
